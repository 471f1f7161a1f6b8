"""Random calls from inside. A Python exception in a function of the kernel becomes EIO for that call, is counted
and logged, and the kernel goes on; here it also fails the test, with the log."""

from __future__ import annotations

import random

import pytest
from worlds import World

from pycontain.kernel import table
from pycontain.platforms.trap import x86_64

SEED = 20_251_121


def trapped() -> list[str]:
    """The numbers of every call that a function of the kernel answers, but those that make tasks: a bomb of them
    has a test of its own, with a limit."""
    rows = table.build()
    return [
        str(x86_64.NUMBERS[name])
        for name, row in rows.items()
        if row.function is not None and name not in ("clone", "fork", "vfork")
    ]


def fuzz(world: World, seed: int, rounds: int, numbers: list[str]) -> None:
    program = world.compiled("fuzz")
    mode = world.shared.stat().st_mode & 0o7777
    try:
        text = world.run(program, str(seed), str(rounds), *numbers, options=("--pids-limit", "200"), timeout=1200)
    finally:
        world.shared.chmod(mode)  # which is one of the things that may be changed from inside
    assert text.endswith("end\n")
    assert world.failures() == "none", f"{world.failures()}\n{world.log()}"


@pytest.mark.usefixtures("compiler")
def test_every_call_with_random_arguments(world: World) -> None:
    fuzz(world, SEED, 60, trapped())


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("compiler")
def test_random_calls_for_long(world: World) -> None:
    """All of them, then each call alone, which gets further into it than a mixture does."""
    fuzz(world, random.Random(SEED).getrandbits(30), 600, trapped())
    fuzz(world, SEED, 4, ["alone", *trapped()])
