"""What a container changed, as a list and as an OCI layer, from what its tree knows to have changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pycontain.unionfs.inode import STUB_XATTR, HostFile, Inode
from pycontain.unionfs.tarwriter import TarWriter
from pycontain.unionfs.tree import Tree


class Change(NamedTuple):
    """kind: A added, C changed, D deleted; path is absolute; inode is None for a deletion.

    opaque: a directory took the place of another one, of which nothing shines through.
    """

    kind: str
    path: bytes
    inode: Inode | None
    opaque: bool = False


def changes(tree: Tree) -> Iterator[Change]:
    """All changes in the order of their paths, parents before children."""
    dirty = _dirty_directories(tree)
    root = tree.root.copy()
    root.mtime = tree.image.root.mtime  # changes with every name in it; no builder writes an entry for that
    if tree.root.ino in tree.changed and _differs(root, tree.image.root):
        yield Change("C", b"/", tree.root)
    yield from _compare(tree, tree.image.root, tree.root, b"/", dirty)


def _dirty_directories(tree: Tree) -> set[int]:
    """Numbers of the directories that hold a change, somewhere below."""
    dirty: set[int] = set()

    def mark(node: Inode | None) -> None:
        while node is not None and node.ino not in dirty:
            dirty.add(node.ino)
            node = tree.parent(node)

    linked: set[int] = set()
    for inode in tree.changed.values():
        mark(inode if inode.children is not None else inode.parent)
        lower = tree.image.inodes[inode.ino] if inode.ino < tree.image.next_ino else None
        if lower is not None:
            mark(lower.parent)
        if inode.children is None and (inode.nlink > 1 or (lower is not None and lower.nlink > 1)):
            linked.add(inode.ino)
    if linked:  # other names of a hard link are known only by looking
        for candidate in tree.image.inodes:
            if candidate is not None and candidate.children:
                node = tree.current(candidate)
                if any(child.ino in linked for child in (node.children or {}).values()):
                    mark(node)
    return dirty


def _differs(inode: Inode, lower: Inode) -> bool:
    if (
        inode.mode != lower.mode
        or inode.uid != lower.uid
        or inode.gid != lower.gid
        or (inode.xattrs or None) != (lower.xattrs or None)
        or inode.rdev != lower.rdev
        or inode.target != lower.target
    ):
        return True
    if inode.children is not None:
        return inode.mtime != lower.mtime
    if inode.nlink != lower.nlink or inode.mtime != lower.mtime:
        return True
    return inode.is_regular and (inode.content is None or isinstance(inode.content, HostFile))


def _compare(tree: Tree, lower: Inode | None, node: Inode, path: bytes, dirty: set[int]) -> Iterator[Change]:
    before = (lower.children or {}) if lower is not None else {}
    after = node.children or {}
    names = sorted(before.keys() | after.keys()) if before is not after else sorted(before)
    for name in names:
        old = before.get(name)
        new = tree.lookup(node, name)
        where = path + name if path == b"/" else path + b"/" + name
        if new is None:
            yield Change("D", where, None)
        elif old is None:
            if _is_stub(tree, new):
                continue
            yield Change("A", where, new)
            if new.children is not None:
                yield from _compare(tree, None, new, where, dirty)
        elif old.ino != new.ino:
            yield Change("C", where, new, old.is_dir and new.is_dir)
            if new.children is not None:
                yield from _compare(tree, None, new, where, dirty)
        else:
            if new.ino in tree.changed and _differs(new, old):
                yield Change("C", where, new)
            if new.children is not None and new.ino in dirty:
                yield from _compare(tree, old, new, where, dirty)


def _is_stub(tree: Tree, inode: Inode) -> bool:
    """Is it a mount point of ours that nobody used for something else?"""
    if inode.xattrs is None or STUB_XATTR not in inode.xattrs:
        return False
    if inode.children is None:
        return tree.stat(inode).size == 0
    return all(_is_stub(tree, tree.current(child)) for child in inode.children.values())


def write_layer(
    tree: Tree,
    write: Callable[[bytes], object],
    *,
    source_date_epoch: int | None = None,
    subsecond: bool = True,
) -> int:
    """Write the changes as an uncompressed layer tar; returns the number of entries.

    A time later than source_date_epoch (seconds) becomes that time. subsecond=False cuts times to seconds, as
    BuildKit does. Sockets are left out, as every builder does.
    """
    tar = TarWriter(write, subsecond=subsecond)
    first: dict[int, bytes] = {}  # inode number -> the path under which its bytes were written
    count = 0
    for change in changes(tree):
        path = change.path.lstrip(b"/")
        inode = change.inode
        if inode is None:
            tar.whiteout(path)
        elif not stat.S_ISSOCK(inode.mode):
            _write_inode(tar, tree, path, inode, first, source_date_epoch)
            if change.opaque:
                tar.opaque(path)
        count += 1
    tar.close()
    return count


def write_tree(tree: Tree, write: Callable[[bytes], object]) -> None:
    """Write the whole tree as one tar (export)."""
    tar = TarWriter(write)
    first: dict[int, bytes] = {}

    def descend(node: Inode, path: bytes) -> None:
        for name in sorted(node.children or {}):
            child = tree.lookup(node, name)
            if child is None or stat.S_ISSOCK(child.mode) or _is_stub(tree, child):
                continue
            where = path + b"/" + name if path else name
            _write_inode(tar, tree, where, child, first, None)
            if child.children is not None:
                descend(child, where)

    descend(tree.root, b"")
    tar.close()


def _write_inode(
    tar: TarWriter, tree: Tree, path: bytes, inode: Inode, first: dict[int, bytes], epoch: int | None
) -> None:
    info = tree.stat(inode)
    mtime = info.mtime if epoch is None else min(info.mtime, epoch * 10**9)
    linked = first.get(inode.ino) if inode.nlink > 1 and inode.children is None else None
    content: int | None = None
    try:
        if linked is None and inode.is_regular:
            content = tree.open(inode, os.O_RDONLY)
        tar.add(
            path,
            mode=inode.mode,
            uid=inode.uid,
            gid=inode.gid,
            mtime_ns=mtime,
            size=info.size if content is not None else 0,
            rdev=inode.rdev,
            link=linked if linked is not None else inode.target,
            hardlink=linked is not None,
            xattrs={k: v for k, v in (inode.xattrs or {}).items() if k != STUB_XATTR} or None,
            content=content,
        )
    finally:
        if content is not None:
            os.close(content)
    if inode.children is None:
        first.setdefault(inode.ino, path)
