"""flock on files that the host shares between containers, or with itself."""

from __future__ import annotations

import fcntl
import os
import time

from worlds import World

LOCKS = 1000
SHARED = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/full")  # with the host


def test_locks_are_the_containers_own(world: World) -> None:
    held = world.shared / "held"
    volumes = ["-v", f"{world.shared}:/shared", "-v", f"{world.directory}/attack:/attack:ro"]
    world.cli("run", "-d", "--name", "holder", *volumes, "host/base", "python3", "/attack/locks.py", "hold")
    try:
        deadline = time.monotonic() + 30
        while not held.exists() or not held.read_text():
            assert time.monotonic() < deadline, world.cli("logs", "holder").stderr
            time.sleep(0.05)
        text = world.attack("locks", "try")
        assert text.count("free") == int(held.read_text()), text
        for path in SHARED:
            fd = os.open(path, os.O_RDONLY)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(fd)
    finally:
        world.cli("rm", "-f", "holder")
        held.unlink(missing_ok=True)


def test_many_locks(world: World) -> None:
    before = len(os.listdir(f"/proc/{world.kernel_pid()}/fd"))
    text = world.attack("locks", "many", str(LOCKS))
    assert "No locks available" in text and "and again" in text, text
    assert int(text.split("locks: ")[1].split()[0]) < LOCKS
    assert world.failures() == "none", f"{world.failures()}\n{world.log()}"
    assert len(os.listdir(f"/proc/{world.kernel_pid()}/fd")) <= before + 300


def test_handing_over_something_else(world: World) -> None:
    """Where the kernel may not take descriptors, tasks send them, and their other threads may send others."""
    before = len(os.listdir(f"/proc/{world.kernel_pid()}/fd"))
    text = world.attack("locks", "meddle")
    assert text.startswith("{'done': ")
    assert world.failures() == "none", world.log()
    assert len(os.listdir(f"/proc/{world.kernel_pid()}/fd")) <= before + 50
