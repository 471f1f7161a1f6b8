"""Descriptors that stand for directories (and for O_PATH opens).

A program that opens a directory gets an open description of an empty directory of ours: read(2) on it gives
EISDIR, write(2) EBADF, lseek(2) works, all without us. Its (device, inode) tells us which handle it is, and a
descriptor of our own onto the same description gives us the position.

close(2) is not trapped, so a handle is known to be unused only by looking at /proc/PID/fd of the container's
processes. That is done when the number of handles has doubled.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycontain.kernel.vfs.mount import Node

FIRST_COLLECTION = 64


class Handle:
    """An open directory. entries: what getdents gives out, a snapshot since the last rewind."""

    __slots__ = ("entries", "fd", "index", "node", "path_only")

    def __init__(self, node: Node, index: int, fd: int, path_only: bool) -> None:
        self.node = node
        self.index = index
        self.fd = fd
        self.path_only = path_only
        self.entries: list[tuple[bytes, int, int]] | None = None


class HandlePool:
    """All handles of the kernel."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        os.makedirs(directory, mode=0o755, exist_ok=True)
        self._free: list[int] = []
        self._made = 0
        self._keys: list[tuple[int, int]] = []
        self.open_handles: dict[tuple[int, int], Handle] = {}
        self._limit = FIRST_COLLECTION

    def find(self, dev: int, ino: int) -> Handle | None:
        return self.open_handles.get((dev, ino))

    def open(self, node: Node, pids: Iterable[int], path_only: bool = False) -> int:
        """A descriptor for the task; the handle keeps its own. pids: every process that may hold handles."""
        if len(self.open_handles) >= self._limit:
            self._collect(pids)
        if self._free:
            index = self._free.pop()
        else:
            index = self._made
            self._made += 1
            os.makedirs(f"{self._directory}/{index}", mode=0o555, exist_ok=True)
            info = os.stat(f"{self._directory}/{index}")
            self._keys.append((info.st_dev, info.st_ino))
        flags = os.O_DIRECTORY | os.O_CLOEXEC | (os.O_PATH if path_only else os.O_RDONLY)
        fd = os.open(f"{self._directory}/{index}", flags)
        self.open_handles[self._keys[index]] = Handle(node, index, fd, path_only)
        return os.dup(fd)

    def _collect(self, pids: Iterable[int]) -> None:
        live: set[tuple[int, int]] = set()
        for pid in pids:
            try:
                names = os.listdir(f"/proc/{pid}/fd")
            except OSError:
                continue
            for name in names:
                try:
                    info = os.stat(f"/proc/{pid}/fd/{name}")
                except OSError:
                    continue
                live.add((info.st_dev, info.st_ino))
        for key in [k for k in self.open_handles if k not in live]:
            handle = self.open_handles.pop(key)
            os.close(handle.fd)
            self._free.append(handle.index)
        self._limit = max(FIRST_COLLECTION, 2 * len(self.open_handles))
