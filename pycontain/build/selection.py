"""What one COPY or ADD selects from its source, and a checksum of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pycontain.build.glob import PatternError, compile_glob, is_wild
from pycontain.build.ignore import Ignore, parse_pattern
from pycontain.build.source import Filtered, Node, Source, normal, resolve


class Selection(NamedTuple):
    """One file or directory. name is what it is called in a destination directory.

    below: what is in the directory, with paths relative to it, parents before children.
    """

    source: Source
    name: bytes
    root: Node
    below: tuple[tuple[bytes, Node], ...] = ()


def select(source: Source, pattern: str, exclude: Ignore | None = None) -> list[Selection]:
    """What a source argument names, in order. Empty only where a pattern with wildcards matches nothing.

    Raises ValueError with the reason: not found, a bad pattern, links in circles.
    """
    path = normal(pattern.encode("utf-8", "surrogateescape"))
    chosen = []
    for match in expand(source, path):
        node = resolve(source, match)
        if node is None:
            raise ValueError(not_found(source, pattern, match))
        name = match.rpartition(b"/")[2]
        below: tuple[tuple[bytes, Node], ...] = ()
        if node.is_dir:
            below = tuple(descend(source, node.path, exclude))
        elif exclude and exclude.ignores(name.decode("utf-8", "surrogateescape")):
            continue
        chosen.append(Selection(source, name, node, below))
    return chosen


def not_found(source: Source, pattern: str, path: bytes) -> str:
    """Why a source argument names nothing."""
    reason = f'"/{path.decode("utf-8", "replace")}" not found in {source.description}'
    if isinstance(source, Filtered) and source.hides(path):
        return f"{reason}: .dockerignore excludes it"
    if ".." in pattern.split("/"):
        return f"{reason}: {pattern!r} does not reach outside of it"
    return reason


def expand(source: Source, path: bytes) -> list[bytes]:
    """The paths that a pattern matches; a path without wildcards is returned as it is."""
    text = path.decode("utf-8", "surrogateescape")
    if not is_wild(text):
        return [path]
    parts = text.split("/")
    first = next(index for index, part in enumerate(parts) if is_wild(part))
    start = "/".join(parts[:first]).encode("utf-8", "surrogateescape")
    found = resolve(source, start)
    if found is None or not found.is_dir:
        return []
    # The start may be a symlink: names below it are looked up where it leads to.
    level = [found.path]
    for part in parts[first:]:
        try:
            expression = compile_glob(part)
        except PatternError as error:
            raise ValueError(str(error)) from None
        level = [below for directory in level for below in matching(source, directory, expression)]
    return level


def matching(source: Source, directory: bytes, expression: re.Pattern[str]) -> list[bytes]:
    node = source.node(directory)
    if node is None or not node.is_dir:
        return []
    prefix = directory + b"/" if directory else b""
    return [
        prefix + name
        for name, _ in source.children(directory)
        if expression.fullmatch(name.decode("utf-8", "surrogateescape"))
    ]


def descend(source: Source, directory: bytes, exclude: Ignore | None = None) -> Iterator[tuple[bytes, Node]]:
    """Everything below a directory with paths relative to it, parents first, without what is excluded."""
    view: Source = Below(source, directory)
    if exclude:
        view = Filtered(view, exclude)
    todo: list[tuple[bytes, Node | None]] = [(b"", None)]
    while todo:
        path, node = todo.pop()
        if node is not None:
            yield path, node
        prefix = path + b"/" if path else b""
        directories: list[tuple[bytes, Node | None]] = []
        for name, child in view.children(path):
            if child.is_dir:
                directories.append((prefix + name, child))
            else:
                yield prefix + name, child
        todo.extend(reversed(directories))


class Below:
    """A source seen from one of its directories."""

    def __init__(self, source: Source, directory: bytes) -> None:
        self.source = source
        self.description = source.description
        self._prefix = directory + b"/" if directory else b""

    def node(self, path: bytes) -> Node | None:
        return self.source.node(self._prefix + path if path else self._prefix.rstrip(b"/"))

    def children(self, path: bytes) -> list[tuple[bytes, Node]]:
        return self.source.children(self._prefix + path if path else self._prefix.rstrip(b"/"))

    def host_path(self, node: Node) -> str:
        return self.source.host_path(node)

    def digest(self, node: Node) -> str:
        return self.source.digest(node)


def exclusions(patterns: Sequence[str]) -> Ignore | None:
    """The patterns of --exclude. Raises ValueError."""
    return Ignore(parse_pattern(pattern) for pattern in patterns) if patterns else None


def checksum(selections: Iterable[Selection]) -> str:
    """A digest of names, modes, owners, attributes, links and bytes; times are left out."""
    digest = hashlib.sha256()
    for selection in selections:
        _describe(digest, selection.source, selection.name, selection.root)
        for path, node in selection.below:
            _describe(digest, selection.source, path, node)
        digest.update(b"\n")
    return digest.hexdigest()


def _describe(digest: hashlib._Hash, source: Source, path: bytes, node: Node) -> None:
    target = b"-" if node.target is None else b"=" + node.target
    content = source.digest(node) if node.is_regular else ""
    xattrs = repr(sorted(node.xattrs.items())) if node.xattrs else ""
    facts = f"{node.mode:o} {node.uid} {node.gid} {node.rdev} {content} {len(path)} {len(target)} {xattrs}"
    digest.update(b"%d:%b%b%b" % (len(facts), facts.encode(), path, target))
