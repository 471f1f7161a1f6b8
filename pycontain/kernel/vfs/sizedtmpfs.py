"""A tmpfs of limited size: /dev/shm, and --tmpfs with a size.

Writing is native, so only the host can refuse a write: the bytes of files are on a tmpfs of the host's that has this
very size (Platform.limited_directory). It is made with the first file, for most containers never write one. Where the
host does not let us make one, the bytes are in a directory as those of every other file; then it is looked at how much
there is whenever a file is made or opened for writing, and what is written through an open descriptor is not stopped.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pycontain.kernel.abi import O_ACCMODE
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.unionfs import TMPFS_MAGIC, UnionFs
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.inode import Inode

if TYPE_CHECKING:
    from pycontain.kernel.task import Task

BLOCK = 4096
Make = Callable[[int], int | None]


class SizedTmpfs(UnionFs):
    """size: bytes. make: Platform.limited_directory. directory: the container's, for a host without."""

    def __init__(self, directory: str, dev: int, mode: int, size: int, make: Make) -> None:
        image = ImageTree()
        image.root.mode = 0o040000 | mode
        self._fd = -1
        self._bytes_at = ""
        self._make = make
        UnionFs.__init__(self, image, None)
        self.directory = self._host_directory = directory
        self.dev = dev
        self.cacheable = False
        self.type = "tmpfs"
        self.magic = TMPFS_MAGIC
        self.size = (size + BLOCK - 1) // BLOCK * BLOCK
        self.options = b"size=%dk" % (self.size >> 10)

    @property
    def files(self) -> str:
        """The host directory of the bytes, made when it is first asked for."""
        if not self._bytes_at:
            fd = self._make(self.size)
            if fd is None:
                self._bytes_at = os.path.join(self._host_directory, "files")
                os.makedirs(self._bytes_at, mode=0o700, exist_ok=True)
            else:
                self._fd = fd
                self._bytes_at = f"/proc/self/fd/{fd}"
        return self._bytes_at

    @files.setter
    def files(self, value: str) -> None:
        pass  # a tree without a directory begins without a place for bytes; so do we

    @property
    def is_kept_by_the_host(self) -> bool:
        """Does the host refuse what is too much?"""
        return bool(self.files) and self._fd >= 0

    @property
    def host_device(self) -> int:
        """The device number of the host's tmpfs; 0 while there is none."""
        return os.fstat(self._fd).st_dev if self._fd >= 0 else 0

    def used(self) -> int:
        """Bytes that the files take."""
        if not self._bytes_at:
            return 0
        if self._fd >= 0:
            host = os.fstatvfs(self._fd)
            return (host.f_blocks - host.f_bfree) * host.f_frsize
        with os.scandir(self._bytes_at) as entries:
            return sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in entries)

    def _room(self) -> None:
        if not self.is_kept_by_the_host and self.used() >= self.size:
            fail(errno.ENOSPC)

    def create(self, directory: Inode, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        self._room()
        return super().create(directory, name, mode, uid, gid)

    def open(self, inode: Inode, flags: int, task: Task | None = None) -> int:
        if flags & O_ACCMODE and not flags & os.O_TRUNC:
            self._room()
        return super().open(inode, flags, task)

    def statfs(self) -> tuple[int, int, int, int, int]:
        if self._fd >= 0:
            host = os.fstatvfs(self._fd)
            return host.f_blocks, host.f_bfree, host.f_bavail, host.f_files, host.f_ffree
        blocks = self.size // BLOCK
        free = max(blocks - (self.used() + BLOCK - 1) // BLOCK, 0)
        inodes = os.sysconf("SC_PHYS_PAGES") // 2  # tmpfs(5), nr_inodes
        return blocks, free, free, inodes, max(inodes - len(self.changed) - 1, 0)

    def close(self) -> None:
        """Its bytes are gone, as soon as no program has them open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._bytes_at = self._host_directory

    def __del__(self) -> None:
        self.close()
