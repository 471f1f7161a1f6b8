"""Where COPY and ADD take files from: a build context or the tree of another stage, seen the same way.

A source is asked only for paths whose directories are no symlinks; `resolve` follows links inside the source,
so that a link never leads out of it.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from pycontain.build.ignore import Ignore, Inherited

MAX_LINKS = 40


class Node(NamedTuple):
    """A file of a source. path is relative to the source's root, b"" the root itself; mtime in ns.

    link: names with the same value are one file (hard links); None where there is only one name.
    key: what the source needs to find it again.
    """

    path: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    rdev: int
    target: bytes | None
    xattrs: Mapping[bytes, bytes] | None
    link: object
    key: object

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.mode)


class Source(Protocol):
    """description is for messages: "the build context", "stage build"."""

    description: str

    def node(self, path: bytes) -> Node | None:
        """The file at a path, its last symlink not followed; None where there is none."""

    def children(self, path: bytes) -> list[tuple[bytes, Node]]:
        """What is in a directory: names, sorted, and their files."""

    def host_path(self, node: Node) -> str:
        """A host file that holds a regular file's bytes."""

    def digest(self, node: Node) -> str:
        """A digest of a regular file's bytes."""


class Filtered:
    """A source without what a .dockerignore excludes."""

    def __init__(self, source: Source, ignore: Ignore) -> None:
        self.source = source
        self.ignore = ignore
        self.description = source.description
        self._below: dict[bytes, Inherited] = {b"": ignore.top}
        self._visible: dict[bytes, bool] = {}  # of directories

    def node(self, path: bytes) -> Node | None:
        node = self.source.node(path)
        return node if node is not None and self._is_visible(path, node) else None

    def children(self, path: bytes) -> list[tuple[bytes, Node]]:
        prefix = path + b"/" if path else b""
        return [
            (name, node) for name, node in self.source.children(path) if self._is_visible(prefix + name, node)
        ]

    def host_path(self, node: Node) -> str:
        return self.source.host_path(node)

    def digest(self, node: Node) -> str:
        return self.source.digest(node)

    def hides(self, path: bytes) -> bool:
        """Whether a path is there but ignored."""
        return self.source.node(path) is not None and self.node(path) is None

    def _inherited(self, path: bytes) -> Inherited:
        """What a directory's files inherit."""
        found = self._below.get(path)
        if found is None:
            above = self._inherited(path.rpartition(b"/")[0])
            _, found = self.ignore.match(path.decode("utf-8", "surrogateescape"), above)
            self._below[path] = found
        return found

    def _is_visible(self, path: bytes, node: Node) -> bool:
        """Not ignored, or a directory that something below brings back."""
        known = self._visible.get(path)
        if known is not None:
            return known
        above = self._inherited(path.rpartition(b"/")[0])
        text = path.decode("utf-8", "surrogateescape")
        if not node.is_dir:
            return not self.ignore.ignores_file(text, above)
        ignored, self._below[path] = self.ignore.match(text, above)
        if ignored and self.ignore.may_bring_back_below(text):
            ignored = not self.children(path)
        self._visible[path] = not ignored
        return not ignored


def normal(path: bytes) -> bytes:
    """A path relative to the root, without "." and ".." (which stop at the root)."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def resolve(source: Source, path: bytes) -> Node | None:
    """The file at a path with all symlinks followed inside the source; None where there is none.

    Raises ValueError where links go round in circles.
    """
    todo = normal(path).split(b"/") if path else []
    done: list[bytes] = []
    links = 0
    node = source.node(b"")
    todo.reverse()
    while todo and node is not None:
        name = todo.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            del done[-1:]
            node = source.node(b"/".join(done))
            continue
        if not node.is_dir:
            return None
        child = source.node(b"/".join([*done, name]))
        if child is not None and child.target is not None:
            links += 1
            if links > MAX_LINKS:
                raise ValueError(f"too many symbolic links at {path.decode('utf-8', 'replace')}")
            if child.target.startswith(b"/"):
                done, node = [], source.node(b"")
            todo.extend(reversed(child.target.split(b"/")))
            continue
        done.append(name)
        node = child
    return node
