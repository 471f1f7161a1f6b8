"""The bytes of a tree's files, on their way into an image: mapped layer tars and backing files.

A layer's files are written straight from the mapped tar by writev(2), a thousand at a time: no copy in
Python, no materialised files. Long ones and a container's own go by copy_file_range(2).
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any

from pycontain.errors import MachineError
from pycontain.unionfs.inode import HostFile

if TYPE_CHECKING:
    from pycontain.unionfs.inode import Inode
    from pycontain.unionfs.tree import Tree

BLOCK = 4096
VECTORS = 1000
LONG = 1 << 20
"""Bytes from which a file is copied by copy_file_range."""
ZEROS = bytes(BLOCK)


class Contents:
    """Use as a context manager: it holds mappings and descriptors."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._maps: dict[int, _Mapped] = {}

    def __enter__(self) -> Contents:
        return self

    def __exit__(self, *_: object) -> None:
        for mapped in self._maps.values():
            mapped.close()
        self._maps.clear()

    def size(self, inode: Inode) -> int:
        """The file's length: of a container's own file what the host says."""
        return self._tree.stat(inode).size if inode.content is None else inode.size

    def mtime(self, inode: Inode) -> int:
        """ns since the epoch."""
        if inode.content is None and inode.is_regular:
            return self._tree.stat(inode).mtime
        return inode.mtime

    def view(self, inode: Inode) -> bytes | memoryview:
        """A short file's bytes."""
        content = inode.content
        if isinstance(content, tuple):
            return self._mapped(content[0]).content(content[1])
        with open(self._tree.open(inode, os.O_RDONLY), "rb") as file:
            return file.read(inode.size if content is not None else -1)

    def copy_all(self, out: int, metadata: bytearray, files: list[Inode], directories: bytes) -> None:
        """Write the metadata, the directories' blocks, and each file padded to a whole block."""
        pending: list[Any] = [metadata]
        if directories:
            pending.append(directories)
        for inode in files:
            content = inode.content
            if isinstance(content, tuple):
                layer = self._mapped(content[0])
                size = layer.entries[content[1]].size
                if size >= LONG:
                    _flush(out, pending)
                    _copy(layer.fd, layer.entries[content[1]].offset, size, out)
                else:
                    pending.append(layer.content(content[1]))
            else:
                _flush(out, pending)
                size = self._copy_file(inode, out)
            if size % BLOCK:
                pending.append(ZEROS[size % BLOCK :])
            if len(pending) >= VECTORS:
                _flush(out, pending)
        _flush(out, pending)

    def _copy_file(self, inode: Inode, out: int) -> int:
        source = self._tree.open(inode, os.O_RDONLY)
        try:
            size = os.fstat(source).st_size
            if isinstance(inode.content, HostFile):
                size = min(size, inode.size)  # a file of the host may grow meanwhile
            _copy(source, 0, size, out)
            return size
        finally:
            os.close(source)

    def _mapped(self, layer: Any) -> _Mapped:
        found = self._maps.get(id(layer))
        if found is None:
            found = self._maps[id(layer)] = _Mapped(layer)
        return found


class _Mapped:
    """A layer's tar in memory, with its index."""

    def __init__(self, layer: Any) -> None:
        self.entries = layer.entries()
        self.fd = os.open(layer.tar_path, os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(self.fd).st_size
        self._map = mmap.mmap(self.fd, size, prot=mmap.PROT_READ) if size else None
        self._view = memoryview(self._map) if self._map is not None else memoryview(b"")

    def content(self, number: int) -> memoryview:
        """The bytes of an entry. MachineError where the tar is cut off."""
        entry = self.entries[number]
        found = self._view[entry.offset : entry.offset + entry.size]
        if len(found) != entry.size:
            raise MachineError("write root file system: a layer's tar is cut off")
        return found

    def close(self) -> None:
        """What content() gave must be gone by now."""
        self._view.release()
        if self._map is not None:
            self._map.close()
        os.close(self.fd)


def _flush(out: int, pending: list[Any]) -> None:
    """Write all; a short write is continued."""
    while pending:
        written = os.writev(out, pending)
        done = 0
        while done < len(pending) and written >= len(pending[done]):
            written -= len(pending[done])
            done += 1
        del pending[:done]
        if pending and written:
            pending[0] = memoryview(pending[0])[written:]


def _copy(source: int, offset: int, size: int, out: int) -> None:
    """Append a range of a file to `out`."""
    while size:
        try:
            copied = os.copy_file_range(source, out, size, offset)
        except OSError:  # a file system that cannot
            copied = os.write(out, os.pread(source, min(size, 1 << 20), offset))
        if not copied:
            raise MachineError("write root file system: a file's content is cut off")
        offset += copied
        size -= copied
