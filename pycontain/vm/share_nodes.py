"""The files of a shared directory that a guest knows of: numbers that we gave it, each a descriptor of ours.

No name is ever followed (O_NOFOLLOW, O_PATH): what a guest can reach is below the directory.
"""

from __future__ import annotations

import errno
import os
import resource
from typing import Any

MOST = 200_000
"""Files that a guest may hold at the same time, if the process may have that many descriptors."""
PART = 4
"""A guest gets at most this part of the process's descriptors: other machines need some, too."""


class _Node:
    __slots__ = ("fd", "key", "lookups")

    def __init__(self, fd: int, key: tuple[int, int]) -> None:
        self.fd = fd
        self.key = key
        self.lookups = 1


class Nodes:
    """path: the directory, which is node 1. OSError where there is none."""

    def __init__(self, path: str) -> None:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        info = os.fstat(fd)
        key = info.st_dev, info.st_ino
        self._nodes: dict[int, _Node] = {1: _Node(fd, key)}
        self._by_key = {key: 1}
        self._next = 2
        self.limit = min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // PART)

    def __len__(self) -> int:
        return len(self._nodes)

    def fd(self, number: int) -> int:
        """OSError (ESTALE) for a number that is none, or none any more."""
        found = self._nodes.get(number)
        if found is None:
            raise OSError(errno.ESTALE, "")
        return found.fd

    def path(self, number: int) -> str:
        """A name by which the host's calls reach it."""
        return f"/proc/self/fd/{self.fd(number)}"

    def look_up(self, directory: int, name: bytes) -> tuple[int, os.stat_result]:
        """The number of a file, which the guest knows once more from now on."""
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd(directory))
        info = os.fstat(fd)
        key = info.st_dev, info.st_ino
        number = self._by_key.get(key)
        if number is not None:
            os.close(fd)
            self._nodes[number].lookups += 1
            return number, info
        if len(self._nodes) >= self.limit:
            os.close(fd)
            raise OSError(errno.ENFILE, "")
        number = self._next
        self._next += 1
        self._nodes[number] = _Node(fd, key)
        self._by_key[key] = number
        return number, info

    def forget(self, number: int, count: int) -> None:
        """The guest has dropped that many of its look-ups."""
        node = self._nodes.get(number)
        if node is None or number == 1:
            return
        node.lookups -= count
        if node.lookups <= 0:
            os.close(node.fd)
            del self._nodes[number]
            self._by_key.pop(node.key, None)

    def close(self) -> None:
        """Let go of everything."""
        for node in self._nodes.values():
            os.close(node.fd)
        self._nodes.clear()
        self._by_key.clear()

    # -- snapshots

    def state(self) -> dict[str, Any]:
        """Plain data for restore()."""
        root = os.readlink(self.path(1))
        nodes = []
        for number, node in self._nodes.items():
            path = os.readlink(self.path(number))
            if number != 1 and path.startswith(root + "/"):  # others have been moved away or removed
                nodes.append([number, path[len(root) + 1 :], node.lookups, *node.key])
        return {"nodes": nodes, "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """What is not there any more, or is another file by now, is stale."""
        for number, path, lookups, *key in state["nodes"]:
            try:
                fd = _reach(self.fd(1), os.fsencode(path))
            except OSError:
                continue
            info = os.fstat(fd)
            if [info.st_dev, info.st_ino] != key:
                os.close(fd)
                continue
            node = self._nodes[number] = _Node(fd, (info.st_dev, info.st_ino))
            node.lookups = lookups
            self._by_key[node.key] = number
        self._next = int(state["next"])


def _reach(root: int, path: bytes) -> int:
    """A descriptor (O_PATH) of what lies there, no link followed on the way. OSError."""
    fd = os.dup(root)
    for name in path.split(b"/"):
        try:
            below = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd
