"""getsockopt(2) and setsockopt(2), where the host does not know all about a unix socket.

SO_PEERCRED, who is at the other end: the host would name the kernel, which connected on a program's behalf, with
the user who runs it. SO_TYPE: a datagram socket is another one for the host. And what is set on a socket before
bind(2) or connect(2) is to be set on the one that takes its place.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from pycontain.kernel.abi import signed
from pycontain.kernel.calls import passcred
from pycontain.kernel.calls.diag import peer_of
from pycontain.kernel.calls.unixsocket import unix_socket
from pycontain.kernel.task import Task
from pycontain.kernel.unix import STRANGER, Credentials, Name
from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import NATIVE

MAX_OPTION = 64  # bytes
SO_TYPE = 3
SO_PEERCRED, SO_PEERGROUPS, SO_PEERPIDFD = 17, 59, 77
SO_PASSPIDFD = 76
UCRED = struct.Struct("<iII")
NOBODY = Credentials(0, 0xFFFFFFFF, 0xFFFFFFFF)  # not connected


def sys_getsockopt(task: Task, a: tuple[int, ...]) -> Any:
    option = signed(a[2])
    if signed(a[1]) != socket.SOL_SOCKET or option not in (
        SO_PEERCRED,
        SO_PEERGROUPS,
        SO_PEERPIDFD,
        SO_TYPE,
    ):
        return NATIVE
    fd = signed(a[0])
    name = unix_socket(task, fd)
    if name is None or (option == SO_TYPE and name.kind != socket.SOCK_DGRAM):
        return NATIVE
    if option not in (SO_PEERCRED, SO_TYPE):
        fail(errno.ENOPROTOOPT)
    (room,) = struct.unpack("<i", task.read(a[4], 4))
    if room < 0:
        fail(errno.EINVAL)
    if option == SO_TYPE:
        data = struct.pack("<i", socket.SOCK_DGRAM)[:room]
    else:
        who = _peer(task, fd, name)
        data = UCRED.pack(task.process.container.inside(who.pid), who.uid, who.gid)[:room]
    task.write(a[3], data)
    task.write(a[4], struct.pack("<i", len(data)))
    return 0


def sys_setsockopt(task: Task, a: tuple[int, ...]) -> Any:
    """Comes here only with options that unixsocket.replace() sets again."""
    fd, size = signed(a[0]), signed(a[4])
    if signed(a[1]) == socket.SOL_SOCKET and 0 < size <= MAX_OPTION:
        name = unix_socket(task, fd)
        if name is not None and name.kind == socket.SOCK_DGRAM and signed(a[2]) == SO_PASSPIDFD:
            fail(errno.ENOPROTOOPT)
        if name is not None and (name.peer is None or name.kind == socket.SOCK_DGRAM):
            container = task.process.container
            ino = task.host_stat(fd).st_ino
            value = task.read(a[3], size)
            others = tuple(kept for kept in name.options if kept[0] != signed(a[2]))
            if container.sockets.find(ino) is name:
                container.sockets.add(ino, name._replace(options=(*others, (signed(a[2]), value))))
            if signed(a[2]) == socket.SO_PASSCRED and any(value):
                return passcred.asked(task, fd)
        elif name is not None and signed(a[2]) == socket.SO_PASSCRED:
            return passcred.asked(task, fd)
    return NATIVE


def _peer(task: Task, fd: int, name: Name) -> Credentials:
    if name.listening:
        return name.who
    if name.peer is None:
        return NOBODY
    if name.other is not None:
        return name.other
    if name.kind == socket.SOCK_DGRAM:
        return NOBODY
    sockets = task.process.container.sockets
    ino = task.host_stat(fd).st_ino
    other = sockets.find(peer_of(ino))
    if other is None:
        return STRANGER
    sockets.add(ino, name._replace(other=other.who))  # it may have gone when the next one asks
    return other.who
