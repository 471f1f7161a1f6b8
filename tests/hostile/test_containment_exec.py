"""Programs made to harm the one who loads them, and exec in odd circumstances."""

from __future__ import annotations

import os

import pytest
from worlds import World


def descriptors(world: World) -> int:
    return len(os.listdir(f"/proc/{world.kernel_pid()}/fd"))


def test_hostile_programs(world: World) -> None:
    before = descriptors(world)
    text = world.attack("elves", "1", "120")
    print(text)
    assert text.endswith("end\n")
    assert world.failures() == "none", f"{world.failures()}\n{world.log()}"
    assert descriptors(world) <= before + 10


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_many_hostile_programs(world: World) -> None:
    for seed in range(2, 12):
        assert world.attack("elves", str(seed), "500", timeout=600).endswith("end\n")
    assert world.failures() == "none", f"{world.failures()}\n{world.log()}"


def test_identity_of_a_program_that_is_exchanged(world: World) -> None:
    """A setuid program, while an unprivileged user's threads exchange everything that leads to it."""
    text = world.attack("setuid", "200")
    print(text)
    assert text.endswith("end\n")
