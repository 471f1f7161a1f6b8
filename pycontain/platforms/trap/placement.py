"""Placement: the kernel and the tasks that call it often share one processor.

A call is two changes of who runs, and so is every stop, birth, death and descriptor. Between two processors each of
them wakes the other one up, which in a virtual machine costs 50 to 100 us where the change on one costs 2. The host
cannot know that the two never run at the same time; we do, so we tell it, by sched_setaffinity(2): who calls twice
within NEAR seconds shares the kernel's processor until it has made no call for a TURN.

Tasks that could do much at the same time must not be held together. How long they would have liked to run and could
not is in /proc/TID/schedstat: what is more than the kernel itself has run, they have waited for each other, or for
somebody else who needs this processor. If that is more than all their wake-ups would have cost, they go their own ways
for a while, longer each time that it happens again.

Nobody inside sees it: sched_getaffinity(2) and /proc tell what was asked for (Traced.processors).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from pycontain.platforms.trap import host

if TYPE_CHECKING:
    from pycontain.platforms.trap.fastpath import FastPath
    from pycontain.platforms.trap.traced import Traced

NEAR = 0.001  # seconds between two calls of one that calls often
TURN = 0.005  # seconds after which is looked who still calls, and who waits
MOST = 24  # tasks that share; more of them are no conversation
CROWDED = 0.2  # of a turn that tasks wait without its being worth a change
WAKE_UP = 30e-6  # seconds that an event costs more between two processors, at the least where it matters
REST, LONGEST_REST = 0.02, 0.2  # seconds for which nobody shares after that
FORGET = 0.9  # a turn without a crowd makes the next rest that much shorter


class Placement:
    """later(seconds, function) calls a function once, from the kernel's loop."""

    def __init__(self, later: Callable[[float, Callable[[], None]], None], fast: FastPath | None = None) -> None:
        self._later = later
        self._fast = fast  # which answers calls, too
        self.everywhere = frozenset(os.sched_getaffinity(0))
        self._cpu = -1  # the one that is shared; -1: the kernel runs where the host likes
        self._sharing: dict[int, Traced] = {}
        self._resting_until = 0.0
        self._rest = REST
        self._ran = self._looked = 0.0
        self._waited: dict[int, int] = {}
        if len(self.everywhere) < 2 or _schedule_of(os.getpid()) is None:
            self._resting_until = float("inf")  # nothing to choose, or nothing to choose by

    # -- what tasks may use

    def processors(self, traced: Traced) -> frozenset[int]:
        """Where a task may run, as far as it and its container know."""
        return self.everywhere if traced.processors is None else traced.processors

    def choose(self, traced: Traced, processors: Collection[int]) -> None:
        """Where it may run from now on. Raises OSError."""
        os.sched_setaffinity(traced.tid, processors)
        traced.processors = frozenset(processors)
        traced.sharing = traced.shared = False
        traced.hide(self._fast)
        self._sharing.pop(traced.tid, None)

    # -- who shares

    def called(self, traced: Traced) -> None:
        """A task that does not share has called."""
        now = time.monotonic()
        calls = 1 if self._fast is None else 1 + self._fast.take_calls(traced.tid)
        near = now - traced.called < NEAR * calls
        traced.called = now
        if near and now > self._resting_until and len(self._sharing) < MOST:
            self._share(traced)

    def _share(self, traced: Traced) -> None:
        if self._cpu < 0:
            self._settle()
        if traced.processors is not None and self._cpu not in traced.processors:
            return
        try:
            os.sched_setaffinity(traced.tid, (self._cpu,))
        except PermissionError:
            self._resting_until = float("inf")  # we are root without CAP_SYS_NICE, and programs run as somebody else
            return
        except OSError:
            return
        self._enter(traced)

    def _settle(self) -> None:
        """The kernel stays where it is, until nobody shares any more."""
        self._cpu = host.current_processor()
        try:
            os.sched_setaffinity(0, (self._cpu,))
        except OSError:
            self._resting_until = float("inf")  # somebody has given us other processors meanwhile: leave it at that
        self._waited.clear()
        self._looked, self._ran = time.monotonic(), time.process_time()
        self._later(TURN, self._turn)

    def _enter(self, traced: Traced) -> None:
        traced.sharing = traced.shared = True
        traced.hide(self._fast)
        traced.calls = 1
        self._sharing[traced.tid] = traced

    def launched(self, new: Traced) -> None:
        """A process that we have started is where we are."""
        if self._cpu >= 0:
            self._enter(new)

    def forked(self, new: Traced, parent: Traced) -> None:
        """A new task is where its parent was when it was made.

        We may have let the parent go between the birth and its event: then it has shared since its last child.
        """
        new.processors = parent.processors
        if parent.shared:
            parent.shared = parent.sharing
            if self._cpu < 0:
                self._settle()  # to let it go at the next turn
            self._enter(new)
        self.stopped(parent)
        if parent.sharing and not new.sharing:
            self._share(new)

    def stopped(self, traced: Traced) -> None:
        """A task stands still until we let it go on: that is as good as a call."""
        if traced.sharing:
            traced.calls += 1
        else:
            self.called(traced)

    def execed(self, traced: Traced, source: Traced) -> None:
        """A thread has become its process: what it was bound to stays."""
        if source is not traced:
            traced.processors = source.processors
            self.gone(source)
            if source.sharing or source.shared:
                if self._cpu < 0:
                    self._settle()
                self._enter(traced)

    def gone(self, traced: Traced) -> None:
        self._sharing.pop(traced.tid, None)

    # -- turns

    def _turn(self) -> None:
        events = 0
        fast = self._fast
        for traced in list(self._sharing.values()):
            if fast is not None:
                traced.calls += fast.take_calls(traced.tid)
            if traced.calls:
                events += traced.calls
                traced.calls = 0
            else:
                self._release(traced)
        now, ran = time.monotonic(), time.process_time()
        passed, kernel = now - self._looked, ran - self._ran
        self._looked, self._ran = now, ran
        if self._sharing and self._wait() - kernel > max(CROWDED * passed, WAKE_UP * events):
            self._resting_until = now + self._rest
            self._rest = min(2 * self._rest, LONGEST_REST)
            for traced in list(self._sharing.values()):
                self._release(traced)
        elif self._rest > REST:
            self._rest *= FORGET
        if self._sharing:
            self._later(TURN, self._turn)
        else:
            self._cpu = -1
            try:
                os.sched_setaffinity(0, self.everywhere)
            except OSError:
                self._resting_until = float("inf")

    def _wait(self) -> float:
        """Seconds that those who share have waited for the processor since the last turn."""
        before, self._waited = self._waited, {}
        total = 0
        for tid in self._sharing:
            delay = _schedule_of(tid)
            if delay is not None:
                self._waited[tid] = delay
                total += delay - before.get(tid, delay)
        return total / 1e9

    def _release(self, traced: Traced) -> None:
        traced.sharing = False
        traced.hide(self._fast)
        del self._sharing[traced.tid]
        try:
            os.sched_setaffinity(traced.tid, self.processors(traced))
        except OSError:
            pass  # it has gone


def _schedule_of(tid: int) -> int | None:
    """Nanoseconds that a task has waited for a processor (the second figure of /proc/TID/schedstat)."""
    try:
        fd = os.open(f"/proc/{tid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return int(os.read(fd, 64).split()[1])
    except (OSError, IndexError, ValueError):
        return None
    finally:
        os.close(fd)
