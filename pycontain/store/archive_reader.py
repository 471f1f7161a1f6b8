"""A tar with images in it, read by name."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator

from pycontain.errors import ImageError, LayerError
from pycontain.image.document import MANIFEST_LIMIT
from pycontain.unionfs.index import HARD_LINK, Entry
from pycontain.unionfs.tarstream import Limits, read_tar_file

CHUNK = 1 << 20
MAX_LINKS = 8
MAX_ENTRIES = 100_000


class ArchiveReader:
    """The files in an uncompressed archive. Names are keys: nothing is ever unpacked."""

    def __init__(self, fd: int) -> None:
        """Reads the headers. LayerError if it is no tar."""
        self._fd = fd
        entries = read_tar_file(fd, whiteouts=False, limits=Limits(entries=MAX_ENTRIES), whole=True)
        self._entries = {entry.path: entry for entry in entries}

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self._find(name) is not None

    def size(self, name: str) -> int:
        """In bytes. ImageError if there is no such file."""
        return self._file(name).size

    def read(self, name: str, limit: int = MANIFEST_LIMIT) -> bytes:
        """A small file. ImageError if it is not there, or larger than `limit`."""
        entry = self._file(name)
        if entry.size > limit:
            raise ImageError(f"load archive: {name!r} has {entry.size} bytes, more than {limit}")
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file in pieces. ImageError if it is not there; LayerError if it is cut off."""
        entry = self._file(name)
        at, end = entry.offset, entry.offset + entry.size
        while at < end:
            piece = os.pread(self._fd, min(CHUNK, end - at), at)
            if not piece:
                raise LayerError(f"load archive: it is truncated within {name!r}")
            at += len(piece)
            yield piece

    def _file(self, name: str) -> Entry:
        entry = self._find(name)
        if entry is None:
            raise ImageError(f"load archive: {name[:200]!r} is not in it")
        return entry

    def _find(self, name: str) -> Entry | None:
        """The regular file of this name; Docker's older archives link equal layers to one another."""
        path = name.encode("utf-8", "surrogateescape")
        for _ in range(MAX_LINKS):
            entry = self._entries.get(path)
            if entry is None:
                return None
            if entry.kind == HARD_LINK:
                path = entry.link or b""
            elif stat.S_ISLNK(entry.mode):
                path = posixpath.normpath(posixpath.join(posixpath.dirname(path), entry.link or b""))
            else:
                return entry if stat.S_ISREG(entry.mode) else None
        return None
