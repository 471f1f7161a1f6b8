"""Sockets. Data flows natively; the names of unix sockets are the container's.

A unix socket bound to a path lives behind the inode of the union tree, in a host file that no container can
name; an abstract name is hidden behind a digest of it with the container's identity. The kernel makes the host's
bind and connect calls on a fresh socket and puts that in the place of the task's: a task never hands a socket
address with a path to the host.

Internet addresses are the host's for now. Unix datagram sockets are refused, because sendmsg(2) with an address
could reach the host's; a datagram socketpair is a pair of SOCK_SEQPACKET sockets.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
from typing import Any, NamedTuple

from pycontain.kernel.abi import AT_FDCWD, O_CLOEXEC, O_NONBLOCK, S_IFMT, S_IFSOCK, signed
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.access import EXECUTE, WRITE, need
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.walk import resolve, resolve_parent
from pycontain.platforms.base import NATIVE

SUN_PATH = 108
TYPE_MASK = 0xF
NETLINK_ROUTE = 0


class Name(NamedTuple):
    """What is known of a unix socket by the inode number of the host's: addresses as sun_path bytes."""

    kind: int
    bound: bytes | None = None
    peer: bytes | None = None


def sys_socket(task: Task, a: tuple[int, ...]) -> Any:
    family, kind = signed(a[0]), signed(a[1])
    if family in (socket.AF_INET, socket.AF_INET6):
        return NATIVE
    if family == socket.AF_NETLINK:
        if signed(a[2]) != NETLINK_ROUTE:
            fail(errno.EPROTONOSUPPORT)
        return NATIVE
    if family != socket.AF_UNIX:
        fail(errno.EAFNOSUPPORT)
    if kind & TYPE_MASK not in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        fail(errno.ESOCKTNOSUPPORT)
    new = socket.socket(socket.AF_UNIX, kind & TYPE_MASK)
    container = task.process.container
    fd = new.detach()
    _remember(task, fd, Name(kind & TYPE_MASK))
    if kind & O_NONBLOCK:
        os.set_blocking(fd, False)
    return container.kernel.platform.send_fd(task, fd, bool(kind & O_CLOEXEC))


def sys_socketpair(task: Task, a: tuple[int, ...]) -> Any:
    family, kind = signed(a[0]), signed(a[1])
    if family != socket.AF_UNIX:
        fail(errno.EOPNOTSUPP if family in (socket.AF_INET, socket.AF_INET6) else errno.EAFNOSUPPORT)
    if kind & TYPE_MASK != socket.SOCK_DGRAM:
        return NATIVE
    ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    platform = task.process.container.kernel.platform
    numbers = []
    for end in ours:
        end.setblocking(not kind & O_NONBLOCK)
        numbers.append(platform.put_fd(task, end.detach(), bool(kind & O_CLOEXEC)))
    task.write(a[3], struct.pack("<ii", *numbers))
    return 0


def _remember(task: Task, fd: int, name: Name) -> None:
    known = task.process.container.sockets
    if len(known) > 4096:
        known.clear()  # names of sockets long gone; a live one then shows no address
    known[os.fstat(fd).st_ino] = name


def _address(task: Task, address: int, size: int) -> bytes | None:
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


def _known(task: Task, fd: int) -> tuple[Name | None, os.stat_result]:
    container = task.process.container
    info = container.host_stat_of_fd(task.tid, fd)
    if info.st_mode & S_IFMT != S_IFSOCK:
        fail(errno.ENOTSOCK)
    return container.sockets.get(info.st_ino), info


def _abstract(task: Task, name: bytes) -> bytes:
    digest = hashlib.sha256(task.process.container.id.encode() + name).hexdigest()
    return b"\0pycontain-" + digest.encode()


def _flags(task: Task, fd: int) -> int:
    """Open flags of a task's descriptor, close-on-exec among them (/proc/PID/fdinfo)."""
    with open(f"/proc/{task.tid}/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"flags:"):
                return int(line.split()[1], 8)
    return 0


def _short(path: str) -> tuple[str, int]:
    """A host path that fits in sun_path: through a descriptor of its directory. The caller closes that."""
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
    return f"/proc/self/fd/{directory}/{os.path.basename(path)}", directory


def _replace(task: Task, fd: int, new: socket.socket, name: Name) -> int:
    flags = _flags(task, fd)
    new.setblocking(not flags & O_NONBLOCK)
    host = new.detach()
    _remember(task, host, name)
    task.process.container.kernel.platform.put_fd(task, host, bool(flags & O_CLOEXEC), at=fd)
    return 0


def sys_bind(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    name, _ = _known(task, fd)
    if name is None:
        return NATIVE  # not a unix socket: only those are made by us
    path = _address(task, a[1], a[2])
    if path is None:
        fail(errno.EINVAL)
    if name.bound is not None:
        fail(errno.EINVAL)
    new = socket.socket(socket.AF_UNIX, name.kind)
    try:
        if not path or path[:1] == b"\0":
            bound = path or b"\0" + os.urandom(3).hex()[:5].encode()
            new.bind(_abstract(task, bound))
        else:
            bound = path
            _bind_path(task, new, path)
        return _replace(task, fd, new, name._replace(bound=bound))
    except BaseException:
        new.close()
        raise


def _bind_path(task: Task, new: socket.socket, path: bytes) -> None:
    directory, name, slash = resolve_parent(task, AT_FDCWD, path)
    who = task.process.credentials
    fs = directory.mount.fs
    if name in (b"", b".", b"..") or slash or fs.lookup(directory.inode, name) is not None:
        fail(errno.EADDRINUSE)
    if directory.mount.read_only:
        fail(errno.EROFS)
    need(directory.inode, who, WRITE | EXECUTE)
    mode = S_IFSOCK | 0o777 & ~task.process.files.umask
    if (
        directory.mount.fs.type == "ext4"
    ):  # a bind mount: the socket is a real one, others of the host may use it
        host = f"{fs.backing(directory.inode)}/{os.fsdecode(name)}"
        short, held = _short(host)
        try:
            new.bind(short)
        finally:
            os.close(held)
        return
    inode = fs.mknod(directory.inode, name, mode, 0, who.fsuid, who.fsgid)
    short, held = _short(fs.backing(inode))
    try:
        new.bind(short)
    except OSError:
        fs.unlink(directory.inode, name)
        raise
    finally:
        os.close(held)


def sys_connect(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    name, _ = _known(task, fd)
    if name is None:
        return NATIVE
    path = _address(task, a[1], a[2])
    if path is None:
        fail(errno.EINVAL)
    if not path:
        fail(errno.EINVAL)
    if name.peer is not None:
        fail(errno.EISCONN)
    new = socket.socket(socket.AF_UNIX, name.kind)
    new.setblocking(False)  # a listener with a full backlog must not stop the kernel
    try:
        if path[:1] == b"\0":
            new.connect(_abstract(task, path))
        else:
            node = resolve(task, AT_FDCWD, path)
            if node.inode.mode & S_IFMT != S_IFSOCK:
                fail(errno.ECONNREFUSED)
            need(node.inode, task.process.credentials, WRITE)
            short, held = _short(node.mount.fs.backing(node.inode))
            try:
                new.connect(short)
            except FileNotFoundError:
                fail(errno.ECONNREFUSED)  # the inode of an image: nobody listens
            finally:
                os.close(held)
    except BaseException:
        new.close()
        raise
    return _replace(task, fd, new, name._replace(peer=path))


def sys_getsockname(task: Task, a: tuple[int, ...]) -> Any:
    name, _ = _known(task, signed(a[0]))
    return NATIVE if name is None else _put_address(task, name.bound, a[1], a[2])


def sys_getpeername(task: Task, a: tuple[int, ...]) -> Any:
    name, _ = _known(task, signed(a[0]))
    if name is None or name.peer is None:
        return NATIVE  # the host's answer for an accepted socket is an unnamed peer, or ENOTCONN
    return _put_address(task, name.peer, a[1], a[2])


def _put_address(task: Task, path: bytes | None, address: int, length: int) -> int:
    data = struct.pack("<H", socket.AF_UNIX)
    if path is not None:
        data += path if path[:1] == b"\0" else path + b"\0"
    room = struct.unpack("<i", task.read(length, 4))[0]
    if room < 0:
        fail(errno.EINVAL)
    if room:
        task.write(address, data[:room])
    task.write(length, struct.pack("<i", len(data)))
    return 0
