"""How a kernel ended, as its clients find out: they are not its parent, and its own log is silent when it was killed.

The host tells of a process that nobody has waited for yet in /proc/PID/stat, proc(5), and of one that has gone by a
descriptor of the socket's other end: SO_PEERPIDFD since Linux 6.5, PIDFD_GET_INFO with PIDFD_INFO_EXIT since 6.15,
<linux/pidfd.h>.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from _socket import SO_PEERCRED, SOL_SOCKET, socket
from fcntl import ioctl

from pycontain.errors import KernelError

SO_PEERPIDFD = 77
PIDFD_GET_INFO = 0xC040FF0B
PIDFD_INFO_EXIT = 8
INFO = struct.Struct("<QQ11Ii")  # mask, cgroup, numbers and users, exit status as of wait(2)
PATIENCE = 0.5  # seconds: its sockets are closed a moment before it has ended


def gone(sock: socket, log: str, what: str) -> KernelError:
    """The error for a connection that the kernel has closed; what: that it means. It is noted in the log, too: a path."""
    pid = peer(sock)
    how = _how(sock, pid)
    try:
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        pass
    else:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            os.write(fd, f"{now} client {os.getpid()}: kernel {pid} has gone: {how}\n".encode())
        except OSError:
            pass  # the disk is full
        finally:
            os.close(fd)
    return KernelError(f"{what}: {how}", hint=f"its log is {log}")


def peer(sock: socket) -> int:
    """The process at the other end; 0 if it is none that we can name."""
    pid: int = struct.unpack("iII", sock.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))[0]
    return pid


def _how(sock: socket, pid: int) -> str:
    deadline = time.monotonic() + PATIENCE
    while True:
        ended, status = _status(sock, pid)
        if ended or time.monotonic() > deadline:
            break
        time.sleep(0.005)
    if not ended:
        return "it still runs, and has closed the connection"
    if status is None:
        return "the host does not tell how it ended"
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        hint = ", perhaps by the host for want of memory" if os.WTERMSIG(status) == signal.SIGKILL else ""
        return f"it was killed by {name}{hint}"
    return f"it ended with status {os.WEXITSTATUS(status)}"


def _status(sock: socket, pid: int) -> tuple[bool, int | None]:
    """Has it ended, and with which status, if that can be known?"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return True, _last_status(sock)
    return (True, int(fields[-1])) if fields[0] in b"ZX" else (False, None)


def _last_status(sock: socket) -> int | None:
    try:
        fd = struct.unpack("i", sock.getsockopt(SOL_SOCKET, SO_PEERPIDFD, 4))[0]
    except OSError:
        return None
    try:
        mask, *_, status = INFO.unpack(ioctl(fd, PIDFD_GET_INFO, INFO.pack(PIDFD_INFO_EXIT, *[0] * 12, 0)))
    except OSError:
        return None
    finally:
        os.close(fd)
    return status if mask & PIDFD_INFO_EXIT else None
