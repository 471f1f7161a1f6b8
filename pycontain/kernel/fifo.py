"""Opening FIFOs: the one kind of open that waits for another process (fifo(7)).

Both ends are opened without blocking. An end that finds no partner keeps its call waiting until the partner's
open comes, which is through us too.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Any

from pycontain.kernel.libc import tee
from pycontain.platforms.base import DEFERRED

if TYPE_CHECKING:
    from pycontain.kernel.kernel import Kernel
    from pycontain.kernel.task import Task


class FifoOpens:
    """Opens that wait, by the host path of the FIFO."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._waiting: dict[str, list[tuple[Task, int, int]]] = {}  # path -> (task, flags, fd or -1)

    def open(self, task: Task, path: str, flags: int) -> Any:
        access = flags & os.O_ACCMODE
        keep = access | flags & (os.O_APPEND | os.O_CLOEXEC) | os.O_NONBLOCK | os.O_CLOEXEC
        if not os.path.exists(path):
            os.mkfifo(path, 0o600)
        if access == os.O_RDWR:
            return self._give(task, os.open(path, keep), flags)
        if access == os.O_RDONLY:
            fd = os.open(path, keep)
            if flags & os.O_NONBLOCK or self._has_writer(fd) or self._wake(path, os.O_WRONLY):
                return self._give(task, fd, flags)
            self._wait(path, task, flags, fd)
            return DEFERRED
        try:
            fd = os.open(path, keep)
        except OSError as error:
            if error.errno != errno.ENXIO or flags & os.O_NONBLOCK:
                raise
            self._wait(path, task, flags, -1)
            return DEFERRED
        self._wake(path, os.O_RDONLY)
        return self._give(task, fd, flags)

    def _wait(self, path: str, task: Task, flags: int, fd: int) -> None:
        self._waiting.setdefault(path, []).append((task, flags, fd))
        self._kernel.waits.add(task, lambda: self._forget(path, task))

    @staticmethod
    def _has_writer(fd: int) -> bool:
        """tee(2) tells without consuming: 0 where no writer has the FIFO open, EAGAIN where one has."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return bool(tee(fd, writer))
        except BlockingIOError:
            return True
        finally:
            os.close(reader)
            os.close(writer)

    def _wake(self, path: str, access: int) -> bool:
        """Complete the opens of the other end; True if there was one."""
        waiting = self._waiting.pop(path, [])
        rest = [w for w in waiting if w[1] & os.O_ACCMODE != access]
        if rest:
            self._waiting[path] = rest
        woken = [w for w in waiting if w[1] & os.O_ACCMODE == access]
        for task, flags, fd in woken:
            self._kernel.waits.remove(task)
            if fd < 0:
                fd = os.open(path, access | os.O_NONBLOCK | os.O_CLOEXEC)
            self._give(task, fd, flags)
        return bool(woken)

    def _give(self, task: Task, fd: int, flags: int) -> Any:
        if not flags & os.O_NONBLOCK:
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
        try:
            return self._kernel.platform.send_fd(task, fd, bool(flags & os.O_CLOEXEC))
        except OSError as error:
            self._kernel.platform.finish(task, -(error.errno or errno.EIO))
            return DEFERRED

    def _forget(self, path: str, task: Task) -> None:
        for waiting in self._waiting.get(path, []):
            if waiting[0] is task and waiting[2] >= 0:
                os.close(waiting[2])
        self._waiting[path] = [w for w in self._waiting.get(path, []) if w[0] is not task]
