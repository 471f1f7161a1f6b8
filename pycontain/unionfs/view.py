"""An image's merged tree with one container's changes on top: what is there.

A changed inode is a copy under the same number, kept in `changed`; every lookup asks there first. So the
image's inodes stay shared, a hard link of the image stays one file whichever name changed it, and what has
changed is known without a walk.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Protocol, Self

from pycontain.unionfs import journal as journals
from pycontain.unionfs import records
from pycontain.unionfs.image import MAX_LINKS, ImageTree
from pycontain.unionfs.inode import Inode

INODE_WEIGHT, NAME_WEIGHT = 512, 384  # bytes of our memory, about
PART = 8  # of the machine's memory that one tree may take
LEAST_LIMIT = 256 << 20


def failure(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Changes(Protocol):
    """Who wants to know what a tree changes."""

    def changing(self, inode: Inode) -> None:
        """An inode is about to be another one than before, under the same number."""

    def renamed(self, directory: int, name: bytes) -> None:
        """A name in a directory has come, gone, or leads elsewhere."""


class View:
    """See the module. Every operation raises OSError with the errno that the system call would give;
    who may do it is the caller's business."""

    def __init__(self, image: ImageTree, directory: str | None = None, *, journal: bool = False) -> None:
        """directory holds the backing files (files/) and the journal; None for a tree that is only read."""
        self.image = image
        self.changed: dict[int, Inode] = {}
        self.directory = directory
        self.generation = 0  # grows with every change of a name or of a directory's permissions
        self.shape = 0  # grows with those that decide what leads where: of a directory, of a link
        self.changes: Changes | None = None
        self._next_ino = image.next_ino
        self.weight = 0  # bytes of memory that the changes take, about
        self.most = max(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // PART, LEAST_LIMIT)
        self._journal: journals.Journal | None = None
        self.files = ""
        if directory is not None:
            self.files = os.path.join(directory, "files")
            os.makedirs(self.files, mode=0o700, exist_ok=True)
            if journal:
                self._journal = journals.Journal(os.path.join(directory, "journal"))

    @classmethod
    def load(cls, image: ImageTree, directory: str, *, journal: bool = False) -> Self:
        """The tree that a directory's journal describes."""
        tree = cls(image, directory)
        replay = records.Replay(image, tree.changed)
        for record in journals.read(os.path.join(directory, "journal")):
            replay.apply(record)
        tree._next_ino = replay.next_ino
        tree.weight = sum(weight(inode) + NAME_WEIGHT * inode.nlink for inode in tree.changed.values())
        if journal:
            tree._journal = journals.Journal(os.path.join(directory, "journal"))
        return tree

    @property
    def root(self) -> Inode:
        return self.changed.get(self.image.root.ino, self.image.root)

    def current(self, inode: Inode) -> Inode:
        """The inode as this tree has it now."""
        return self.changed.get(inode.ino, inode)

    def lookup(self, directory: Inode, name: bytes) -> Inode | None:
        child = directory.children.get(name)  # type: ignore[union-attr]
        return None if child is None else self.changed.get(child.ino, child)

    def parent(self, inode: Inode) -> Inode:
        return self.current(inode.parent or self.root)

    def walk(self, path: bytes, *, follow: bool = True) -> Inode:
        """The inode at an absolute path inside the tree; never leaves it. Raises ENOENT, ENOTDIR, ELOOP."""
        todo = [p for p in path.split(b"/") if p and p != b"."]
        node, links = self.root, 0
        while todo:
            name = todo.pop(0)
            if node.children is None:
                raise failure(errno.ENOTDIR)
            if name == b"..":
                node = self.parent(node)
                continue
            child = self.lookup(node, name)
            if child is None:
                raise failure(errno.ENOENT)
            if child.is_symlink and (todo or follow):
                links += 1
                if links > MAX_LINKS:
                    raise failure(errno.ELOOP)
                target = child.target or b""
                todo[:0] = [p for p in target.split(b"/") if p and p != b"."]
                if target[:1] == b"/":
                    node = self.root
                continue
            node = child
        return node

    def path_of(self, inode: Inode) -> bytes:
        """An absolute path of the inode (the name it was last known by)."""
        parts: list[bytes] = []
        node = self.current(inode)
        while node.ino != self.image.root.ino:
            parts.append(node.name)
            node = self.parent(node)
        return b"/" + b"/".join(reversed(parts))

    def on_change(self, wake: Callable[[], None]) -> None:
        """wake() is called when there is something to sync() again."""
        if self._journal is not None:
            self._journal.wake = wake

    def sync(self) -> None:
        if self._journal is not None:
            self._journal.sync()

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _need_room(self) -> None:
        """Raises ENOSPC where what is about to be made could not be recorded."""
        if self._journal is not None and not self._journal.room():
            raise failure(errno.ENOSPC)

    def _new(self, mode: int, uid: int, gid: int) -> Inode:
        self._need_room()
        if self.weight > self.most:
            raise failure(errno.ENOSPC)  # inodes are in our memory, which all containers share
        inode = Inode(self._next_ino, mode, uid, gid, time.time_ns())
        self._next_ino += 1
        return inode

    def _own(self, inode: Inode) -> Inode:
        """The inode in a form that may be changed."""
        mine = self.changed.get(inode.ino)
        if mine is None:
            if inode.ino >= self.image.next_ino:
                return inode  # an own inode that was unlinked, still open somewhere
            mine = self.changed[inode.ino] = inode.copy()
        if self.changes is not None:
            self.changes.changing(inode)
        return mine

    def _record(self, inode: Inode) -> None:
        if self._journal is not None:
            self._journal.append(records.of_inode(inode))


def weight(inode: Inode) -> int:
    """What an inode takes, without its names."""
    attributes = sum(len(name) + len(value) for name, value in inode.xattrs.items()) if inode.xattrs else 0
    return INODE_WEIGHT + len(inode.target or b"") + attributes
