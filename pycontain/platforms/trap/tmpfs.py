"""A tmpfs of limited size, mounted nowhere: only its descriptor leads to it. The host keeps its limit.

fsopen(2), fsconfig and fsmount need CAP_SYS_ADMIN over a mount namespace. Who has it (root) makes it directly. Others
have it in a user namespace of their own, where the host lets them make one: there a short-lived process, a table of
system calls like every other start, mounts it and sends the descriptor. Where neither works, there is none.
"""

from __future__ import annotations

import array
import ctypes
import os
import signal
import socket
import struct

from pycontain.platforms.trap import stub
from pycontain.platforms.trap import x86_64 as arch

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
FSOPEN_CLOEXEC = FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 1, 6
MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 2, 4
ATTRIBUTES = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
SOCKET, CONTEXT, MOUNT = 3, 4, 5  # descriptors of the short-lived process
TIMEOUT = 5.0  # seconds

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def make(size: int) -> int | None:
    """A descriptor of an empty directory that holds this many bytes; None where the host does not allow it."""
    try:
        return _directly(size)
    except OSError:
        return _in_a_namespace(size)


def _call(name: str, *arguments: int | bytes | None) -> int:
    result: int = _syscall(arch.NUMBERS[name], *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _directly(size: int) -> int:
    context = _call("fsopen", b"tmpfs", FSOPEN_CLOEXEC)
    try:
        for key, value in _options(size):
            _call("fsconfig", context, FSCONFIG_SET_STRING, key, value, 0)
        _call("fsconfig", context, FSCONFIG_CMD_CREATE, None, None, 0)
        return _call("fsmount", context, FSMOUNT_CLOEXEC, ATTRIBUTES)
    finally:
        os.close(context)


def _options(size: int) -> tuple[tuple[bytes, bytes], ...]:
    return (b"size", b"%d" % size), (b"mode", b"0700")


def _in_a_namespace(size: int) -> int | None:
    ours, theirs = socket.socketpair()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    program = stub.memfd(_table(size).image(), "tmpfs")
    try:
        os.posix_spawn(
            f"/proc/self/fd/{program}",
            [b"tmpfs"],
            {},
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, null, target) for target in range(3)),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), SOCKET),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )
        theirs.close()
        ours.settimeout(TIMEOUT)
        _, control, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None
    finally:
        for fd in (null, program):
            os.close(fd)
        ours.close()
        theirs.close()
    return array.array("i", control[0][2])[0] if control else None


def _table(size: int) -> stub.Table:
    """Where a step fails the next ones do, and at the end there is no descriptor to send."""
    table = stub.Table()

    def text(value: bytes) -> int:
        return table.put(value + b"\0", 1)

    table.call("close_range", CONTEXT, 0xFFFFFFFF, 0)
    table.call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    for name, value in (
        (b"setgroups", b"deny"),
        (b"uid_map", b"0 %d 1" % os.geteuid()),
        (b"gid_map", b"0 %d 1" % os.getegid()),
    ):
        table.call("open", text(b"/proc/self/" + name), os.O_WRONLY)
        table.call("write", CONTEXT, table.put(value), len(value))
        table.call("close", CONTEXT)
    table.call("fsopen", text(b"tmpfs"), FSOPEN_CLOEXEC)
    for key, value in _options(size):
        table.call("fsconfig", CONTEXT, FSCONFIG_SET_STRING, text(key), text(value), 0)
    table.call("fsconfig", CONTEXT, FSCONFIG_CMD_CREATE, 0, 0, 0)
    table.call("fsmount", CONTEXT, FSMOUNT_CLOEXEC, ATTRIBUTES)
    rights = table.put(struct.pack("<QiiiI", 20, socket.SOL_SOCKET, socket.SCM_RIGHTS, MOUNT, 0))
    vector = table.put(struct.pack("<QQ", table.put(b"\0"), 1))
    message = table.put(struct.pack("<QIIQQQQi4x", 0, 0, 0, vector, 1, rights, 24, 0))
    table.call("sendmsg", SOCKET, message, 0)
    table.call("exit_group", 0)
    return table
