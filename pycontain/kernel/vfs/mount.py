"""Mounts, and nodes: a place in the tree of mounts."""

from __future__ import annotations

from typing import NamedTuple

from pycontain.kernel.vfs.filesystem import Filesystem
from pycontain.unionfs.inode import Inode


class Mount:
    """A file system's (sub)tree at a point of another mount. covered: inode number -> the mount on it."""

    __slots__ = (
        "below",
        "covered",
        "fs",
        "number",
        "parent",
        "read_only",
        "root",
        "source",
        "target",
    )

    def __init__(
        self,
        fs: Filesystem,
        root: Inode,
        parent: Mount | None = None,
        point: Inode | None = None,
        *,
        target: bytes = b"/",
        source: str = "none",
        read_only: bool = False,
    ) -> None:
        self.fs = fs
        self.root = root
        self.parent = parent
        self.below = root if point is None else point  # the inode of the parent's that it lies on
        self.target = target
        self.source = source
        self.read_only = read_only
        self.covered: dict[int, Mount] = {}
        self.number = 20 if parent is None else 0


class Node(NamedTuple):
    mount: Mount
    inode: Inode
