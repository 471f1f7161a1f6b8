"""Calls that wait for something. The host does not see them wait, so a signal must be noticed for it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from pycontain.kernel.vfs.proctext import host_file

if TYPE_CHECKING:
    from pycontain.kernel.kernel import Kernel
    from pycontain.kernel.task import Process, Task

ERESTARTSYS = 512
INTERVAL = 0.05  # seconds between looks at pending signals, while a call waits


class Waits:
    """Deferred calls with the function that undoes each one's preparation."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._waiting: dict[Task, Callable[[], None]] = {}

    def add(self, task: Task, cancel: Callable[[], None]) -> None:
        if not self._waiting:
            self._kernel.loop.later(INTERVAL, self._look)
        self._waiting[task] = cancel

    def remove(self, task: Task) -> None:
        """The call is about to be answered."""
        self._waiting.pop(task, None)

    def waiting(self, process: Process) -> bool:
        return any(task.process is process for task in self._waiting)

    def gone(self, task: Task) -> None:
        cancel = self._waiting.pop(task, None)
        if cancel is not None:
            cancel()

    def signalled(self, process: Process) -> None:
        """A signal was sent to the process; calls of its threads end if it is one they see."""
        for task in [t for t in self._waiting if t.process is process]:
            if _pending(task.tid):
                self._interrupt(task)

    def _look(self) -> None:
        for task in list(self._waiting):
            if _pending(task.tid):
                self._interrupt(task)
        if self._waiting:
            self._kernel.loop.later(INTERVAL, self._look)

    def _interrupt(self, task: Task) -> None:
        self._waiting.pop(task)()
        self._kernel.platform.finish(task, -ERESTARTSYS)


def _pending(tid: int) -> bool:
    """Is there a signal that the task would handle now?"""
    values: dict[bytes, int] = {}
    try:
        text = host_file(tid, "status")
    except OSError as error:
        return error.errno != errno.ESRCH
    for line in text.splitlines():
        key, _, value = line.partition(b":\t")
        if key in (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn"):
            values[key] = int(value, 16)
    if len(values) < 4:
        return False
    return bool((values[b"SigPnd"] | values[b"ShdPnd"]) & ~values[b"SigBlk"] & ~values[b"SigIgn"])
