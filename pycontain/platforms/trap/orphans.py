"""Children whose parent was killed while it forked them.

A new process stops at once, and its parent's event tells whose it is. SIGKILL takes that event away: the child exists,
stands still, and the host has already given it to a reaper, which is a process of the container. It has not run a
single step, so to end it is to everybody as if its parent had been killed a moment earlier. What must be told apart is
a child of the reaper's own whose event is still on its way.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Container

from pycontain.platforms.trap import x86_64 as arch

CHECK = 0.005  # seconds after which it is looked at whether the event has come
SURE = 5.0  # seconds within which a running parent gets from the making of a child to its event
FORKS = [b"%d" % arch.NUMBERS[name] for name in ("fork", "vfork", "clone", "clone3")]


class EarlyChildren:
    """Children that stopped before their parent's event: those that wait for it, by number, and since when."""

    def __init__(self, later: Callable[[float, Callable[[], None]], None], known: Container[int]) -> None:
        """later: calls a function after some seconds; known: the numbers of all tasks."""
        self._later = later
        self._known = known
        self._since: dict[int, float] = {}

    def add(self, tid: int) -> None:
        if not self._since:
            self._later(CHECK, self._check)
        self._since[tid] = time.monotonic()

    def take(self, tid: int) -> bool:
        """Forget it; was it there?"""
        return self._since.pop(tid, None) is not None

    def _check(self) -> None:
        for tid, since in list(self._since.items()):
            try:
                ended = self._orphaned(tid, time.monotonic() - since > SURE)
                if ended:
                    os.kill(tid, signal.SIGKILL)
            except OSError:
                ended = True  # it has gone
            if ended:
                del self._since[tid]
        if self._since:
            self._later(CHECK, self._check)

    def _orphaned(self, tid: int, sure: bool) -> bool:
        """sure: what still runs now is not about to tell of this child."""
        with open(f"/proc/{tid}/status", "rb") as file:
            text = file.read()
        parent = int(text.split(b"\nPPid:\t", 1)[1].split(b"\n", 1)[0])
        if int(text.split(b"\nTgid:\t", 1)[1].split(b"\n", 1)[0]) != tid:
            return False  # a thread ends with its process
        return parent not in self._known or not _may_fork(parent, sure)


def _may_fork(pid: int, sure: bool) -> bool:
    """May one of its threads be in the middle of a fork? sure: not if it runs."""
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/syscall", "rb") as file:
                number = file.read().split()[0]
        except OSError:
            continue  # it has ended
        if number in FORKS or (number == b"running" and not sure):
            return True
    return False
