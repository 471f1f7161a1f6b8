"""Mounts, and nodes: a place in the tree of mounts."""

from __future__ import annotations

from typing import NamedTuple

from pycontain.kernel.vfs.filesystem import Filesystem
from pycontain.unionfs.inode import Inode

NOSUID, NODEV, NOEXEC = 2, 4, 8  # as mount(2) has them


class Mount:
    """A file system's (sub)tree at a point of another mount. covered: inode number -> the mount on it.

    It is nowhere until Container.attach(). restrictions: NOSUID, NODEV, NOEXEC; locked: read-only for good.
    """

    __slots__ = (
        "below",
        "covered",
        "fs",
        "locked",
        "number",
        "parent",
        "read_only",
        "restrictions",
        "root",
        "source",
        "target",
    )

    def __init__(
        self,
        fs: Filesystem,
        root: Inode,
        *,
        target: bytes = b"/",
        source: str = "none",
        read_only: bool = False,
    ) -> None:
        self.fs = fs
        self.root = root
        self.parent: Mount | None = None
        self.below = root  # the inode of the parent's that it lies on
        self.target = target
        self.source = source
        self.read_only = read_only
        self.locked = False
        self.restrictions = 0
        self.covered: dict[int, Mount] = {}
        self.number = 0

    def options(self) -> bytes:
        """As /proc/PID/mounts shows them."""
        words = [b"ro" if self.read_only else b"rw"]
        for bit, word in ((NOSUID, b"nosuid"), (NODEV, b"nodev"), (NOEXEC, b"noexec")):
            if self.restrictions & bit:
                words.append(word)
        return b",".join([*words, b"relatime"])


class Node(NamedTuple):
    mount: Mount
    inode: Inode
