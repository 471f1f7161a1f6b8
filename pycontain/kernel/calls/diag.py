"""What the host tells about a unix socket by its inode number: sock_diag(7)."""

from __future__ import annotations

import os
import socket
import struct

from pycontain.kernel.unix import Key

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST = 20, 1
UDIAG_SHOW_VFS, UDIAG_SHOW_PEER = 2, 4
UNIX_DIAG_VFS, UNIX_DIAG_PEER = 1, 2
HEADER = struct.Struct("<IHHII")  # struct nlmsghdr
REQUEST = struct.Struct(
    "<BBHIIIII"
)  # struct unix_diag_req: family, protocol, pad, states, inode, show, cookie
ANSWER_SIZE = 16  # struct unix_diag_msg


def peer_of(ino: int) -> int:
    """The inode number of the socket at the other end; 0 if the host does not tell."""
    found = _ask(ino, UDIAG_SHOW_PEER).get(UNIX_DIAG_PEER, b"")
    return int(struct.unpack_from("<I", found)[0]) if len(found) >= 4 else 0


def bound_file(ino: int) -> Key | None:
    """The key of the file that a socket is bound to; one that accept(2) made has its listener's."""
    found = _ask(ino, UDIAG_SHOW_VFS).get(UNIX_DIAG_VFS, b"")
    if len(found) < 8:
        return None
    file, device = struct.unpack_from(
        "<II", found
    )  # the device as the host's kernel has it: 12 bits, 20 bits
    return b"", os.makedev(device >> 20, device & 0xFFFFF), file


def exists(ino: int) -> bool:
    """Is there still a socket of this number? False if the host does not tell."""
    return bool(_answer(ino, 0))


def _ask(ino: int, show: int) -> dict[int, bytes]:
    """Attributes by type; empty if the host does not tell."""
    data = _answer(ino, show)
    found: dict[int, bytes] = {}
    at = HEADER.size + ANSWER_SIZE
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("<HH", data, at)
        found[kind] = data[at + 4 : at + size]
        at += max(size + 3 & ~3, 4)
    return found


def _answer(ino: int, show: int) -> bytes:
    """Empty if there is no such socket, or the host does not tell."""
    ask = REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, ino, show, 0xFFFFFFFF, 0xFFFFFFFF)
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG
        ) as host:
            host.setblocking(False)  # the answer is there when send returns
            host.send(HEADER.pack(HEADER.size + len(ask), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + ask)
            data = host.recv(4096)
    except OSError:
        return b""
    if len(data) < HEADER.size + ANSWER_SIZE or HEADER.unpack_from(data)[1] != SOCK_DIAG_BY_FAMILY:
        return b""
    return data
