"""The bound that every attack here runs under is the host's, and it holds. First, because all others rest on it."""

from __future__ import annotations

from worlds import TASKS, World


def test_the_host_bounds_the_attacks(world: World) -> None:
    bound = world.cli.tasks
    assert bound < 4 * TASKS
    text = world.attack("linear", str(bound + 100))
    made = int(text.split()[-1])
    assert "Resource temporarily unavailable" in text, text
    assert made <= bound
