"""Sockets. Data flows natively; the names of unix sockets are the container's.

A unix socket bound to a path lives behind the inode of the union tree, in a host file that no container can
name; an abstract name is hidden behind a digest of it with the container's identity. The kernel makes the host's
bind and connect calls on a fresh socket and puts that in the place of the task's.

A check of the task's descriptor alone would not do: while a call to an internet socket is let through, another
thread can put a unix socket in its place, with an address of the host. So no unix socket that the host would let
connect or bind ever gets into a container. Each one is, for the host, connected already (a new one to a peer that
has gone) or listening, and has a name already: connect(2) answers EISCONN or EINVAL and bind(2) EINVAL, whoever
calls them and however. Sockets that come from accept(2) are like that by themselves.

Internet addresses are the host's for now; ports below 1024 can be bound where the kernel itself may do so. Unix datagram sockets are refused, because sendmsg(2) with an address
could reach the host's; a datagram socketpair is a pair of SOCK_SEQPACKET sockets.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from pycontain.kernel import libc
from pycontain.kernel.abi import AT_FDCWD, O_CLOEXEC, O_NONBLOCK, S_IFMT, S_IFSOCK, signed
from pycontain.kernel.credentials import CAP_NET_BIND_SERVICE
from pycontain.kernel.task import Task
from pycontain.kernel.unix import Credentials, Key, Name
from pycontain.kernel.vfs.access import EXECUTE, WRITE, need
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.hostfs import HostFs
from pycontain.kernel.vfs.proctext import host_text
from pycontain.kernel.vfs.walk import resolve, resolve_parent
from pycontain.platforms.base import DEFERRED, NATIVE

SUN_PATH = 108
TYPE_MASK = 0xF
NETLINK_ROUTE = 0
INTERNET = (socket.AF_INET, socket.AF_INET6)
PRIVILEGED_PORTS = 1024
RETRY = 0.005  # seconds between tries to connect to a socket whose backlog is full
PROTOCOL = "system.sockprotoname"  # an attribute of every socket; the names of unix ones start with UNIX


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
    new, gone = socket.socketpair(socket.AF_UNIX, kind & TYPE_MASK)
    gone.close()
    fd = _close_off(new).detach()
    try:
        _remember(task, fd, Name(kind & TYPE_MASK, _who(task)))
        os.set_blocking(fd, not kind & O_NONBLOCK)
    except BaseException:
        os.close(fd)
        raise
    return task.process.container.kernel.platform.send_fd(task, fd, bool(kind & O_CLOEXEC))


def sys_socketpair(task: Task, a: tuple[int, ...]) -> Any:
    family, kind = signed(a[0]), signed(a[1])
    if family != socket.AF_UNIX:
        fail(errno.EOPNOTSUPP if family in (socket.AF_INET, socket.AF_INET6) else errno.EAFNOSUPPORT)
    if signed(a[2]) not in (0, socket.AF_UNIX):
        fail(errno.EPROTONOSUPPORT)
    if (
        not socket.SOCK_STREAM <= kind & TYPE_MASK <= socket.SOCK_SEQPACKET
        or kind & TYPE_MASK == socket.SOCK_RDM
    ):
        fail(errno.ESOCKTNOSUPPORT)
    host_kind = socket.SOCK_STREAM if kind & TYPE_MASK == socket.SOCK_STREAM else socket.SOCK_SEQPACKET
    task.read(a[3], 8)
    platform = task.process.container.kernel.platform
    numbers = []
    for end in socket.socketpair(socket.AF_UNIX, host_kind):
        _close_off(end).setblocking(not kind & O_NONBLOCK)
        fd = end.detach()
        _remember(task, fd, Name(host_kind, _who(task), peer=b"", other=_who(task)))
        numbers.append(platform.put_fd(task, fd, bool(kind & O_CLOEXEC)))
    task.write(a[3], struct.pack("<ii", *numbers))
    return 0


def _close_off(new: socket.socket) -> socket.socket:
    """Give a socket a name that means nothing, so that it cannot be bound again."""
    while True:
        try:
            new.bind(b"\0" + os.urandom(6).hex().encode())
            return new
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                new.close()
                raise


def _who(task: Task) -> Credentials:
    who = task.process.credentials
    return Credentials(task.process.pid, who.euid, who.egid)


def _remember(task: Task, fd: int, name: Name) -> None:
    task.process.container.sockets.add(os.fstat(fd).st_ino, name)


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


def unix_socket(task: Task, fd: int) -> Name | None:
    """What is known of a unix socket; None for one of another family. One that accept(2) made is connected."""
    container = task.process.container
    info = container.host_stat_of_fd(task.tid, fd)
    if info.st_mode & S_IFMT != S_IFSOCK:
        fail(errno.ENOTSOCK)
    name = container.sockets.find(info.st_ino)
    if name is not None:
        return name
    try:
        protocol = os.getxattr(f"/proc/{task.tid}/fd/{fd}", PROTOCOL)
    except OSError:
        return None
    return Name(0, _who(task), bound=b"", peer=b"") if protocol.startswith(b"UNIX") else None


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


def _replace(task: Task, fd: int, new: socket.socket, name: Name) -> int:
    flags = _flags(task, fd)
    new.setblocking(not flags & O_NONBLOCK)
    _remember(task, new.fileno(), name)
    platform = task.process.container.kernel.platform
    platform.put_fd(task, new.detach(), bool(flags & O_CLOEXEC), at=fd)
    return 0


# -- names


def sys_bind(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    name = unix_socket(task, fd)
    if name is None:
        return _bind_port(task, fd, a[1], signed(a[2]))
    path = _address(task, a[1], a[2])
    if path is None or name.bound is not None or name.peer is not None:
        fail(errno.EINVAL)
    new = socket.socket(socket.AF_UNIX, name.kind)
    try:
        if not path or path[:1] == b"\0":
            bound = path or b"\0" + os.urandom(3).hex()[:5].encode()
            new.bind(_abstract(task, bound))
            key: Key = (bound, 0, 0)
        else:
            bound = path
            key = _bind_path(task, new, path)
        new.listen(0)  # closed off, see above; nobody gets through before the program listens
        return _replace(task, fd, new, name._replace(bound=bound, key=key, who=_who(task)))
    except BaseException:
        new.close()
        raise


def _bind_port(task: Task, fd: int, address: int, size: int) -> Any:
    """An internet port. Programs have no privilege on the host: where the kernel has it, it lends it to those who
    have it in the container, on a socket that it has looked at itself."""
    if not 4 <= size <= 128 or not host_binds_ports():
        return NATIVE
    data = task.read(address, size)
    family, port = struct.unpack_from("<H", data)[0], struct.unpack_from(">H", data, 2)[0]
    if family not in INTERNET or not 0 < port < PRIVILEGED_PORTS:
        return NATIVE
    if not task.process.credentials.has(CAP_NET_BIND_SERVICE):
        fail(errno.EACCES)
    try:
        own = task.process.container.kernel.platform.take_fd(task, fd)
    except PermissionError:
        return NATIVE
    with socket.socket(fileno=own) as taken:
        if taken.family not in INTERNET:
            fail(errno.EINVAL)  # another thread was quicker
        libc.bind(own, data)
    return 0


@functools.cache
def host_binds_ports() -> bool:
    """May the kernel itself bind the host's ports below 1024?"""
    for line in host_text("self/status").splitlines():
        if line.startswith(b"CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_NET_BIND_SERVICE & 1)
    return False


def _bind_path(task: Task, new: socket.socket, path: bytes) -> Key:
    directory, name, slash = resolve_parent(task, AT_FDCWD, path)
    who = task.process.credentials
    fs = directory.mount.fs
    if name in (b"", b".", b"..") or slash or fs.lookup(directory.inode, name) is not None:
        fail(errno.EADDRINUSE)
    if directory.mount.read_only:
        fail(errno.EROFS)
    need(directory.inode, who, WRITE | EXECUTE)
    mode = 0o777 & ~task.process.files.umask
    if isinstance(fs, HostFs):  # a bind mount: the socket is a real one, others of the host may use it
        address = b"/proc/self/fd/%d/%s" % (fs.directory_fd(directory.inode), name)
        if len(address) >= SUN_PATH:
            fail(errno.ENAMETOOLONG)
        new.bind(address)
        inode = fs.lookup(directory.inode, name)
        if inode is None:
            fail(errno.ENOENT)
        inode = fs.set_attr(inode, mode=mode)
    else:
        inode = fs.mknod(directory.inode, name, S_IFSOCK | mode, 0, who.fsuid, who.fsgid)
        try:
            fs.bind(inode, new)
        except BaseException:
            fs.unlink(directory.inode, name)
            raise
    pin = fs.pin(inode)
    try:
        return _key(pin)
    finally:
        os.close(pin)


def _key(pin: int) -> Key:
    info = os.fstat(pin)
    if info.st_mode & S_IFMT != S_IFSOCK:
        fail(errno.ECONNREFUSED)
    return b"", info.st_dev, info.st_ino


def sys_listen(task: Task, a: tuple[int, ...]) -> Any:
    container = task.process.container
    fd = signed(a[0])
    name = unix_socket(task, fd)
    if name is not None:
        if name.key is None:
            fail(errno.EINVAL)
        ino = container.host_stat_of_fd(task.tid, fd).st_ino
        if container.sockets.find(ino) is name:
            container.sockets.add(ino, name._replace(listening=True, who=_who(task)))
    return NATIVE


def sys_connect(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    name = unix_socket(task, fd)
    if name is None:
        return NATIVE
    path = _address(task, a[1], a[2])
    if not path or name.listening:
        fail(errno.EINVAL)
    if name.peer is not None:
        fail(errno.EISCONN)
    container = task.process.container
    pin = -1
    try:
        if path[:1] == b"\0":
            key: Key = (path, 0, 0)
            address: bytes = _abstract(task, path)
        else:
            node = resolve(task, AT_FDCWD, path)
            if node.inode.mode & S_IFMT != S_IFSOCK:
                fail(errno.ECONNREFUSED)
            need(node.inode, task.process.credentials, WRITE)
            try:
                pin = node.mount.fs.pin(node.inode)
            except FileNotFoundError:
                fail(errno.ECONNREFUSED)  # the inode of an image: nobody listens
            key = _key(pin)
            address = b"/proc/self/fd/%d" % pin
        if not container.sockets.listens(key):
            fail(errno.ECONNREFUSED)
        new = _close_off(socket.socket(socket.AF_UNIX, name.kind))
        new.setblocking(False)  # a listener with a full backlog must not stop the kernel
    except BaseException:
        if pin >= 0:
            os.close(pin)
        raise
    done = name._replace(peer=path, key=None, who=_who(task), other=container.sockets.listener(key))

    def attempt() -> bool:
        """True when it is over."""
        try:
            new.connect(address)
            _replace(task, fd, new, done)
        except BlockingIOError:
            return False
        except BaseException:
            close()
            raise
        close()
        return True

    def close() -> None:
        new.close()
        if pin >= 0:
            os.close(pin)

    if attempt():
        return 0
    if _flags(task, fd) & O_NONBLOCK:
        close()
        fail(errno.EAGAIN)
    return _wait(task, attempt, close)


def _wait(task: Task, attempt: Callable[[], bool], close: Callable[[], None]) -> Any:
    """Try again until there is room in the backlog, or a signal comes."""
    kernel = task.process.container.kernel
    waiting = True

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
        except OSError as error:
            over, value = True, -(error.errno or errno.EIO)
        else:
            value = 0
        if over:
            waiting = False
            kernel.waits.remove(task)
            kernel.platform.finish(task, value)
        else:
            kernel.loop.later(RETRY, again)

    kernel.waits.add(task, cancel)
    kernel.loop.later(RETRY, again)
    return DEFERRED


def sys_getsockname(task: Task, a: tuple[int, ...]) -> Any:
    name = unix_socket(task, signed(a[0]))
    if name is None or name.bound == b"":
        return NATIVE  # one that accept(2) made has the name of its listener, as the host knows it
    return _put_address(task, name.bound, a[1], a[2])


def sys_getpeername(task: Task, a: tuple[int, ...]) -> Any:
    name = unix_socket(task, signed(a[0]))
    if name is None:
        return NATIVE
    if name.peer is None:
        fail(errno.ENOTCONN)
    return _put_address(task, name.peer or None, a[1], a[2])


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
