"""Between inodes and the journal's records (journal.py has their form): one way to write, one to replay."""

from __future__ import annotations

from typing import Any

from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.inode import HostFile, Inode


def of_inode(inode: Inode) -> tuple[Any, ...]:
    """The record of an inode's present state."""
    content = inode.content
    kept = None if content is None else str(content) if isinstance(content, HostFile) else True
    return (
        inode.ino,
        inode.mode,
        inode.uid,
        inode.gid,
        inode.mtime,
        inode.ctime,
        inode.rdev,
        inode.nlink,
        inode.target,
        inode.xattrs,
        kept,
        inode.size,
        inode.parent.ino if inode.parent is not None else 0,
        inode.name,
    )


class Replay:
    """Puts records into `changed`, the inodes of a tree that differ from its image's. next_ino: the first free one."""

    def __init__(self, image: ImageTree, changed: dict[int, Inode]) -> None:
        self._image = image
        self._changed = changed
        self.next_ino = image.next_ino

    def apply(self, record: list[Any]) -> None:
        if len(record) == 4:
            self._entry(*record)
        else:
            self._inode(*record)

    def _find(self, ino: int) -> Inode | None:
        mine = self._changed.get(ino)
        if mine is None and ino < self._image.next_ino:
            mine = self._image.inodes[ino]
        return mine

    def _own(self, inode: Inode) -> Inode:
        mine = self._changed.get(inode.ino)
        if mine is None:
            mine = self._changed[inode.ino] = inode.copy()
        return mine

    def _entry(self, number: int, name: bytes, child: int, now: int) -> None:
        directory = self._find(number)
        if directory is None:
            return
        directory = self._own(directory)
        assert directory.children is not None
        node = self._find(child) if child else None
        if node is None:
            directory.children.pop(name, None)  # the inode stays: a rename enters it elsewhere next
        else:
            directory.children[name] = node
        directory.mtime = directory.ctime = now

    def _inode(
        self,
        ino: int,
        mode: int,
        uid: int,
        gid: int,
        mtime: int,
        ctime: int,
        rdev: int,
        nlink: int,
        target: bytes | None,
        xattrs: dict[bytes, bytes] | None,
        content: str | bool | None,
        size: int,
        parent: int,
        name: bytes,
    ) -> None:
        inode = self._find(ino)
        if inode is None:
            inode = self._changed[ino] = Inode(ino, mode, uid, gid, mtime)
            self.next_ino = max(self.next_ino, ino + 1)
        else:
            inode = self._own(inode)
        inode.mode, inode.uid, inode.gid, inode.rdev, inode.nlink = mode, uid, gid, rdev, nlink
        inode.mtime, inode.ctime, inode.target, inode.xattrs, inode.size = mtime, ctime, target, xattrs, size
        inode.name, inode.parent = name, self._find(parent)
        if content is None:
            inode.content = None
        elif isinstance(content, str):
            inode.content = HostFile(content)
