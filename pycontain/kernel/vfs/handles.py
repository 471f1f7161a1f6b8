"""Descriptors that stand for directories and for O_PATH opens.

A program that opens a directory gets an open description of an empty directory of ours: read(2) on it gives
EISDIR, write(2) EBADF, lseek(2) works, all without us. Its (device, inode) tells us which handle it is, and a
descriptor of our own onto the same description gives us the position.

An O_PATH descriptor cannot be injected into a task (the host refuses), so an O_PATH open gives an empty file of
ours opened with access mode 3, which allows neither read(2) nor write(2): both answer EBADF, as they should.

close(2) is not trapped, so a handle is known to be unused only by looking at /proc/PID/fd of the container's
processes. That is done when the number of handles has doubled. A descriptor can hide from it: in flight through a
socket, or in the table of a thread that shares none. While anything is in flight, which the host tells of each
socket, what is not seen is kept, as long as there is room. And the object behind a handle is never used again: it has
no name from the start, and the host cannot give its inode number to another one while any description is left. What
hides for too long then names nothing. Each container has its own pool, and does not know the handles of others.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from pycontain.kernel.vfs.filesystem import fail

if TYPE_CHECKING:
    from pycontain.kernel.vfs.filesystem import Listing
    from pycontain.kernel.vfs.mount import Node

FIRST_COLLECTION = 64
NO_ACCESS = 3  # open(2), "access mode 3"
SHARE = 8  # one container's handles may take this part of the kernel's descriptors
SHM = "/dev/shm"


def directory(run_directory: str) -> str:
    """Where objects are made: in memory where there is such a place, making them costs a fifth there."""
    info = os.stat(run_directory)
    path = f"{SHM}/pycontain-{info.st_dev:x}-{info.st_ino:x}"
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.lstat(path)
        if found.st_uid == os.geteuid() and found.st_mode & 0o177777 == 0o040700 and os.access(path, os.W_OK):
            return path
    except OSError:
        pass
    path = os.path.join(run_directory, "handles")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def descriptors(pids: Iterable[int]) -> Iterator[tuple[int, str, os.stat_result]]:
    """(pid, number, what it refers to) of every descriptor of host processes."""
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
            yield pid, name, info


def open_files(pids: Iterable[int]) -> set[tuple[int, int]]:
    """(st_dev, st_ino) of everything that host processes have descriptors of."""
    return {(info.st_dev, info.st_ino) for _, _, info in descriptors(pids)}


def in_flight(pids: Iterable[int]) -> bool:
    """Is a descriptor on its way through a unix socket of these host processes?"""
    return any(stat.S_ISSOCK(info.st_mode) and _carries(pid, name) for pid, name, info in descriptors(pids))


def _carries(pid: int, name: str) -> bool:
    try:
        with open(f"/proc/{pid}/fdinfo/{name}", "rb") as file:
            for line in file:
                if line.startswith(b"scm_fds:"):
                    return line.split()[1] != b"0"
    except OSError:
        pass  # closed meanwhile
    return False


class Handle:
    """An open directory. listing: what getdents gives out, as it was when it was last read from the start."""

    __slots__ = ("fd", "listing", "missed", "node", "path_only")

    def __init__(self, node: Node, fd: int, path_only: bool) -> None:
        self.node = node
        self.fd = fd
        self.path_only = path_only
        self.missed = False  # the last collection saw no descriptor of it
        self.listing: Listing | None = None

    def current(self) -> Node:
        """The node as it is now."""
        node = self.node
        inode = node.mount.fs.current(node.inode)
        return node if inode is node.inode else node._replace(inode=inode)


class Changes(Protocol):
    """Who wants to know which descriptors stand for something. device, ino: the host's identity of them."""

    def opened(self, device: int, ino: int, handle: Handle) -> None: ...
    def closed(self, device: int, ino: int) -> None: ...


class HandlePool:
    """All handles of a container. place: see directory(); number: the container's."""

    def __init__(self, place: str, number: int) -> None:
        self.place = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.number = number
        self.open_handles: dict[tuple[int, int], Handle] = {}
        self.changes: Changes | None = None
        self._limit = FIRST_COLLECTION
        self._most = max(resource.getrlimit(resource.RLIMIT_NOFILE)[1] // SHARE, FIRST_COLLECTION)

    def find(self, dev: int, ino: int) -> Handle | None:
        """By the host's identity of a descriptor."""
        return self.open_handles.get((dev, ino))

    def open(self, node: Node, pids: Iterable[int], path_only: bool = False) -> int:
        """The descriptor to inject; it stays the handle's own. pids: every process that may hold handles.

        Raises ENFILE if the container has too many.
        """
        if len(self.open_handles) >= self._limit:
            self._collect(pids)
            if len(self.open_handles) >= self._most:
                fail(errno.ENFILE)
        fd = self._make(path_only)
        info = os.fstat(fd)
        handle = self.open_handles[info.st_dev, info.st_ino] = Handle(node, fd, path_only)
        if self.changes is not None:
            self.changes.opened(info.st_dev, info.st_ino, handle)
        return fd

    @property
    def room(self) -> int:
        """How many more may be opened before it must be looked which are still used."""
        return max(min(self._limit, self._most) - len(self.open_handles), 0)

    def adopt(self, node: Node, fd: int, device: int, ino: int) -> None:
        """A directory that the fast path has opened."""
        self.open_handles[device, ino] = Handle(node, fd, False)

    def _make(self, path_only: bool) -> int:
        """An open object without a name."""
        if path_only:
            file = os.memfd_create("path", os.MFD_CLOEXEC)
            try:
                return os.open(f"/proc/self/fd/{file}", NO_ACCESS | os.O_CLOEXEC)
            finally:
                os.close(file)
        place, name = self.place, str(self.number)
        try:
            os.mkdir(name, 0o500, dir_fd=place)
        except FileExistsError:
            pass  # left by a kernel that was killed
        try:
            return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
        finally:
            os.rmdir(name, dir_fd=place)

    def _collect(self, pids: Iterable[int]) -> None:
        """Close what two collections have not seen, unless it may be in flight."""
        live = open_files(pids)
        kept = 0
        flying: bool | None = None
        for key, handle in list(self.open_handles.items()):
            if key in live:
                handle.missed = False
                kept += 1
                continue
            full = len(self.open_handles) >= self._most
            if handle.missed and not full:
                if flying is None:
                    flying = in_flight((*pids, os.getpid()))  # datagrams pass through ourselves
                if flying:
                    continue
            if handle.missed or full:
                del self.open_handles[key]
                if self.changes is not None:
                    self.changes.closed(*key)
                os.close(handle.fd)
            handle.missed = True
        self._limit = min(
            max(FIRST_COLLECTION, 2 * kept, len(self.open_handles) + FIRST_COLLECTION), self._most
        )

    def close(self) -> None:
        for handle in self.open_handles.values():
            os.close(handle.fd)
        self.open_handles.clear()
        if self.place >= 0:
            os.close(self.place)
            self.place = -1
