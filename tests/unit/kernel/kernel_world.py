"""The emulated kernel without processes: a platform that is nothing but memory and a list of what was asked of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from typing import Any

from pycontain.kernel import setup
from pycontain.kernel.container import Container
from pycontain.kernel.credentials import DEFAULT_CAPABILITIES, Credentials
from pycontain.kernel.kernel import Kernel
from pycontain.kernel.task import Task
from pycontain.platforms.base import DEFERRED, Sender
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.index import Entry

PAGE = 1 << 16


class Memory:
    """A task's memory: a file of one page, handed out from the start."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("memory")
        os.ftruncate(self.fd, PAGE)
        self.memory = self  # as the platform's
        self.used = 16

    def put(self, data: bytes) -> int:
        address = self.used
        self.write(address, data)
        self.used += len(data) + 8 & ~7
        return address

    def read(self, address: int, size: int) -> bytes:
        if not 16 <= address < PAGE:
            raise OSError(errno.EFAULT, "bad address")
        return os.pread(self.fd, size, address)

    def write(self, address: int, data: bytes) -> None:
        if not 16 <= address <= PAGE - len(data):
            raise OSError(errno.EFAULT, "bad address")
        os.pwrite(self.fd, data, address)


class FakePlatform:
    """See platforms.base.Platform."""

    fast = None

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.sent: list[int] = []  # descriptors, owned by us
        self.killed: list[tuple[int, int | None, int]] = []

    def hide(self, task: Task) -> None:
        pass  # nothing is shown

    def finish(self, task: Task, value: int) -> None:
        self.answers.append(value)

    def send_fd(self, task: Task, fd: int, cloexec: bool, keep: bool = False) -> Any:
        self.sent.append(os.dup(fd) if keep else fd)
        return DEFERRED

    def put_fd(self, task: Task, fd: int, cloexec: bool, at: int | None = None) -> int:
        self.sent.append(fd)
        return fd

    def limited_directory(self, size: int) -> int | None:
        return None  # as on a host that lets nobody mount

    def processors(self, tid: int) -> frozenset[int]:
        return frozenset(os.sched_getaffinity(tid))

    def place(self, tid: int, processors: Collection[int]) -> None:
        os.sched_setaffinity(tid, processors)

    def kill(self, pid: int, tid: int | None, signum: int, sender: Sender | None = None) -> None:
        self.killed.append((pid, tid, signum))

    def close(self) -> None:
        for fd in self.sent:
            os.close(fd)
        self.sent.clear()


class EntryLayer:
    """A layer of entries; files have no bytes."""

    diff_id = "sha256:" + "0" * 64

    def __init__(self, entries: list[Entry], directory: str) -> None:
        self._entries = entries
        self._directory = directory

    def entries(self) -> list[Entry]:
        return self._entries

    def materialise(self, number: int) -> str:
        path = f"{self._directory}/content-{number}"
        with open(path, "wb") as file:
            file.write(self._entries[number].path)
        return path


class KernelWorld:
    """A kernel, a container, a root task in it, and calls by name."""

    def __init__(self, directory: str, entries: list[Entry]) -> None:
        self.platform = FakePlatform()
        self.memories: list[Memory] = []
        self.tasks: list[Task] = []
        layer = EntryLayer(entries, directory)
        self.kernel = Kernel(directory, lambda diff_id: layer, lambda kernel: self.platform)  # type: ignore[arg-type, return-value]
        spec = {"layers": [layer.diff_id], "directory": f"{directory}/container", "id": "c" * 64}
        os.makedirs(spec["directory"])
        built = setup.build(self.kernel, spec)
        self.container: Container = built[0] if isinstance(built, tuple) else built
        self.kernel.containers[self.container.id] = self.container
        self.task = self.new_task(Credentials.login(0, 0, frozenset(), DEFAULT_CAPABILITIES))

    @property
    def image(self) -> ImageTree:
        return self.container.root_fs.image

    def new_task(self, who: Credentials) -> Task:
        task = self.kernel.new_process(self.container, who)
        task.io = Memory()
        self.memories.append(task.io)
        self.tasks.append(task)
        self.kernel.adopt(task, os.getpid())
        return task

    def as_user(self, uid: int, groups: frozenset[int] = frozenset()) -> Task:
        return self.new_task(Credentials.login(uid, uid, groups, DEFAULT_CAPABILITIES))

    def call(self, name: str, *arguments: int | bytes, task: Task | None = None) -> Any:
        """The call's value. Byte strings become addresses of NUL-terminated ones. Raises OSError."""
        task = task or self.task
        words = [
            task.io.put(a + b"\0") if isinstance(a, bytes) else a & 0xFFFFFFFFFFFFFFFF for a in arguments
        ]
        function = self.kernel.rows[name].function
        assert function is not None
        return function(task, tuple(words + [0] * (6 - len(words))))

    def error(self, name: str, *arguments: int | bytes, task: Task | None = None) -> str:
        """The name of the errno that a call gives, or "" if it works."""
        try:
            self.call(name, *arguments, task=task)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return ""

    def close(self) -> None:
        self.platform.close()
        for memory in self.memories:
            os.close(memory.fd)
        for task in self.tasks:
            self.kernel.tables.close(task)
        self.container.close()
        self.kernel.loop.close()
