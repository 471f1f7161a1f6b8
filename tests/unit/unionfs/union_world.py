"""Layers without a store, trees as plain values, and a file system model that a union tree is compared with."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import Any

from pycontain.unionfs import diff
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.index import Entry
from pycontain.unionfs.inode import Inode
from pycontain.unionfs.tarstream import read_tar
from pycontain.unionfs.tarwriter import TarWriter
from pycontain.unionfs.tree import Tree

NOON = 1_000_000_000 * 10**9


class TarLayer:
    """A layer made of a tar's bytes; contents are materialised in a directory."""

    def __init__(self, data: bytes, directory: str) -> None:
        self.diff_id = "sha256:" + os.path.basename(directory)
        self._data = data
        self._directory = directory
        self._entries = list(read_tar([data]))
        self.materialised: list[int] = []
        os.makedirs(directory, exist_ok=True)

    def entries(self) -> list[Entry]:
        return self._entries

    def materialise(self, number: int) -> str:
        self.materialised.append(number)
        entry = self._entries[number]
        path = f"{self._directory}/{number}"
        with open(path, "wb") as file:
            file.write(self._data[entry.offset : entry.offset + entry.size])
        return path


class Member:
    """What a layer says of one path."""

    def __init__(self, path: str, content: bytes | None = None, **named: Any) -> None:
        self.path = path.encode()
        self.content = content
        kind = (
            stat.S_IFDIR if content is None and "link" not in named and "kind" not in named else stat.S_IFREG
        )
        if "link" in named and not named.get("hardlink"):
            kind = stat.S_IFLNK
        kind = named.pop("kind", kind)
        default = {stat.S_IFDIR: 0o755, stat.S_IFLNK: 0o777}.get(kind, 0o644)
        self.values = {
            "mode": kind | named.pop("mode", default),
            "mtime_ns": named.pop("mtime", NOON),
            **named,
        }


def tar_of(members: Iterable[Member]) -> bytes:
    chunks: list[bytes] = []
    tar = TarWriter(chunks.append)
    for member in members:
        if isinstance(member, bytes):
            tar.whiteout(member)
        elif member.content is None:
            tar.add(member.path, **member.values)
        else:
            tar.add(member.path, size=len(member.content), content=[member.content], **member.values)
    tar.close()
    return b"".join(chunks)


def base_image(directory: str) -> ImageTree:
    """A small image with every kind of object."""
    members = [
        Member("etc"),
        Member("etc/passwd", b"root:x:0:0\n"),
        Member("etc/shadow", b"secret", mode=0o640, uid=0, gid=42),
        Member("bin"),
        Member("bin/su", b"\x7fELF", mode=0o4755),
        Member("bin/sh", link=b"dash"),
        Member("lib"),
        Member("lib/a", b"one content, three names"),
        Member("lib/b", b"", link=b"lib/a", hardlink=True),
        Member("lib/sub"),
        Member("lib/sub/c", b"", link=b"lib/a", hardlink=True),
        Member("home", mode=0o2775, uid=1000, gid=1000),
        Member("home/data", b"x" * 5000, uid=1000, gid=1000, xattrs={b"user.colour": b"blue"}),
        Member("var"),
        Member("var/empty"),
        Member("var/fifo", kind=stat.S_IFIFO),
        Member("var/null", kind=stat.S_IFCHR, rdev=os.makedev(1, 3), mode=0o666),
    ]
    for member in members:
        if member.values.get("hardlink"):
            member.content = None
    return ImageTree.merge([TarLayer(tar_of(members), f"{directory}/base")])


def snapshot(tree: Tree, times: bool = False) -> dict[bytes, tuple[Any, ...]]:
    """Everything about every path but inode numbers; paths of one file share the name of the first."""
    found: dict[bytes, tuple[Any, ...]] = {}
    first: dict[int, bytes] = {}

    def visit(node: Inode, path: bytes) -> None:
        info = tree.stat(node)
        content = tree.read_bytes(node) if node.is_regular else node.target
        kept: tuple[Any, ...] = (
            info.mode, info.uid, info.gid, info.rdev, content, dict(node.xattrs or {}),
            first.setdefault(node.ino, path) if node.children is None else path, info.nlink,
        )  # fmt: skip
        found[path] = (*kept, info.mtime) if times and node.children is None else kept
        for name in sorted(node.children or {}):
            child = tree.lookup(node, name)
            assert child is not None
            visit(child, path + b"/" + name)

    visit(tree.root, b"")
    return found


def layer_of(tree: Tree, directory: str) -> TarLayer:
    chunks: list[bytes] = []
    diff.write_layer(tree, chunks.append)
    return TarLayer(b"".join(chunks), directory)


class ModelNode:
    def __init__(self, mode: int, uid: int, gid: int) -> None:
        self.mode, self.uid, self.gid = mode, uid, gid
        self.content = b""
        self.target: bytes | None = None
        self.rdev = 0
        self.xattrs: dict[bytes, bytes] = {}
        self.children: dict[bytes, ModelNode] | None = {} if stat.S_ISDIR(mode) else None


class Model:
    """What a Unix file system does, in dicts. Operations raise OSError as the tree's do."""

    def __init__(self, tree: Tree) -> None:
        same: dict[int, ModelNode] = {}

        def copy(node: Inode) -> ModelNode:
            if node.ino in same:
                return same[node.ino]
            new = same[node.ino] = ModelNode(node.mode, node.uid, node.gid)
            new.target, new.rdev, new.xattrs = node.target, node.rdev, dict(node.xattrs or {})
            if node.is_regular:
                new.content = tree.read_bytes(node)
            for name in node.children or {}:
                child = tree.lookup(node, name)
                assert child is not None and new.children is not None
                new.children[name] = copy(child)
            return new

        self.root = copy(tree.root)

    def snapshot(self) -> dict[bytes, tuple[Any, ...]]:
        links: dict[int, int] = {}
        found: dict[bytes, tuple[Any, ...]] = {}
        first: dict[int, bytes] = {}

        def count(node: ModelNode) -> None:
            links[id(node)] = links.get(id(node), 0) + 1
            for child in (node.children or {}).values():
                count(child)

        def visit(node: ModelNode, path: bytes) -> None:
            nlink = links[id(node)]
            if node.children is not None:
                nlink = 2 + sum(child.children is not None for child in node.children.values())
            content = node.content if stat.S_ISREG(node.mode) else node.target
            found[path] = (
                node.mode, node.uid, node.gid, node.rdev, content, node.xattrs,
                first.setdefault(id(node), path) if node.children is None else path, nlink,
            )  # fmt: skip
            for name, child in sorted((node.children or {}).items()):
                visit(child, path + b"/" + name)

        count(self.root)
        visit(self.root, b"")
        return found

    def walk(self, path: bytes) -> ModelNode:
        node = self.root
        for name in path.split(b"/")[1:]:
            if node.children is None:
                raise OSError(errno.ENOTDIR, "")
            if name not in node.children:
                raise OSError(errno.ENOENT, "")
            node = node.children[name]
        return node

    def parent(self, path: bytes) -> tuple[dict[bytes, ModelNode], bytes]:
        head, _, name = path.rpartition(b"/")
        children = self.walk(head).children
        if children is None:
            raise OSError(errno.ENOTDIR, "")
        return children, name

    def make(self, path: bytes, node: ModelNode) -> None:
        children, name = self.parent(path)
        if name in children:
            raise OSError(errno.EEXIST, "")
        children[name] = node

    def unlink(self, path: bytes) -> None:
        children, name = self.parent(path)
        if name not in children:
            raise OSError(errno.ENOENT, "")
        if children[name].children is not None:
            raise OSError(errno.EISDIR, "")
        del children[name]

    def rmdir(self, path: bytes) -> None:
        children, name = self.parent(path)
        if name not in children:
            raise OSError(errno.ENOENT, "")
        inner = children[name].children
        if inner is None:
            raise OSError(errno.ENOTDIR, "")
        if inner:
            raise OSError(errno.ENOTEMPTY, "")
        del children[name]

    def link(self, old: bytes, new: bytes) -> None:
        node = self.walk(old)
        children, name = self.parent(new)
        if name in children:
            raise OSError(errno.EEXIST, "")
        if node.children is not None:
            raise OSError(errno.EPERM, "")
        children[name] = node

    def rename(self, old: bytes, new: bytes, exchange: bool = False) -> None:
        source, name = self.parent(old)
        target, new_name = self.parent(new)
        if name not in source:
            raise OSError(errno.ENOENT, "")
        node, victim = source[name], target.get(new_name)
        if exchange:
            if victim is None:
                raise OSError(errno.ENOENT, "")
            if new.startswith(old + b"/") or old.startswith(new + b"/"):
                raise OSError(errno.EINVAL, "")
            source[name], target[new_name] = victim, node
            return
        if victim is node:
            return
        if node.children is not None and new.startswith(old + b"/"):
            raise OSError(errno.EINVAL, "")
        if victim is not None:
            if node.children is not None:
                if victim.children is None:
                    raise OSError(errno.ENOTDIR, "")
                if victim.children:
                    raise OSError(errno.ENOTEMPTY, "")
            elif victim.children is not None:
                raise OSError(errno.EISDIR, "")
        del source[name]
        target[new_name] = node
