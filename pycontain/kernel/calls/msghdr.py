"""struct msghdr and what it points to, in a task's memory: addresses, parts of data, ancillary data (recvmsg(2), cmsg(3)).
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import NamedTuple

from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import fail

MSGHDR = struct.Struct("<QI4xQQQQI4x")  # name, its size, parts, their number, ancillary data, its size, flags
MMSGHDR = struct.Struct("<56xI4x")  # behind a msghdr: how much was sent or received
NAME_SIZE = 8  # where the size of the name is
PART = struct.Struct("<QQ")
CMSG = struct.Struct("<Qii")  # length, level, type
UCRED = struct.Struct("<iII")
MOST_PARTS = 1024  # UIO_MAXIOV
MOST_CONTROL = 20480  # bytes, net.core.optmem_max
FAMILY = struct.pack("<H", socket.AF_UNIX)


class Header(NamedTuple):
    """A struct msghdr."""

    name: int
    name_size: int
    parts: int
    pieces: int  # how many parts
    control: int
    control_size: int
    flags: int


def header(task: Task, address: int) -> Header:
    data = task.read(address, MSGHDR.size)
    if len(data) < MSGHDR.size:
        fail(errno.EFAULT)
    return Header(*MSGHDR.unpack(data))


def sent(task: Task, address: int) -> int:
    """What a struct mmsghdr tells of how much was sent or received."""
    (size,) = struct.unpack("<I", task.read(address + MSGHDR.size, 4))
    return int(size)


def parts(task: Task, head: Header) -> list[tuple[int, int]]:
    """Address and size of each part. Raises EMSGSIZE, EFAULT."""
    if head.pieces > MOST_PARTS:
        fail(errno.EMSGSIZE)
    data = task.read(head.parts, head.pieces * PART.size) if head.pieces else b""
    if len(data) < head.pieces * PART.size:
        fail(errno.EFAULT)
    return list(PART.iter_unpack(data))


def gather(task: Task, pieces: list[tuple[int, int]], most: int) -> bytes:
    """The data of all parts. Raises EMSGSIZE if that is more than `most` bytes, EFAULT."""
    if sum(size for _, size in pieces) > most:
        fail(errno.EMSGSIZE)
    found = []
    for address, size in pieces:
        data = task.read(address, size) if size else b""
        if len(data) < size:
            fail(errno.EFAULT)
        found.append(data)
    return b"".join(found)


def control(task: Task, head: Header) -> bytes:
    if not head.control or not head.control_size:
        return b""
    if head.control_size > MOST_CONTROL:
        fail(errno.ENOBUFS)
    data = task.read(head.control, head.control_size)
    if len(data) < head.control_size:
        fail(errno.EFAULT)
    return data


def messages(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Offset of the content, level, type and content of each ancillary message. Raises EINVAL."""
    found = []
    at = 0
    while at + CMSG.size <= len(data):
        length, level, kind = CMSG.unpack_from(data, at)
        if length < CMSG.size or at + length > len(data):
            fail(errno.EINVAL)
        found.append((at + CMSG.size, level, kind, data[at + CMSG.size : at + length]))
        at += length + 7 & ~7
    return found


def sockaddr(path: bytes | None) -> bytes:
    """A unix address as getsockname(2) tells it; None: of a socket without a name."""
    if path is None:
        return FAMILY
    return FAMILY + (path if path[:1] == b"\0" else path + b"\0")
