"""The merged tree of an image's layers: immutable, shared by every container of the image."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import Any, Protocol

from pycontain.errors import LayerError
from pycontain.unionfs.index import Entry
from pycontain.unionfs.inode import Inode

ROOT_INO = 2  # as on most Unix file systems
NODE, HARD_LINK, WHITEOUT, OPAQUE = 0, 1, 2, 3
MAX_LINKS = 40


class Layer(Protocol):
    """What a merge needs of a layer of the store."""

    diff_id: str
    path: str  # its directory; materialised files are path/files/NUMBER

    def entries(self) -> list[Entry]: ...

    def materialise(self, number: int) -> str: ...

    def copy(self, number: int, target: int) -> None: ...


class ImageTree:
    """Layers merged by the rules of OCI image-spec, layer.md (whiteouts act on the layers below only)."""

    def __init__(self) -> None:
        self.root = Inode(ROOT_INO, stat.S_IFDIR | 0o755, 0, 0, 0)
        self.root.parent = self.root
        self.inodes: list[Inode | None] = [None, None, self.root]  # by number
        self.layers: list[Layer] = []
        self.packed: dict[int, bytes] = {}  # struct stat by number, kept for the kernel
        self.listings: dict[int, Any] = {}  # of directories by number, likewise
        self.space = 0  # its number in the kernel's fast path, see kernel/fastpath.py
        self.by_host: dict[tuple[int, int], Inode] = {}  # (st_dev, st_ino) of materialised files

    @classmethod
    def merge(cls, layers: Sequence[Layer]) -> ImageTree:
        """Raises LayerError where a layer contradicts those below it."""
        tree = cls()
        for layer in layers:
            tree._apply(layer)
            tree.layers.append(layer)
        return tree

    @property
    def next_ino(self) -> int:
        return len(self.inodes)

    def walk(self, path: bytes) -> Inode | None:
        """The inode at a path, symlinks followed inside the tree; None where there is none."""
        todo = [p for p in path.split(b"/") if p]
        node, links = self.root, 0
        while todo:
            name = todo.pop(0)
            if node.children is None:
                return None
            if name == b"..":
                node = node.parent or self.root
                continue
            child = node.children.get(name) if node.children else None
            if child is None:
                return None
            if child.is_symlink:
                links += 1
                if links > MAX_LINKS:
                    return None
                target = child.target or b""
                todo[:0] = [p for p in target.split(b"/") if p and p != b"."]
                if target[:1] == b"/":
                    node = self.root
                continue
            node = child
        return node

    # -- merging

    def _apply(self, layer: Layer) -> None:
        entries = layer.entries()
        for entry in entries:
            if entry.kind == WHITEOUT:
                self._whiteout(entry.path)
            elif entry.kind == OPAQUE:
                node = self.walk(entry.path)
                if node is not None and node.children:
                    node.nlink = 2
                    node.children.clear()
        directories: dict[bytes, Inode] = {b"": self.root}
        links: list[Entry] = []
        for number, entry in enumerate(entries):
            if entry.kind == NODE:
                self._add(layer, number, entry, directories)
            elif entry.kind == HARD_LINK:
                links.append(entry)  # the target may come later in the tar, and is a whole file then
        for entry in links:
            self._link(layer, entry, directories)

    def _whiteout(self, path: bytes) -> None:
        head, _, name = path.rpartition(b"/")
        parent = self.walk(head)
        if parent is not None and parent.children and name in parent.children:
            self._drop(parent, name)

    def _drop(self, parent: Inode, name: bytes) -> None:
        assert parent.children is not None
        old = parent.children.pop(name)
        if old.children is not None:
            parent.nlink -= 1
        else:
            old.nlink -= 1

    def _directory(self, path: bytes, directories: dict[bytes, Inode], entry: Entry) -> Inode:
        """The directory that entry lies in; made with mode 0755 where no entry names it, as containerd does."""
        found = directories.get(path)
        if found is not None:
            return found
        head, _, name = path.rpartition(b"/")
        parent = self._directory(head, directories, entry)
        assert parent.children is not None
        node = parent.children.get(name)
        if node is not None and node.is_symlink:
            node = self.walk(path)
        if node is None or node.children is None:
            if name in parent.children:
                self._drop(parent, name)
            node = self._new(stat.S_IFDIR | 0o755, 0, 0, entry.mtime)
            self._attach(parent, name, node)
        directories[path] = node
        return node

    def _new(self, mode: int, uid: int, gid: int, time: int) -> Inode:
        node = Inode(len(self.inodes), mode, uid, gid, time)
        self.inodes.append(node)
        return node

    def _attach(self, parent: Inode, name: bytes, node: Inode) -> None:
        assert parent.children is not None
        parent.children[name] = node
        node.parent = parent
        node.name = name
        if node.children is not None:
            parent.nlink += 1

    def _add(self, layer: Layer, number: int, entry: Entry, directories: dict[bytes, Inode]) -> None:
        path = entry.path
        if not path:
            self._describe(self.root, entry)
            return
        head, _, name = path.rpartition(b"/")
        parent = directories.get(head) or self._directory(head, directories, entry)
        assert parent.children is not None
        old = parent.children.get(name)
        kind = entry.mode & 0o170000
        if kind == stat.S_IFDIR and old is not None and old.children is not None:
            self._describe(old, entry)
            directories[path] = old
            return
        if old is not None:
            self._drop(parent, name)
        node = self._new(entry.mode, entry.uid, entry.gid, entry.mtime)
        if entry.xattrs:
            node.xattrs = entry.xattrs
        if kind == stat.S_IFREG:
            node.size = entry.size
            node.content = (layer, number)
        elif kind == stat.S_IFLNK:
            node.target = entry.link or b""
            node.size = len(node.target)
        elif kind == stat.S_IFDIR:
            directories[path] = node
        else:
            node.rdev = entry.rdev
        self._attach(parent, name, node)

    def _describe(self, node: Inode, entry: Entry) -> None:
        node.mode, node.uid, node.gid = entry.mode, entry.uid, entry.gid
        node.mtime = node.atime = node.ctime = entry.mtime
        node.xattrs = entry.xattrs or None

    def _link(self, layer: Layer, entry: Entry, directories: dict[bytes, Inode]) -> None:
        head, _, name = entry.path.rpartition(b"/")
        target_head, _, target_name = (entry.link or b"").rpartition(b"/")
        directory = self.walk(target_head)
        found = directory.children if directory is not None else None
        target = found.get(target_name) if found else None
        if target is None or target.children is not None:
            raise LayerError(
                f"layer {layer.diff_id[:19]}: hard link {entry.path!r} points to {entry.link!r}, which is not a file"
            )
        parent = self._directory(head, directories, entry)
        assert parent.children is not None
        if parent.children.get(name) is target:
            return
        if name in parent.children:
            self._drop(parent, name)
        parent.children[name] = target
        target.nlink += 1
