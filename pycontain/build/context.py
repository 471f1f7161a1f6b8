"""A build context that is a directory of the host.

Owners are 0:0, as in every builder; modes and times are the files' own.
"""

from __future__ import annotations

import os
import stat

from pycontain.build.filehash import FileHashes
from pycontain.build.source import Node

XATTRS = ("user.", "security.capability")


class DirectorySource:
    """See the module. warnings collects what was left out, for the user."""

    def __init__(self, root: str, hashes: FileHashes, description: str = "the build context") -> None:
        self.root = os.path.abspath(root)
        self.hashes = hashes
        self.description = description
        self.warnings: list[str] = []

    def node(self, path: bytes) -> Node | None:
        host = self._host(path)
        try:
            # The root itself may be a symlink of the user's.
            info = os.stat(host, follow_symlinks=not path)
            target = os.fsencode(os.readlink(host)) if stat.S_ISLNK(info.st_mode) else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISSOCK(info.st_mode):
            return None
        link = (info.st_dev, info.st_ino) if info.st_nlink > 1 and stat.S_ISREG(info.st_mode) else None
        return Node(
            path,
            info.st_mode,
            0,
            0,
            info.st_mtime_ns,
            info.st_size,
            info.st_rdev if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode) else 0,
            target,
            None if target is not None else extended_attributes(host),
            link,
            host,
        )

    def names(self, path: bytes) -> list[bytes]:
        names = []
        with os.scandir(self._host(path)) as entries:
            for entry in entries:
                if not entry.is_file(follow_symlinks=False) and stat.S_ISSOCK(
                    entry.stat(follow_symlinks=False).st_mode
                ):
                    self.warnings.append(f"{entry.path} is a socket: left out")
                    continue
                names.append(os.fsencode(entry.name))
        names.sort()
        return names

    def _host(self, path: bytes) -> str:
        return f"{self.root}/{os.fsdecode(path)}" if path else self.root

    def host_path(self, node: Node) -> str:
        return str(node.key)

    def digest(self, node: Node) -> str:
        return self.hashes.digest(str(node.key)).hex()


def extended_attributes(host: str) -> dict[bytes, bytes] | None:
    """The attributes that travel with a file: the user's own, and file capabilities."""
    try:
        names = os.listxattr(host, follow_symlinks=False)
    except OSError:
        return None  # a file system without extended attributes
    found = {
        os.fsencode(name): os.getxattr(host, name, follow_symlinks=False)
        for name in names
        if name.startswith(XATTRS)
    }
    return found or None
