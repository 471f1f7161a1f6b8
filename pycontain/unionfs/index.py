"""A layer's index: what its tar holds, and where, so that nothing needs unpacking.

On disk: b"PCIX", then "<BIQ": version, CRC-32 and length of the rest, which is a msgpack array of
columns, one per field of Entry, in the order of the tar. (Columns load in half the time of rows.)
An index of another version, or a damaged one, is made again from the spooled tar.
"""

from __future__ import annotations

import gc
import os
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgpack

from pycontain.errors import LayerError

NODE = 0
"""Entry.kind: a file, directory, symbolic link, device, fifo or socket."""
HARD_LINK = 1
"""Entry.kind: another name for the content of `link`."""
WHITEOUT = 2
"""Entry.kind: hides `path` of the layers below."""
OPAQUE = 3
"""Entry.kind: hides everything that the layers below have in the directory `path`."""

VERSION = 1
_MAGIC = b"PCIX"
_HEADER = struct.Struct("<4sBIQ")


class Entry(NamedTuple):
    """One member of a layer.

    path: clean, relative, b"" is the root; mode: with S_IFMT bits; mtime: ns since the epoch;
    offset: of the content in the spooled tar, -1 if there is none; rdev: as os.makedev;
    link: a symbolic link's target, or the path a hard link shares; kind: one of the constants above.
    """

    path: bytes
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    offset: int = -1
    rdev: int = 0
    link: bytes | None = None
    kind: int = NODE
    xattrs: dict[bytes, bytes] | None = None


def pack_index(entries: Sequence[Entry]) -> bytes:
    """The bytes of an index file."""
    columns = list(zip(*entries, strict=True)) if entries else [()] * len(Entry._fields)
    body: bytes = msgpack.packb(columns, use_bin_type=True)
    return _HEADER.pack(_MAGIC, VERSION, zlib.crc32(body), len(body)) + body


def unpack_index(data: bytes) -> list[Entry]:
    """The entries in an index file's bytes; LayerError if it is damaged or of another version."""
    try:
        magic, version, crc, length = _HEADER.unpack_from(data)
        body = memoryview(data)[_HEADER.size :]
        if magic != _MAGIC or version != VERSION or length != len(body) or crc != zlib.crc32(body):
            raise LayerError("read layer index: it is damaged or of another version")
        # Looking for garbage among ten thousand fresh tuples would take longer than making them.
        collecting = gc.isenabled()
        gc.disable()
        try:
            columns = msgpack.unpackb(body, raw=False, strict_map_key=False)
            return list(map(Entry, *columns))
        finally:
            if collecting:
                gc.enable()
    except (struct.error, ValueError, TypeError) as error:
        raise LayerError("read layer index: it is damaged") from error


def write_index(path: str, entries: Sequence[Entry]) -> None:
    """Write an index file. The caller makes it atomic (a layer's directory is renamed as a whole)."""
    with open(path, "wb") as file:
        file.write(pack_index(entries))


def read_index(path: str) -> list[Entry]:
    """The entries of the index file `path`. LayerError if it is damaged; OSError if it cannot be read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        return unpack_index(os.read(fd, size) if size < 1 << 30 else _read_all(fd))
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read()
