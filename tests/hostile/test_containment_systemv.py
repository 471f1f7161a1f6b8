"""System V objects belong to their container, whatever numbers another one tries."""

from __future__ import annotations

import time
from pathlib import Path

from worlds import World


def listed() -> set[str]:
    """The host's shared memories, semaphores and queues, by kind and number."""
    files = {kind: Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:] for kind in ("shm", "sem", "msg")}
    return {f"{kind} {line.split()[1]}" for kind, lines in files.items() for line in lines}


def test_objects_of_another_container(world: World) -> None:
    words = ("-v", f"{world.directory}/attack:/attack:ro", "host/base", "python3", "/attack/systemv.py")
    world.cli("run", "-d", "--name", "owner", *words, "make", world.secret)
    try:
        deadline = time.monotonic() + 20
        while "made" not in (text := world.cli("logs", "owner").stdout):
            assert time.monotonic() < deadline, world.cli("logs", "owner").stderr
            time.sleep(0.05)
        numbers = text.split()[1:]
        objects = {f"{kind} {number}" for kind, number in zip(("shm", "sem", "msg"), numbers, strict=True)}
        assert objects <= listed()
        text = world.attack("systemv", "find", *numbers)
        assert "ESCAPED" not in text, text
        assert text.count(" 0 listed") == 3, text
        assert text.endswith("end\n")
        assert objects <= listed()
        assert world.failures() == "none", world.log()
    finally:
        world.cli("rm", "-f", "owner")
    assert not objects & listed()
