"""Single host files as sources of COPY and ADD: here-documents and downloads."""

from __future__ import annotations

import os
import stat

from pycontain.build.filehash import file_digest
from pycontain.build.selection import Selection
from pycontain.build.source import Node


class HeldFile:
    """A source of one regular file with the owner 0:0."""

    def __init__(self, path: str, name: bytes, mode: int, mtime: int) -> None:
        self.description = "the instruction"
        size = os.path.getsize(path)
        self._file = Node(name, stat.S_IFREG | mode, 0, 0, mtime, size, 0, None, None, None, path)

    def selection(self) -> Selection:
        """The file as something to be copied."""
        return Selection(self, self._file.path, self._file)

    def node(self, path: bytes) -> Node | None:
        return self._file if path == self._file.path else None

    def children(self, path: bytes) -> list[tuple[bytes, Node]]:
        return [] if path else [(self._file.path, self._file)]

    def host_path(self, node: Node) -> str:
        return str(node.key)

    def digest(self, node: Node) -> str:
        return file_digest(str(node.key)).hex()
