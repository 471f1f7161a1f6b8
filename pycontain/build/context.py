"""A build context that is a directory of the host.

Owners are 0:0, as in every builder; modes and times are the files' own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from pycontain.build.filehash import FileHashes
from pycontain.build.source import Node

XATTRS = ("user.", "security.capability")


class DirectorySource:
    """See the module. warn is told, once each, of what no image can hold."""

    description = "the build context"

    def __init__(
        self, root: str, hashes: FileHashes, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self.root = os.path.abspath(root)
        self.hashes = hashes
        self._warn = warn
        self._left_out: set[str] = set()

    def node(self, path: bytes) -> Node | None:
        host = f"{self.root}/{os.fsdecode(path)}" if path else self.root
        try:
            # The root itself may be a symlink of the user's.
            return self._node(path, host, os.stat(host, follow_symlinks=not path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def children(self, path: bytes) -> list[tuple[bytes, Node]]:
        prefix = path + b"/" if path else b""
        found = []
        with os.scandir(f"{self.root}/{os.fsdecode(path)}" if path else self.root) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                node = self._node(prefix + name, entry.path, entry.stat(follow_symlinks=False))
                if node is not None:
                    found.append((name, node))
                elif entry.path not in self._left_out:
                    self._left_out.add(entry.path)
                    self._warn(f"{entry.path} is a socket: left out")
        found.sort()
        return found

    def host_path(self, node: Node) -> str:
        return self._key(node)[0]

    def digest(self, node: Node) -> str:
        return self.hashes.digest(*self._key(node)).hex()

    def _key(self, node: Node) -> tuple[str, os.stat_result]:
        key: tuple[str, os.stat_result] = node.key  # type: ignore[assignment]
        return key

    def _node(self, path: bytes, host: str, info: os.stat_result) -> Node | None:
        """None for a socket, which no image can hold."""
        mode = info.st_mode
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFSOCK:
            return None
        is_link = kind == stat.S_IFLNK
        return Node(
            path,
            mode,
            0,
            0,
            info.st_mtime_ns,
            info.st_size,
            info.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0,
            os.fsencode(os.readlink(host)) if is_link else None,
            None if is_link else extended_attributes(host),
            (info.st_dev, info.st_ino) if info.st_nlink > 1 and kind == stat.S_IFREG else None,
            (host, info),
        )


def extended_attributes(host: str) -> dict[bytes, bytes] | None:
    """The attributes that travel with a file: the user's own, and file capabilities."""
    try:
        names = os.listxattr(host, follow_symlinks=False)
    except OSError:
        return None  # a file system without extended attributes
    if not names:
        return None
    found = {
        os.fsencode(name): os.getxattr(host, name, follow_symlinks=False)
        for name in names
        if name.startswith(XATTRS)
    }
    return found or None
