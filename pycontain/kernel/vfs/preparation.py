"""What takes so long that it is done in a thread: copying the bytes of a large file, shortening or removing one.

The kernel has one thread, and while that copies a gigabyte, or has the host free one, every container stands still.
Both are a few calls of the host without Python in between, so another thread can do it. A call that needs it is made
again, every now and then, until it is done; a removal is answered when it is, so that who has removed a large file
finds the room at once. Nothing else is ever done in a thread.

A thread begins where the one that makes it may run, and that is often a single processor, which it shares with who
calls (see platforms/trap/placement.py). There the copying would be in the way of both: it may run everywhere.
"""

from __future__ import annotations

import _thread
import os
from collections.abc import Callable, Collection, Hashable

from pycontain.platforms.base import Later


class Job:
    """over: it has been carried out, or has raised the error."""

    __slots__ = ("error", "over")

    def __init__(self, function: Callable[[], object], processors: Collection[int]) -> None:
        self.over = False
        self.error: BaseException | None = None
        _thread.start_new_thread(self._run, (function, processors))

    def _run(self, function: Callable[[], object], processors: Collection[int]) -> None:
        try:
            _run_on(processors)
            function()
        except BaseException as error:
            self.error = error
        self.over = True


def _run_on(processors: Collection[int]) -> None:
    """The calling thread, and no other."""
    if processors:
        try:
            os.sched_setaffinity(0, processors)
        except OSError:
            pass  # somebody has given us others meanwhile: it stays where it is


class Preparations:
    """The jobs of a file system, by what they make. processors: where they may run; none: where the kernel does."""

    def __init__(self) -> None:
        self.processors: Collection[int] = ()
        self._jobs: dict[Hashable, Job] = {}

    def need(self, key: Hashable, function: Callable[[], object]) -> None:
        """Return when the function has been carried out, raising what it raised. Until then raises Later."""
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = Job(function, self.processors)
        if not job.over:
            raise Later
        del self._jobs[key]
        if job.error is not None:
            raise job.error
