"""Puts what COPY, ADD and WORKDIR make into a tree.

Where it goes (Dockerfile reference, "COPY"; BuildKit for the corner cases):
  - a destination that ends in / or is a directory takes files under their own names;
  - of a source directory the contents are copied, not the directory itself;
  - missing directories are made, mode 0755, with the owner of --chown;
  - symlinks in the destination are followed inside the tree, never out of it;
  - a file replaces a file or link, never a directory; a directory never replaces a file.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pycontain.build.owners import Owner
from pycontain.build.selection import Selection
from pycontain.build.source import MAX_LINKS, Node, Source, normal

if TYPE_CHECKING:
    from pycontain.unionfs.inode import Inode
    from pycontain.unionfs.tree import Tree


class Placer:
    """One instruction's writing into one tree.

    owner   of everything that is written; None keeps the sources' owners
    chmod   from a mode to new permission bits; None keeps the modes
    mtime   of everything that is written, ns; None keeps the sources' times
    """

    def __init__(
        self,
        tree: Tree,
        *,
        owner: Owner | None = None,
        chmod: Callable[[int], int] | None = None,
        mtime: int | None = None,
    ) -> None:
        self.tree = tree
        self.owner = owner
        self.chmod = chmod
        self.mtime = mtime
        self._links: dict[tuple[int, object], Inode] = {}
        self._last: tuple[bytes, Inode] | None = None  # the directory of the file before

    def copy(self, selections: Iterable[Selection], destination: bytes) -> None:
        """Put selections at an absolute destination. Raises ValueError with the reason."""
        selections = list(selections)
        if len(selections) > 1 and not destination.endswith(b"/"):
            existing = self.find(self.locate(destination))
            if not (existing and existing.is_dir) and not all(chosen.root.is_dir for chosen in selections):
                raise ValueError(
                    "with more than one source file, the destination must be a directory and end with a /"
                )
        for selection in selections:
            parent, _, name = destination.rpartition(b"/")
            self.directory(parent if name not in (b"", b".") else destination)
            target = self.locate(destination)
            existing = self.find(target)
            if selection.root.is_dir:
                self._copy_directory(selection, target, existing)
                continue
            if existing is not None and existing.is_dir:
                target = target + b"/" + selection.name if target else selection.name
            self.put(selection.source, selection.root, target)

    def _copy_directory(self, selection: Selection, target: bytes, existing: Inode | None) -> None:
        if existing is not None and not existing.is_dir:
            raise ValueError(f"cannot copy to non-directory: /{show(target)}")
        if existing is None:
            self.directory(b"/" + target)  # as every builder: 0755, not the source directory's own mode
        finish: list[tuple[bytes, Node]] = []
        prefix = target + b"/" if target else b""
        for path, node in selection.below:
            where = prefix + path
            if not node.is_dir:
                self.put(selection.source, node, where)
                continue
            there = self.find(where)
            if there is not None and not there.is_dir:
                raise ValueError(f"cannot copy to non-directory: /{show(where)}")
            if there is None:
                self._make(where, node)
            finish.append((where, node))
        # Making entries changes a directory's time: the sources' times are set when all is in place.
        for where, node in reversed(finish):
            inode = self.find(where)
            if inode is not None:
                uid, gid = self._owner(node)
                self.tree.set_attr(
                    inode,
                    mode=self._mode(node),
                    uid=uid,
                    gid=gid,
                    mtime=self._mtime(node),
                    atime=self._mtime(node),
                )
                self._attributes(inode, node)

    def put(self, source: Source, node: Node, target: bytes) -> None:
        """Put one file, not a directory, at a path whose directory is there."""
        directory, name = self._entry(target)
        existing = self.tree.lookup(directory, name)
        if existing is not None:
            if existing.is_dir:
                raise ValueError(f"cannot replace to directory /{show(target)} with file")
            self.tree.unlink(directory, name)
            directory = self.tree.current(directory)
        key = (id(source), node.link)
        if node.link is not None and key in self._links:
            self.tree.link(self._links[key], directory, name)
            return
        uid, gid = self._owner(node)
        if node.target is not None:
            inode = self.tree.symlink(directory, name, node.target, uid, gid)
        elif node.is_regular:
            path = source.host_path(node)
            inode = self.tree.adopt(directory, name, path, self._mode(node), uid, gid, self._mtime(node))
        else:
            inode = self.tree.mknod(
                directory, name, node.mode & 0o170000 | self._mode(node), node.rdev, uid, gid
            )
        if not node.is_regular:
            self.tree.set_attr(inode, mtime=self._mtime(node), atime=self._mtime(node))
        self._attributes(inode, node)
        if node.link is not None:
            self._links[key] = inode

    def directory(self, path: bytes) -> None:
        """Make a directory and those above it where they are missing; symlinks are followed."""
        uid, gid = self.owner or (0, 0)
        made: list[Inode] = []
        node = self.tree.root
        for name in self.locate(path).split(b"/"):
            if not name:
                continue
            if not node.is_dir:
                raise ValueError(f"/{show(path.strip(b'/'))} is not a directory")
            child = self.tree.lookup(node, name)
            if child is None:
                child = self.tree.mkdir(node, name, 0o755, uid, gid)
                made.append(child)
            node = child
        if not node.is_dir:
            raise ValueError(f"/{show(path.strip(b'/'))} is not a directory")
        if self.mtime is not None:
            for inode in made:
                self.tree.set_attr(inode, mtime=self.mtime, atime=self.mtime)

    def locate(self, path: bytes) -> bytes:
        """A path relative to the root, its symlinks followed inside the tree; what is missing stays."""
        todo = [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
        done: list[bytes] = []
        links = 0
        while todo:
            name = todo.pop()
            if name == b"..":
                del done[-1:]
                continue
            inode = self.find(b"/".join([*done, name]))
            if inode is None or inode.target is None:
                done.append(name)
                continue
            links += 1
            if links > MAX_LINKS:
                raise ValueError(f"too many symbolic links at /{show(path.strip(b'/'))}")
            if inode.target.startswith(b"/"):
                done = []
            todo.extend(part for part in reversed(inode.target.split(b"/")) if part not in (b"", b"."))
        return b"/".join(done)

    def find(self, path: bytes) -> Inode | None:
        """What is at a path without symlinks in it; None where there is nothing."""
        try:
            return self.tree.walk(b"/" + path, follow=False)
        except OSError:
            return None

    def _entry(self, path: bytes) -> tuple[Inode, bytes]:
        parent, _, name = path.rpartition(b"/")
        if self._last is not None and self._last[0] == parent:
            return self.tree.current(self._last[1]), name
        directory = self.find(parent)
        if directory is None or not directory.is_dir:
            raise ValueError(f"/{show(parent)} is not a directory")
        self._last = parent, directory
        return directory, name

    def _make(self, path: bytes, node: Node) -> None:
        directory, name = self._entry(path)
        uid, gid = self._owner(node)
        self.tree.mkdir(directory, name, self._mode(node), uid, gid)

    def _mode(self, node: Node) -> int:
        return node.mode & 0o7777 if self.chmod is None else self.chmod(node.mode)

    def _mtime(self, node: Node) -> int:
        return node.mtime if self.mtime is None else self.mtime

    def _owner(self, node: Node) -> Owner:
        return Owner(node.uid, node.gid) if self.owner is None else self.owner

    def _attributes(self, inode: Inode, node: Node) -> None:
        for name, value in (node.xattrs or {}).items():
            self.tree.set_xattr(inode, name, value)


def show(path: bytes) -> str:
    """A path for a message."""
    return path.decode("utf-8", "backslashreplace")


def destination_of(path: str, workdir: str) -> bytes:
    """A destination as written, absolute; it keeps a / or /. at its end, which means "a directory"."""
    if path in ("", "."):
        path = "./"
    joined = posixpath.join(workdir or "/", path)
    clean = "/" + normal(joined.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
    if clean != "/" and (joined.endswith("/") or joined.endswith("/.")):
        clean += "/"
    return clean.encode("utf-8", "surrogateescape")
