"""A read-only file system of texts that are made when they are opened: what /sys has of the container's own."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pycontain.kernel.abi import O_ACCMODE, S_IFDIR, S_IFREG
from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.unionfs.inode import Inode

if TYPE_CHECKING:
    from pycontain.kernel.task import Task

Text = Callable[[], bytes]


class TextFs(Filesystem):
    """One directory of texts. modes: permissions of those that are not 0444. made: ns since the epoch."""

    def __init__(
        self,
        kind: str,
        magic: int,
        dev: int,
        texts: Mapping[bytes, Text],
        modes: Mapping[bytes, int],
        made: int = 0,
    ) -> None:
        self.type = kind
        self.magic = magic
        self.dev = dev
        self._texts = texts
        self.root = Inode(1, S_IFDIR | 0o555, 0, 0, made)
        self.root.parent = self.root
        self._files: dict[bytes, Inode] = {}
        for number, name in enumerate(texts):
            inode = Inode(2 + number, S_IFREG | modes.get(name, 0o444), 0, 0, made)
            inode.parent, inode.name = self.root, name
            self._files[name] = inode

    def lookup(self, directory: Inode, name: bytes) -> Inode | None:
        return self._files.get(name)

    def names(self, directory: Inode) -> list[tuple[bytes, int, int]]:
        return [(name, inode.ino, inode.mode) for name, inode in self._files.items()]

    def open(self, inode: Inode, flags: int, task: Task) -> int:
        if flags & (O_ACCMODE | os.O_TRUNC):
            fail(errno.EACCES)
        return memory_file(self._texts[inode.name]())


def memory_file(text: bytes) -> int:
    """A read-only descriptor of a memory file with this text."""
    fd = os.memfd_create("proc", os.MFD_CLOEXEC)
    try:
        view = memoryview(text)
        while view:
            view = view[os.write(fd, view) :]
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)
