"""What every file system offers to the kernel. The defaults are those of a read-only one without content."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Unpack

from pycontain.kernel.abi import pack_stat
from pycontain.unionfs.inode import Attributes, Inode, Stat

if TYPE_CHECKING:
    from socket import socket

    from pycontain.kernel.task import Task


class Listing(NamedTuple):
    """A directory as getdents64(2) gives it. records: struct linux_dirent64, ends: where each of them ends."""

    records: bytes
    ends: array[int]


MakeListing = Callable[["Filesystem", Inode], Listing]


_TEXTS = {code: os.strerror(code) for code in errno.errorcode}


def fail(code: int) -> NoReturn:
    raise OSError(code, _TEXTS[code])


class Filesystem:
    """Inodes are identified by number; current() gives the present form of one that was kept."""

    dev: int
    type: str
    magic: int
    options = b""  # of its own, as /proc/mounts shows them
    fixed = False  # nobody can make names; where there is none, ENOENT comes before any other error
    depth = 0  # of overlays upon each other
    cacheable = False  # may a resolved path be remembered until `generation` changes?
    root: Inode
    generation = 0
    shape = 0  # see View

    def current(self, inode: Inode) -> Inode:
        return inode

    def lookup(self, directory: Inode, name: bytes) -> Inode | None:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def parent(self, inode: Inode) -> Inode:
        return inode.parent or self.root

    def names(self, directory: Inode) -> list[tuple[bytes, int, int]]:
        """(name, inode number, mode) of every entry but . and .."""
        fail(errno.ENOTDIR)

    def listing(self, directory: Inode, make: MakeListing) -> Listing:
        """All of a directory as getdents64(2) gives it; what will stay as it is may be kept."""
        return make(self, directory)

    def readlink(self, inode: Inode, task: Task) -> bytes:
        return inode.target or b""

    def follow(self, inode: Inode, task: Task) -> Any:
        """The node a magic link (/proc/PID/fd/N) leads to; None for an ordinary symlink."""
        return None

    def stat(self, inode: Inode) -> Stat:
        return Stat(
            inode.ino, inode.mode, inode.nlink, inode.uid, inode.gid, inode.rdev, inode.size, 0,
            inode.atime, inode.mtime, inode.ctime,
        )  # fmt: skip

    def packed_stat(self, inode: Inode) -> bytes:
        """struct stat, as stat(2) writes it."""
        return pack_stat(self.dev, self.stat(inode))

    def path_of(self, inode: Inode) -> bytes:
        """The path below the file system's root, starting with a slash."""
        parts: list[bytes] = []
        node = inode
        while node.parent is not None and node.ino != self.root.ino:
            parts.append(node.name)
            node = self.parent(node)
        return b"/" + b"/".join(reversed(parts))

    def open(self, inode: Inode, flags: int, task: Task) -> int:
        """A host descriptor for a regular file."""
        fail(errno.EACCES)

    def statfs(self) -> tuple[int, int, int, int, int]:
        """(blocks, free, available, files, free files) of 4096 bytes."""
        return 0, 0, 0, 0, 0

    # changes; owners are the caller's

    def create(self, directory: Inode, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        fail(errno.EACCES)

    def open_unnamed(self, mode: int, uid: int, gid: int, flags: int, linkable: bool) -> tuple[Inode, int]:
        """A regular file without a name and a host descriptor for it (O_TMPFILE)."""
        fail(errno.EOPNOTSUPP)

    def linkable(self, inode: Inode) -> bool:
        """Does the inode, which has no name, wait for one?"""
        return False

    def mkdir(self, directory: Inode, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        fail(errno.EPERM)

    def symlink(self, directory: Inode, name: bytes, target: bytes, uid: int, gid: int) -> Inode:
        fail(errno.EPERM)

    def mknod(self, directory: Inode, name: bytes, mode: int, rdev: int, uid: int, gid: int) -> Inode:
        fail(errno.EPERM)

    def link(self, inode: Inode, directory: Inode, name: bytes) -> Inode:
        fail(errno.EPERM)

    def unlink(self, directory: Inode, name: bytes) -> None:
        fail(errno.EPERM)

    def rmdir(self, directory: Inode, name: bytes) -> None:
        fail(errno.EPERM)

    def rename(self, old: Inode, old_name: bytes, new: Inode, new_name: bytes, flags: int = 0) -> None:
        fail(errno.EPERM)

    def set_attr(self, inode: Inode, **new: Unpack[Attributes]) -> Inode:
        fail(errno.EPERM)

    def set_xattr(self, inode: Inode, name: bytes, value: bytes | None) -> None:
        fail(errno.EOPNOTSUPP)

    def xattrs(self, inode: Inode) -> dict[bytes, bytes]:
        return inode.xattrs or {}

    def truncate(self, inode: Inode, size: int) -> None:
        fail(errno.EACCES)

    def pin(self, inode: Inode) -> int:
        """An O_PATH descriptor of the host's FIFO or socket behind an inode; the caller closes it."""
        fail(errno.ENXIO)

    def bind(self, inode: Inode, new: socket) -> None:
        """Bind a socket to the host file that stands for a socket inode."""
        fail(errno.EPERM)

    def reach(self, inode: Inode, path: str) -> None:
        """A file without a name is used next; path: the /proc/PID/fd/N of a host descriptor that has it open."""

    def by_descriptor(self, dev: int, ino: int) -> Inode | None:
        """The inode of an open descriptor, by the identity of the host object behind it."""
        return None
