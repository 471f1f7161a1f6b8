"""Sockets: making them, and what they are called. unixsocket.py tells how unix sockets are kept apart.

Internet addresses are the host's for now; ports below 1024 can be bound where the kernel itself may do so.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any

from pycontain.kernel.abi import O_CLOEXEC, O_NONBLOCK, signed
from pycontain.kernel.calls import datagram, stream
from pycontain.kernel.calls.diag import bound_file, peer_of
from pycontain.kernel.calls.msghdr import sockaddr
from pycontain.kernel.calls.port import bind_port
from pycontain.kernel.calls.unixsocket import address_of, remember, unix_socket, who
from pycontain.kernel.task import Task
from pycontain.kernel.unix import Name
from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import NATIVE

TYPE_MASK = 0xF
NETLINK_ROUTE = 0
# what the host is asked for: its datagram sockets would reach others of the host
HOST_KINDS: dict[int, int] = {
    socket.SOCK_STREAM: socket.SOCK_STREAM,
    socket.SOCK_SEQPACKET: socket.SOCK_SEQPACKET,
    socket.SOCK_DGRAM: socket.SOCK_SEQPACKET,
}


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
    if signed(a[2]) not in (0, socket.AF_UNIX):
        fail(errno.EPROTONOSUPPORT)
    shape = (
        socket.SOCK_DGRAM if kind & TYPE_MASK == socket.SOCK_RAW else kind & TYPE_MASK
    )  # as the host has it
    if shape not in HOST_KINDS:
        fail(errno.ESOCKTNOSUPPORT)
    if shape == socket.SOCK_DGRAM:
        return datagram.new(task, shape, not kind & O_NONBLOCK, bool(kind & O_CLOEXEC))
    new, gone = socket.socketpair(socket.AF_UNIX, HOST_KINDS[shape])
    gone.close()
    fd = new.detach()
    try:
        remember(task, fd, Name(shape, who(task)))
        os.set_blocking(fd, not kind & O_NONBLOCK)
    except BaseException:
        os.close(fd)
        raise
    return task.process.container.kernel.platform.send_fd(task, fd, bool(kind & O_CLOEXEC))


def sys_socketpair(task: Task, a: tuple[int, ...]) -> Any:
    family, kind = signed(a[0]), signed(a[1])
    shape = kind & TYPE_MASK
    if not 0 <= family < 46:
        fail(errno.EAFNOSUPPORT)
    if shape > socket.SOCK_SEQPACKET and shape != 10:  # the host's highest; 10: SOCK_PACKET
        fail(errno.EINVAL)
    if family != socket.AF_UNIX:
        fail(errno.EOPNOTSUPP if family in (socket.AF_INET, socket.AF_INET6) else errno.EAFNOSUPPORT)
    if signed(a[2]) not in (0, socket.AF_UNIX):
        fail(errno.EPROTONOSUPPORT)
    if shape == socket.SOCK_RAW:
        shape = socket.SOCK_DGRAM
    if shape not in HOST_KINDS:
        fail(errno.ESOCKTNOSUPPORT)
    task.read(a[3], 8)
    platform = task.process.container.kernel.platform
    numbers = []
    for end in socket.socketpair(socket.AF_UNIX, HOST_KINDS[shape]):
        end.setblocking(not kind & O_NONBLOCK)
        fd = end.detach()
        remember(task, fd, Name(shape, who(task), peer=b"", other=who(task)))
        numbers.append(platform.put_fd(task, fd, bool(kind & O_CLOEXEC)))
    task.write(a[3], struct.pack("<ii", *numbers))
    return 0


def sys_bind(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    name = unix_socket(task, fd)
    if name is None:
        return bind_port(task, fd, a[1], signed(a[2]))
    path = address_of(task, a[1], a[2])
    if path is None or name.bound is not None:
        fail(errno.EINVAL)
    if name.kind == socket.SOCK_DGRAM:
        return datagram.bind(task, fd, name, path)
    return stream.bind(task, fd, name, path)


def sys_listen(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    name = unix_socket(task, fd)
    return NATIVE if name is None else stream.listen(task, fd, name)


def sys_connect(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    name = unix_socket(task, fd)
    if name is None:
        return NATIVE
    if name.kind == socket.SOCK_DGRAM:
        return datagram.connect(task, fd, name, a[1], a[2])
    path = address_of(task, a[1], a[2])
    if not path:
        fail(errno.EINVAL)
    return stream.connect(task, fd, name, path)


def sys_shutdown(task: Task, a: tuple[int, ...]) -> Any:
    """Comes here only under the numbers that datagram sockets have."""
    found = datagram.find(task, signed(a[0]))
    how = signed(a[1])
    if found is not None and found.relay is not None and 0 <= how <= socket.SHUT_RDWR:
        task.process.container.datagrams.shut(found.relay, how != socket.SHUT_RD, how != socket.SHUT_WR)
    return NATIVE


# -- names


def sys_getsockname(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    name = unix_socket(task, fd)
    if name is None:
        return NATIVE
    bound = name.bound
    if bound == b"":  # one that accept(2) made has the name of its listener
        container = task.process.container
        bound = container.sockets.name_of(bound_file(task.host_stat(fd).st_ino))
    return _put_address(task, bound, a[1], a[2])


def sys_getpeername(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    name = unix_socket(task, fd)
    if name is None:
        return NATIVE
    if name.peer is None:
        fail(errno.ENOTCONN)
    peer = name.peer
    if not peer and not name.kind:  # of one that accept(2) made
        other = task.process.container.sockets.find(peer_of(task.host_stat(fd).st_ino))
        peer = other.bound or b"" if other is not None else b""
    return _put_address(task, peer or None, a[1], a[2])


def _put_address(task: Task, path: bytes | None, address: int, length: int) -> int:
    data = sockaddr(path)
    room = struct.unpack("<i", task.read(length, 4))[0]
    if room < 0:
        fail(errno.EINVAL)
    if room:
        task.write(address, data[:room])
    task.write(length, struct.pack("<i", len(data)))
    return 0
