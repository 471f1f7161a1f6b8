"""A union tree as a source of COPY: the files of another stage or image, or a context that came as a tar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontain.build.filehash import file_digest
from pycontain.build.source import Node

if TYPE_CHECKING:
    from pycontain.unionfs.inode import Inode
    from pycontain.unionfs.tree import Tree


class TreeSource:
    """own_ids: keep the files' owners (a stage's files) or show 0:0 (a context's)."""

    def __init__(self, tree: Tree, description: str, *, own_ids: bool = True) -> None:
        self.tree = tree
        self.description = description
        self.own_ids = own_ids
        self._nodes: dict[bytes, Inode] = {b"": tree.root}
        self._digests: dict[int, str] = {}

    def node(self, path: bytes) -> Node | None:
        inode = self._inode(path)
        if inode is None:
            return None
        info = self.tree.stat(inode)
        uid, gid = (info.uid, info.gid) if self.own_ids else (0, 0)
        link = inode.ino if info.nlink > 1 and inode.children is None else None
        return Node(
            path,
            info.mode,
            uid,
            gid,
            info.mtime,
            info.size,
            info.rdev,
            inode.target,
            inode.xattrs or None,
            link,
            inode,
        )

    def children(self, path: bytes) -> list[tuple[bytes, Node]]:
        inode = self._inode(path)
        prefix = path + b"/" if path else b""
        names = sorted(inode.children) if inode is not None and inode.children else []
        return [(name, node) for name in names if (node := self.node(prefix + name)) is not None]

    def host_path(self, node: Node) -> str:
        inode: Inode = node.key  # type: ignore[assignment]
        content = inode.content
        if content is None:
            return self.tree.backing(inode)
        if isinstance(content, str):
            return str(content)
        layer, number = content
        path: str = layer.materialise(number)
        return path

    def digest(self, node: Node) -> str:
        inode: Inode = node.key  # type: ignore[assignment]
        known = self._digests.get(inode.ino)
        if known is None:
            known = self._digests[inode.ino] = file_digest(self.host_path(node)).hex()
        return known

    def _inode(self, path: bytes) -> Inode | None:
        known = self._nodes.get(path)
        if known is None:
            directory, _, name = path.rpartition(b"/")
            parent = self._inode(directory)
            if parent is None or parent.children is None:
                return None
            known = self.tree.lookup(parent, name)
            if known is not None:
                self._nodes[path] = known
        return known
