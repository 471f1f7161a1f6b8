"""What running containers use, for `stats`.

A runtime supplies its rows by its client's stats(ids): the shared kernel by the request "stats" (kernel/stats.py),
the machines' server by the same request, once it answers it (vm/client.py joins the two). A row is
    id            the container's
    time          when it was taken, ns on the monotonic clock
    cpu           seconds of processor time since the container's start
    memory, memory_limit   bytes; the limit is the host's memory where none was set
    received, sent         bytes of the container's own network; 0 for one that uses the host's
    read, written          bytes of block devices
    pids          processes and threads
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine

Row = dict[str, Any]


class Figures(NamedTuple):
    """One container between two rows. cpu: percent of one processor. known: False where no runtime tells."""

    container: Container
    cpu: float = 0.0
    memory: int = 0
    memory_limit: int = 0
    received: int = 0
    sent: int = 0
    read: int = 0
    written: int = 0
    pids: int = 0
    known: bool = True

    @property
    def memory_percent(self) -> float:
        return 100 * self.memory / self.memory_limit if self.memory_limit else 0.0


def take(engine: Engine, containers: Sequence[Container]) -> dict[str, Row]:
    """The rows of those that run, by ID."""
    kernel = engine.running_kernel()
    if kernel is None or not containers:
        return {}
    return {str(row["id"]): row for row in kernel.stats([container.id for container in containers])}


def figures(container: Container, before: Row | None, now: Row | None, running: bool) -> Figures:
    """What a container used between two rows. One that does not run uses nothing."""
    if now is None:
        return Figures(container, known=not running)
    cpu = 0.0
    if before is not None and now["time"] > before["time"]:
        cpu = max(100 * (now["cpu"] - before["cpu"]) / ((now["time"] - before["time"]) / 1e9), 0.0)
    return Figures(
        container,
        cpu,
        now["memory"],
        now["memory_limit"],
        now["received"],
        now["sent"],
        now["read"],
        now["written"],
        now["pids"],
    )
