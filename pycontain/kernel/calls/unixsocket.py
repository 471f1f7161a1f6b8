"""Unix sockets as the host has them, and what their calls share. Data flows natively; names are the container's.

A unix socket bound to a path lives behind the inode of the union tree, in a host file that no container can
name; an abstract name is hidden behind a digest of it with the container's identity. The kernel makes the host's
bind and connect calls on a fresh socket and puts that in the place of the task's.

A check of the task's descriptor alone would not do: while a call to an internet socket is let through, another
thread can put a unix socket in its place, with an address of the host. So no unix socket that the host would let
connect ever gets into a container. Each one is, for the host, connected already (a new one to a peer that has gone) or
listening: connect(2) answers EISCONN or EINVAL, whoever calls it and however. Sockets that come from accept(2) are like
that by themselves. And no bind(2) is ever let through: the kernel carries it out, on a descriptor that it has fetched
and looked at (port.py).

Datagram sockets are pairs whose other end the kernel holds, see kernel/datagrams.py.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from pycontain.kernel.abi import AT_FDCWD, O_CLOEXEC, O_NONBLOCK, S_IFMT, S_IFSOCK, signed
from pycontain.kernel.task import Task
from pycontain.kernel.unix import Credentials, Name
from pycontain.kernel.vfs.access import EXECUTE, WRITE, need
from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.kernel.vfs.proctext import host_file
from pycontain.kernel.vfs.walk import resolve_parent
from pycontain.platforms.base import DEFERRED, Call
from pycontain.unionfs.inode import Inode

SUN_PATH = 108
EPOLL_CTL_ADD = 1
RETRY = 0.005  # seconds between tries to reach a socket whose queue is full
TIMEVAL = struct.Struct("<qq")
PROTOCOL = "system.sockprotoname"  # an attribute of every socket; the names of unix ones start with UNIX


def who(task: Task) -> Credentials:
    who = task.credentials
    return Credentials(task.process.pid, who.euid, who.egid)


def remember(task: Task, fd: int, name: Name) -> None:
    task.process.container.sockets.add(os.fstat(fd).st_ino, name)


def address_of(task: Task, address: int, size: int) -> bytes | None:
    """sun_path of a unix address; None for another family. Raises EINVAL."""
    size = signed(size)
    if not 2 <= size <= 128:
        fail(errno.EINVAL)
    data = task.read(address, size)
    if struct.unpack_from("<H", data)[0] != socket.AF_UNIX:
        return None
    path = data[2:size]
    if len(path) > SUN_PATH:
        fail(errno.EINVAL)
    return path if path[:1] == b"\0" else path.split(b"\0", 1)[0]


def unix_socket(task: Task, fd: int) -> Name | None:
    """What is known of a unix socket; None for one of another family. One that accept(2) made is connected."""
    container = task.process.container
    info = task.host_stat(fd)
    if info.st_mode & S_IFMT != S_IFSOCK:
        fail(errno.ENOTSOCK)
    name = container.sockets.find(info.st_ino)
    if name is not None:
        return name
    try:
        protocol = os.getxattr(f"/proc/{task.tid}/fd/{fd}", PROTOCOL)
    except OSError:
        return None
    return Name(0, who(task), bound=b"", peer=b"") if protocol.startswith(b"UNIX") else None


def hidden(task: Task, name: bytes) -> bytes:
    digest = hashlib.sha256(task.process.container.id.encode() + name).hexdigest()
    return b"\0pycontain-" + digest.encode()


def flags_of(task: Task, fd: int) -> int:
    """Open flags of a task's descriptor, close-on-exec among them (/proc/PID/fdinfo)."""
    with open(f"/proc/{task.tid}/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"flags:"):
                return int(line.split()[1], 8)
    return 0


def replace(task: Task, fd: int, new: socket.socket, old: Name, name: Name) -> int:
    """Put a socket in the place of the task's, with the options that were set on that one, under all its numbers."""
    flags = flags_of(task, fd)
    new.setblocking(not flags & O_NONBLOCK)
    for option, value in old.options:
        new.setsockopt(socket.SOL_SOCKET, option, value)
    remember(task, new.fileno(), name)
    platform = task.process.container.kernel.platform
    others, watches = _elsewhere(task, fd, old)
    if watches:
        platform.afterwards(task, watches)
    for other in others:
        platform.put_fd(task, os.dup(new.fileno()), bool(flags_of(task, other) & O_CLOEXEC), at=other)
    platform.put_fd(task, new.detach(), bool(flags & O_CLOEXEC), at=fd)
    return 0


def _elsewhere(task: Task, fd: int, old: Name) -> tuple[list[int], list[Call]]:
    """Other descriptors of the process that name the same socket; the calls that put it into the epolls again that
    watch it (epoll(7)): the host forgets what they watch with the last descriptor of it."""
    find = task.process.container.sockets.find
    found, polls, inodes = [], [], set()
    for text in os.listdir(f"/proc/{task.tid}/fd"):
        number = int(text)
        try:
            info = os.stat(f"/proc/{task.tid}/fd/{number}")
            if not info.st_mode & S_IFMT:  # of an anonymous inode
                if os.readlink(f"/proc/{task.tid}/fd/{number}") == "anon_inode:[eventpoll]":
                    polls.append(number)
            elif info.st_mode & S_IFMT == S_IFSOCK and find(info.st_ino) is old:
                inodes.add(info.st_ino)
                if number != fd:
                    found.append(number)
        except OSError:
            continue  # closed meanwhile
    numbers = {fd, *found}
    return found, [call for poll in polls for call in _watches(task, poll, numbers, inodes)]


def _watches(task: Task, poll: int, numbers: set[int], inodes: set[int]) -> Iterator[Call]:
    for line in host_file(task.tid, f"fdinfo/{poll}").splitlines():
        if not line.startswith(b"tfd:"):
            continue
        # tfd: 5 events: 19 data: 5  pos:0 ino:1718b0 sdev:9
        words = line.replace(b":", b" ").split()
        values = dict(zip(words[::2], words[1::2], strict=False))
        number = int(values[b"tfd"])
        if number in numbers and int(values.get(b"ino", b"0"), 16) in inodes:
            event = struct.pack("<IQ", int(values[b"events"], 16), int(values[b"data"], 16))
            yield "epoll_ctl", (poll, EPOLL_CTL_ADD, number, event)


def place_of(task: Task, path: bytes) -> tuple[Filesystem, Inode, bytes, int]:
    """(file system, directory, name, permissions) of a socket that is to be bound to a path."""
    directory, name, slash = resolve_parent(task, AT_FDCWD, path)
    fs = directory.mount.fs
    if name in (b"", b".", b"..") or fs.lookup(directory.inode, name) is not None:
        fail(errno.EADDRINUSE)
    if slash:
        fail(errno.ENOENT)
    if directory.mount.read_only:
        fail(errno.EROFS)
    need(directory.inode, task.credentials, WRITE | EXECUTE)
    return fs, directory.inode, name, 0o777 & ~task.files.umask


def option(name: Name, number: int) -> int:
    """A number that was set at level SOL_SOCKET; 0 if it was not."""
    return next((int.from_bytes(value[:4], "little") for kept, value in name.options if kept == number), 0)


def timeout(name: Name, numbers: tuple[int, int]) -> float:
    """Of SO_RCVTIMEO or SO_SNDTIMEO, which have two numbers each, in seconds; 0: none."""
    for kept, value in name.options:
        if kept in numbers and len(value) >= TIMEVAL.size:
            seconds, microseconds = TIMEVAL.unpack_from(value)
            return float(max(seconds + microseconds / 1e6, 0.0))
    return 0.0


def wait(
    task: Task,
    attempt: Callable[[], bool],
    close: Callable[[], None],
    result: Callable[[], int] = lambda: 0,
    seconds: float = 0.0,
) -> Any:
    """Try again until there is room, or a signal comes; result: what the call answers then. After so many seconds, if
    there is a limit, EAGAIN."""
    kernel = task.process.container.kernel
    waiting = True
    deadline = time.monotonic() + seconds if seconds else math.inf

    def cancel() -> None:
        nonlocal waiting
        waiting = False
        close()

    def again() -> None:
        nonlocal waiting
        if not waiting:
            return
        try:
            over = attempt()
            value = result() if over else -errno.EAGAIN
        except OSError as error:
            over, value = True, -(error.errno or errno.EIO)
        if not over and time.monotonic() > deadline:
            over = True
            close()
        if over:
            waiting = False
            kernel.waits.remove(task)
            kernel.platform.finish(task, value)
        else:
            kernel.loop.later(RETRY, again)

    kernel.waits.add(task, cancel)
    kernel.loop.later(RETRY, again)
    return DEFERRED
