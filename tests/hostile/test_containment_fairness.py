"""A container makes calls that take the kernel long. Its neighbours get their part of the kernel's time all the same."""

from __future__ import annotations

import time

import pytest
from worlds import World

SECONDS = 1.5
PART = 10  # of the speed that there is beside a container with as many short calls, a tenth is left at least


def rate_beside(world: World, kind: str, processes: int) -> float:
    """Short calls in a second that a container makes while another one makes some of this kind."""
    begun = world.shared / "begun"
    volumes = ["-v", f"{world.shared}:/shared", "-v", f"{world.directory}/attack:/attack:ro"]
    program = ["python3", "/attack/costly.py", "calls", kind, str(processes)]
    world.cli("run", "-d", "--name", "costly", *volumes, "host/base", *program)
    try:
        deadline = time.monotonic() + 60
        while not begun.exists():
            assert time.monotonic() < deadline, world.cli("logs", "costly").stderr
            time.sleep(0.1)
        text = world.attack("costly", "rate", str(SECONDS))
        return float(text.split("rate: ")[1])
    finally:
        world.cli("rm", "-f", "costly")
        begun.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def usual() -> dict[str, float]:
    return {}


@pytest.mark.parametrize("kind", ["links", "directories", "mappings", "groups"])
def test_costly_calls(world: World, usual: dict[str, float], kind: str) -> None:
    if world.name not in usual:
        usual[world.name] = rate_beside(world, "stats", 3)
    found = rate_beside(world, kind, 3)
    print(f"{found:.0f} calls in a second beside {kind}, {usual[world.name]:.0f} beside short calls")
    assert found > usual[world.name] / PART
    assert world.failures() == "none", f"{world.failures()}\n{world.log()}"


def test_signals_without_end(world: World) -> None:
    """Each is an event for the kernel. These programs use up the processors as well, so little can be expected."""
    found = rate_beside(world, "signals", 60)
    print(f"{found:.0f} calls in a second beside signals")
    assert found > 5
