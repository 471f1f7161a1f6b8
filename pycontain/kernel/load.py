"""The load of a container: how many of its tasks run or wait for a processor, averaged over 1, 5 and 15 minutes.

It is looked at from the first time that somebody asks: most containers never do, and fifty that look every five
seconds would be the kernel's only work. What was before is taken to have been even.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from pycontain.kernel.usage import host_file_or_nothing

if TYPE_CHECKING:
    from pycontain.kernel.container import Container

INTERVAL = 5.0  # seconds, as the host's kernel has it (LOAD_FREQ)
DECAY = tuple(math.exp(-INTERVAL / (60 * minutes)) for minutes in (1, 5, 15))


class LoadAverage:
    """See the module. A container that has not run meanwhile costs a microsecond to look at."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._averages: list[float] | None = None
        self._used = 0.0

    def averages(self) -> list[float]:
        """Over 1, 5 and 15 minutes."""
        if self._averages is None:
            age = max((time.time_ns() - self._container.started_at) / 1e9, 1e-3)
            self._used = self._container.usage.cpu_seconds()
            even = self._used / age
            self._averages = [even * (1 - decay ** (age / INTERVAL)) for decay in DECAY]
            self._container.kernel.loop.later(INTERVAL, self._look)
        return self._averages

    def _look(self) -> None:
        if not self._container.processes:
            return
        used = self._container.usage.cpu_seconds()
        if used != self._used:
            # a task in a call that the kernel answers seems to sleep: what the processors did is the least there was
            self.add(max(sum(running_tasks(self._container)), (used - self._used) / INTERVAL))
        else:
            self.add(0)
        self._used = used
        self._container.kernel.loop.later(INTERVAL, self._look)

    def add(self, active: float) -> None:
        """One sample."""
        self._averages = [
            value * decay + active * (1 - decay) for value, decay in zip(self.averages(), DECAY, strict=True)
        ]


def running_tasks(container: Container) -> tuple[int, int]:
    """(running or runnable, waiting for a disk). A call that the kernel defers does not wait for a disk."""
    running = blocked = 0
    waits = container.kernel.waits
    for process in list(container.processes.values()):
        for tid in process.threads:
            text = host_file_or_nothing(process.pid, f"task/{tid}/stat")
            state = text[text.rindex(b")") + 2 :][:1] if text else b""
            if state == b"R":
                running += 1
            elif state == b"D" and not waits.waiting(process):
                blocked += 1
    return running, blocked
