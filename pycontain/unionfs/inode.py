"""The inode: everything about a file but its names and its bytes."""

from __future__ import annotations

import stat
from typing import Any, NamedTuple, TypedDict

DIRECTORY_SIZE = 4096
STUB_XATTR = b"trusted.pycontain.stub"
"""Marks an empty file or directory that exists only because something is mounted on it. No layer shows it."""


class HostFile(str):
    """A host path whose bytes a file of the tree shows without owning them (a file of a build context)."""

    __slots__ = ()


class Stat(NamedTuple):
    """What stat(2) tells. Times in ns since the epoch, blocks of 512 bytes."""

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    atime: int
    mtime: int
    ctime: int


class Attributes(TypedDict, total=False):
    """What set_attr() changes: permission bits, owners, times in ns. None leaves a value, as if it were not there."""

    mode: int | None
    uid: int | None
    gid: int | None
    atime: int | None
    mtime: int | None


class Inode:
    """A file, directory, link or device in a union tree.

    content says where a regular file's bytes are:
        None            in the tree's own directory of backing files, named by ino
        (layer, number) in an image layer, not materialised yet
        str             a backing file of a layer, shared read-only
        HostFile        a file of the host, read-only

    Inodes of an image are shared by all containers of it and never change once the image is merged;
    a container changes a copy that its tree keeps under the same number.
    """

    __slots__ = (
        "atime",
        "children",
        "content",
        "ctime",
        "gid",
        "ino",
        "mode",
        "mtime",
        "name",
        "nlink",
        "parent",
        "rdev",
        "size",
        "target",
        "uid",
        "xattrs",
    )

    children: dict[bytes, Inode] | None
    content: Any
    parent: Inode | None
    target: bytes | None
    xattrs: dict[bytes, bytes] | None

    def __init__(self, ino: int, mode: int, uid: int, gid: int, time: int) -> None:
        self.ino = ino
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = self.atime = self.ctime = time
        self.rdev = 0
        self.target = None
        self.xattrs = None
        self.content = None
        self.parent = None
        self.name = b""
        if mode & 0o170000 == stat.S_IFDIR:
            self.children = {}
            self.nlink = 2
            self.size = DIRECTORY_SIZE
        else:
            self.children = None
            self.nlink = 1
            self.size = 0

    def copy(self) -> Inode:
        """A copy with the same number that may be changed; a directory's names are copied, not its files."""
        new = Inode.__new__(Inode)
        for slot in Inode.__slots__:
            setattr(new, slot, getattr(self, slot))
        if self.children is not None:
            new.children = dict(self.children)
        if self.xattrs is not None:
            new.xattrs = dict(self.xattrs)
        return new

    @property
    def is_dir(self) -> bool:
        return self.children is not None

    @property
    def is_symlink(self) -> bool:
        return self.mode & 0o170000 == stat.S_IFLNK

    @property
    def is_leaf(self) -> bool:
        """No path leads on from here: neither a directory nor a link."""
        return self.children is None and self.mode & 0o170000 != stat.S_IFLNK

    @property
    def is_regular(self) -> bool:
        return self.mode & 0o170000 == stat.S_IFREG
