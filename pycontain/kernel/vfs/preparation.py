"""What takes so long that it is done in a thread: copying the bytes of a large file.

The kernel has one thread, and while that copies a gigabyte every container stands still. The copying itself is a few
calls of the host without Python in between, so another thread can do it; the call that needs it is made again, every
now and then, until it is done. Nothing else is ever done in a thread: not the removal of a large file either, since
who has removed it finds the room at once.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable, Hashable

from pycontain.platforms.base import Later


class _Job:
    __slots__ = ("error", "over")

    def __init__(self, function: Callable[[], object]) -> None:
        self.over = False
        self.error: BaseException | None = None
        _thread.start_new_thread(self._run, (function,))

    def _run(self, function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            self.error = error
        self.over = True


class Preparations:
    """The jobs of a file system, by what they make."""

    def __init__(self) -> None:
        self._jobs: dict[Hashable, _Job] = {}

    def need(self, key: Hashable, function: Callable[[], object]) -> None:
        """Return when the function has been carried out, raising what it raised. Until then raises Later."""
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = _Job(function)
        if not job.over:
            raise Later
        del self._jobs[key]
        if job.error is not None:
            raise job.error
