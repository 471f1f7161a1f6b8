"""Processes and their threads, as the emulated kernel knows them."""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pycontain.kernel.credentials import Credentials

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.vfs.mount import Node

PATH_MAX = 4096
OPEN_TABLES = 256


class FileContext:
    """What clone(CLONE_FS) shares: root, working directory, umask."""

    __slots__ = ("cwd", "root", "umask")

    def __init__(self, root: Node, cwd: Node, umask: int) -> None:
        self.root = root
        self.cwd = cwd
        self.umask = umask

    def copy(self) -> FileContext:
        return FileContext(self.root, self.cwd, self.umask)


class Process:
    """A thread group. pid is the host's; the container's first process is 1 inside (see Container.inside).

    credentials and files are those of its first thread, for who looks at the process from outside.
    """

    __slots__ = (
        "container",
        "credentials",
        "dumpable",
        "executable",
        "files",
        "name",
        "parent",
        "pid",
        "session_root",
        "started",
        "threads",
    )

    def __init__(
        self,
        pid: int,
        container: Container,
        parent: Process | None,
        credentials: Credentials,
        files: FileContext,
    ) -> None:
        self.pid = pid
        self.container = container
        self.parent = parent
        self.credentials = credentials
        self.files = files
        self.executable: Node | None = None  # of the running program; None: not started, or a memory file
        self.name = b""
        self.threads: dict[int, Task] = {}
        self.started = time.monotonic_ns()
        self.dumpable = 1
        self.session_root = False  # entered by `exec`, not a descendant of pid 1


class DescriptorTables:
    """The directories /proc/TID/fd of tasks that use descriptors in calls, open: a name in them is found in half the
    time of a path. The longest open is closed when there are too many."""

    def __init__(self, hide: Callable[[Task], None]) -> None:
        """hide(task) is called when what task.descriptors is has changed."""
        self._open: dict[Task, None] = {}
        self._hide = hide

    def open(self, task: Task) -> None:
        """Raises EBADF where the task has gone."""
        try:
            task.descriptors = os.open(f"/proc/{task.tid}/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
        self._open[task] = None
        self._hide(task)
        if len(self._open) > OPEN_TABLES:
            self.close(next(iter(self._open)))

    def expect(self, task: Task) -> None:
        """A program begins, and it will use some."""
        if task.descriptors < 0 and len(self._open) < OPEN_TABLES:
            try:
                self.open(task)
            except OSError:
                pass  # it has gone

    def close(self, task: Task) -> None:
        if task.descriptors >= 0:
            os.close(task.descriptors)
            task.descriptors = -1
            del self._open[task]
            self._hide(task)


class Task:
    """A thread. io is the platform's access to its memory: read(address, size), write(address, data).

    It has credentials of its own, which the C library keeps alike in all threads; files it shares with the others
    unless they were separated (unshare(2), clone(2)). uncommon: its next child differs in that from what is usual.
    """

    __slots__ = ("credentials", "descriptors", "files", "io", "process", "tid", "uncommon")

    io: Any

    def __init__(self, tid: int, process: Process) -> None:
        self.tid = tid
        self.process = process
        self.credentials = process.credentials
        self.files = process.files
        self.uncommon = False
        self.io = None
        self.descriptors = -1  # ours of the host's /proc/TID/fd, see DescriptorTables

    def host_stat(self, fd: int) -> os.stat_result:
        """What the host tells of what a descriptor refers to. Raises EBADF."""
        try:
            return os.stat(f"{fd}", dir_fd=self.descriptors)
        except OSError:
            if fd < 0 or self.descriptors >= 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
        self.container.kernel.tables.open(self)
        return self.host_stat(fd)

    def string(self, address: int) -> bytes:
        """A NUL-terminated path. Raises EFAULT, ENAMETOOLONG."""
        try:  # the shortest way: most calls begin with this
            data: bytes = os.pread(self.io.memory.fd, PATH_MAX, address)
        except (OSError, OverflowError):
            data = self.io.read(address, PATH_MAX)  # opens the memory, or tells what is wrong
        end = data.find(b"\0")
        if end < 0:
            if not data:
                raise OSError(errno.EFAULT, "string")
            raise OSError(errno.ENAMETOOLONG if len(data) == PATH_MAX else errno.EFAULT, "string")
        return data[:end]

    def read(self, address: int, size: int) -> bytes:
        """Exactly size bytes, or EFAULT."""
        data: bytes = self.io.read(address, size)
        if len(data) != size:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return data

    def write(self, address: int, data: bytes) -> None:
        self.io.write(address, data)

    def unpack(self, layout: struct.Struct, address: int) -> tuple[Any, ...]:
        return layout.unpack(self.read(address, layout.size))

    def strings(self, address: int, limit: int = 1 << 20) -> list[bytes]:
        """A NULL-terminated array of strings (argv). Raises E2BIG beyond limit bytes."""
        found: list[bytes] = []
        size = 0
        while address:
            (pointer,) = struct.unpack("<Q", self.read(address, 8))
            if not pointer:
                break
            text = self.long_string(pointer)
            size += len(text) + 9
            if size > limit:
                raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
            found.append(text)
            address += 8
        return found

    def long_string(self, address: int, limit: int = 131072) -> bytes:
        parts: list[bytes] = []
        size = 0
        while size <= limit:
            data: bytes = self.io.read(address + size, PATH_MAX)
            end = data.find(b"\0")
            if end >= 0:
                parts.append(data[:end])
                return b"".join(parts)
            parts.append(data)
            size += len(data)
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))

    @property
    def container(self) -> Container:
        return self.process.container

    def become(self, new: Credentials) -> None:
        """It is somebody else from now on; so is the process if it is its first thread."""
        self.credentials = new
        if self.tid == self.process.pid:
            self.process.credentials = new

    def part(self) -> None:
        """Have a root, a working directory and a umask that no other thread shares."""
        self.files = self.files.copy()
        if self.tid == self.process.pid:
            self.process.files = self.files
