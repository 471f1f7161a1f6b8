"""Union trees as a file system: the container's root, and tmpfs (a union without an image)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pycontain.kernel.abi import pack_stat
from pycontain.kernel.vfs.filesystem import Filesystem, Listing, MakeListing
from pycontain.kernel.vfs.preparation import Preparations
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.inode import Inode
from pycontain.unionfs.tree import Tree

if TYPE_CHECKING:
    from socket import socket

    from pycontain.kernel.task import Task

LARGE = 16 << 20  # bytes of a file that are copied in a thread
OVERLAYFS_MAGIC, TMPFS_MAGIC = 0x794C7630, 0x01021994


class UnionFs(Tree, Filesystem):  # type: ignore[override]  # Tree.root is computed, elsewhere it is stored
    """Tree's operations are already those of a file system; this adds what only the kernel asks for."""

    cacheable = True  # tmpfs sets it to False: only the root file system has a generation that is watched

    def __init__(self, image: ImageTree, directory: str | None, *, journal: bool = False) -> None:
        Tree.__init__(self, image, directory, journal=journal)
        self.preparations = Preparations()
        self.dev = os.makedev(0, 44)
        self.type = "overlay"
        self.magic = OVERLAYFS_MAGIC

    def packed_stat(self, inode: Inode) -> bytes:
        """Packed once for an inode of the image: it is the same until a container changes it."""
        ino = inode.ino
        if ino in self.changed or ino >= self.image.next_ino:
            return pack_stat(self.dev, self.stat(inode))
        packed = self.image.packed.get(ino)
        if packed is None:
            packed = self.image.packed[ino] = pack_stat(self.dev, Tree.stat(self, inode))
        return packed

    def names(self, directory: Inode) -> list[tuple[bytes, int, int]]:
        changed = self.changed
        if changed:
            return [
                (name, child.ino, changed.get(child.ino, child).mode)
                for name, child in (directory.children or {}).items()
            ]
        return [(name, child.ino, child.mode) for name, child in (directory.children or {}).items()]

    def listing(self, directory: Inode, make: MakeListing) -> Listing:
        """That of a directory of the image is kept: it is the same until a container changes it."""
        ino = directory.ino
        if ino in self.changed or ino >= self.image.next_ino:
            return make(self, directory)
        found: Listing | None = self.image.listings.get(ino)
        if found is None:
            found = self.image.listings[ino] = make(self, directory)
        return found

    def open(self, inode: Inode, flags: int, task: Task | None = None) -> int:
        if task is not None and task.tid:
            if flags & os.O_TRUNC:
                self._shorten(self.current(inode), 0)
            elif inode.size >= LARGE:
                self._prepare(self.current(inode), flags)
        return Tree.open(self, inode, flags)

    def _shorten(self, inode: Inode, size: int) -> None:
        """Have a large file of the container's own give back what it is about to lose. Raises Later until it has."""
        if inode.content is not None or not stat.S_ISREG(inode.mode) or not inode.nlink:
            return
        path = self.backing(inode)
        if os.stat(path).st_blocks * 512 - size >= LARGE:
            self.preparations.need((inode.ino, size), lambda: os.truncate(path, size))

    def _prepare(self, inode: Inode, flags: int) -> None:
        """Have the bytes of a large file of the image where they are needed. Raises Later until they are."""
        content, ino = inode.content, inode.ino
        if content is None or not stat.S_ISREG(inode.mode):
            return
        if flags & os.O_ACCMODE != os.O_RDONLY:
            if ino not in self._copied:
                self.preparations.need(ino, lambda: self.copy_aside(inode))
        elif isinstance(content, tuple):
            layer, number = content
            self.preparations.need(content, lambda: layer.materialise(number))

    def truncate(self, inode: Inode, size: int) -> None:
        if inode.size >= LARGE and size:
            self._prepare(self.current(inode), os.O_WRONLY)
        self._shorten(self.current(inode), size)
        Tree.truncate(self, inode, size)

    def bind(self, inode: Inode, new: socket) -> None:
        directory = os.open(self.files, os.O_PATH | os.O_CLOEXEC)  # our path may be too long for an address
        try:
            new.bind(f"/proc/self/fd/{directory}/{inode.ino}")
        finally:
            os.close(directory)

    def pin(self, inode: Inode) -> int:
        if not stat.S_ISFIFO(inode.mode):
            return os.open(self.backing(inode), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        fd = self._pin_fifo(inode)
        info = os.fstat(fd)
        self.by_host[info.st_dev, info.st_ino] = inode  # so that its descriptors are known
        return fd

    def _pin_fifo(self, inode: Inode) -> int:
        if inode.nlink == 0:
            try:
                with self._pinned(inode) as reached:
                    return os.open(reached, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                pass  # nobody has opened it
        path, flags = self.backing(inode), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            pass
        os.mkfifo(path, 0o600)  # a FIFO of an image, or just made: the host's comes with the first open
        try:
            return os.open(path, flags)
        finally:
            if inode.nlink == 0:
                os.unlink(path)

    def statfs(self) -> tuple[int, int, int, int, int]:
        host = os.statvfs(self.files)
        scale = max(host.f_frsize // 4096, 1)
        return host.f_blocks * scale, host.f_bfree * scale, host.f_bavail * scale, host.f_files, host.f_ffree


def new_tmpfs(directory: str, dev: int, mode: int = 0o1777) -> UnionFs:
    """An empty file system whose contents live in a directory of the container."""
    image = ImageTree()
    image.root.mode = 0o040000 | mode
    os.makedirs(directory, mode=0o700, exist_ok=True)
    fs = UnionFs(image, directory)
    fs.dev = dev
    fs.cacheable = False
    fs.type = "tmpfs"
    fs.magic = TMPFS_MAGIC
    return fs
