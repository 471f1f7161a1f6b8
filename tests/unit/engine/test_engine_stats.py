"""Rows of a runtime become the figures that `stats` shows."""

from __future__ import annotations

from typing import Any

import pytest
from host_kernel import HostKernel, MakeContainer

from pycontain.engine.engine import Engine
from pycontain.engine.stats import figures, take

ROW = {
    "memory": 50, "memory_limit": 200, "received": 1, "sent": 2, "read": 3, "written": 4, "pids": 5,
}  # fmt: skip


def row(identity: str, at: float, cpu: float) -> dict[str, Any]:
    return {**ROW, "id": identity, "time": int(at * 1e9), "cpu": cpu}


def test_rate_and_share(make: MakeContainer) -> None:
    container = make()
    taken = figures(container, row(container.id, 10, 3), row(container.id, 12, 4), True)
    assert taken.cpu == pytest.approx(50)
    assert taken.memory_percent == 25
    assert taken[2:] == (50, 200, 1, 2, 3, 4, 5, True)


def test_no_rate_without_two_looks_and_never_a_negative_one(make: MakeContainer) -> None:
    container = make()
    now = row(container.id, 10, 3)
    assert figures(container, None, now, True).cpu == 0
    assert figures(container, row(container.id, 10, 1), now, True).cpu == 0
    assert figures(container, row(container.id, 9, 4), now, True).cpu == 0


def test_who_does_not_run_uses_nothing_who_is_not_told_of_is_unknown(make: MakeContainer) -> None:
    container = make()
    assert figures(container, None, None, False) == (container, 0, 0, 0, 0, 0, 0, 0, 0, True)
    assert not figures(container, None, None, True).known


def test_rows_are_asked_for_by_id(engine: Engine, host_kernel: HostKernel, make: MakeContainer) -> None:
    one, other = make(), make()
    host_kernel.figures = {c.id: row(c.id, 1, 1) for c in (one, other)}
    assert list(take(engine, [other])) == [other.id]
    assert take(engine, []) == {}
