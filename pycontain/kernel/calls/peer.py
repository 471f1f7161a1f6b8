"""getsockopt(2) of SO_PEERCRED: who is at the other end of a unix socket. The host would name the kernel itself,
which connected on a program's behalf, with the user who runs it."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from pycontain.kernel.abi import signed
from pycontain.kernel.calls.socket import unix_socket
from pycontain.kernel.task import Task
from pycontain.kernel.unix import STRANGER, Credentials, Name
from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import NATIVE

SO_PEERCRED, SO_PEERGROUPS, SO_PEERPIDFD = 17, 59, 77
UCRED = struct.Struct("<iII")
NOBODY = Credentials(0, 0xFFFFFFFF, 0xFFFFFFFF)  # not connected
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST = 20, 1
UDIAG_SHOW_PEER, UNIX_DIAG_PEER = 4, 2
HEADER = struct.Struct("<IHHII")  # struct nlmsghdr
REQUEST = struct.Struct(
    "<BBHIIIII"
)  # struct unix_diag_req: family, protocol, pad, states, inode, show, cookie
ANSWER_SIZE = 16  # struct unix_diag_msg


def sys_getsockopt(task: Task, a: tuple[int, ...]) -> Any:
    if signed(a[1]) != socket.SOL_SOCKET or signed(a[2]) not in (SO_PEERCRED, SO_PEERGROUPS, SO_PEERPIDFD):
        return NATIVE
    fd = signed(a[0])
    name = unix_socket(task, fd)
    if name is None:
        return NATIVE
    if signed(a[2]) != SO_PEERCRED:
        fail(errno.ENOPROTOOPT)
    (room,) = struct.unpack("<i", task.read(a[4], 4))
    if room < 0:
        fail(errno.EINVAL)
    who = _peer(task, fd, name)
    data = UCRED.pack(task.process.container.inside(who.pid), who.uid, who.gid)[:room]
    task.write(a[3], data)
    task.write(a[4], struct.pack("<i", len(data)))
    return 0


def _peer(task: Task, fd: int, name: Name) -> Credentials:
    if name.listening:
        return name.who
    if name.peer is None:
        return NOBODY
    if name.other is not None:
        return name.other
    container = task.process.container
    other = container.sockets.find(peer_of(container.host_stat_of_fd(task.tid, fd).st_ino))
    return STRANGER if other is None else other.who


def peer_of(ino: int) -> int:
    """The inode number of the unix socket at the other end (sock_diag(7)); 0 if the host does not tell."""
    ask = REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, ino, UDIAG_SHOW_PEER, 0xFFFFFFFF, 0xFFFFFFFF)
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG
        ) as host:
            host.setblocking(False)  # the answer is there when send returns
            host.send(HEADER.pack(HEADER.size + len(ask), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + ask)
            data = host.recv(4096)
    except OSError:
        return 0
    at = HEADER.size + ANSWER_SIZE
    if len(data) < at or HEADER.unpack_from(data)[1] != SOCK_DIAG_BY_FAMILY:
        return 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("<HH", data, at)
        if kind == UNIX_DIAG_PEER and size >= 8:
            (peer,) = struct.unpack_from("<I", data, at + 4)
            return int(peer)
        at += max(size + 3 & ~3, 4)
    return 0
