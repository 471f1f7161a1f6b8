"""Descriptors that stand for directories and for O_PATH opens.

A program that opens a directory gets an open description of an empty directory of ours: read(2) on it gives
EISDIR, write(2) EBADF, lseek(2) works, all without us. Its (device, inode) tells us which handle it is, and a
descriptor of our own onto the same description gives us the position.

An O_PATH descriptor cannot be injected into a task (the host refuses), so an O_PATH open gives an empty file of
ours opened with access mode 3, which allows neither read(2) nor write(2): both answer EBADF, as they should.

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
NO_ACCESS = 3  # open(2), "access mode 3"


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
        self._free: tuple[list[int], list[int]] = ([], [])  # unused directories; unused files for O_PATH
        self._keys: list[tuple[int, int]] = []
        self.open_handles: dict[tuple[int, int], Handle] = {}
        self._limit = FIRST_COLLECTION

    def find(self, dev: int, ino: int) -> Handle | None:
        return self.open_handles.get((dev, ino))

    def open(self, node: Node, pids: Iterable[int], path_only: bool = False) -> int:
        """A descriptor for the task; the handle keeps its own. pids: every process that may hold handles."""
        if len(self.open_handles) >= self._limit:
            self._collect(pids)
        free = self._free[path_only]
        index = free.pop() if free else self._make(path_only)
        flags = os.O_CLOEXEC | (NO_ACCESS if path_only else os.O_RDONLY | os.O_DIRECTORY)
        fd = os.open(f"{self._directory}/{self._name(index, path_only)}", flags)
        self.open_handles[self._keys[index]] = Handle(node, index, fd, path_only)
        return os.dup(fd)

    @staticmethod
    def _name(index: int, path_only: bool) -> str:
        return f"p{index}" if path_only else str(index)

    def _make(self, path_only: bool) -> int:
        """One more object to open; returns its number."""
        index = len(self._keys)
        path = f"{self._directory}/{self._name(index, path_only)}"
        if path_only:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        else:
            os.makedirs(path, mode=0o555, exist_ok=True)
        info = os.stat(path)
        self._keys.append((info.st_dev, info.st_ino))
        return index

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
            self._free[handle.path_only].append(handle.index)
        self._limit = max(FIRST_COLLECTION, 2 * len(self.open_handles))
