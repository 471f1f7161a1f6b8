"""One container uses up what it can get. The kernel lives, and others are served. Amounts are bounded in the programs."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from worlds import World

MEMORY = 400 << 20  # bytes that the kernel may grow to
KINDS = {
    "descriptors": ["descriptors"],
    "in flight": ["flight"],
    "bound": ["bound"],
    "deep": ["deep", "5000", "/tmp"],
    "deep on the host": ["deep", "600", "/shared"],
    "names": ["names", "5000"],
    "attributes": ["attributes"],
    "system v": ["system_v"],
    "asynchronous": ["asynchronous"],
    "inotify": ["inotify"],
    "mounts": ["mounts"],
}


def resident(world: World) -> int:
    with open(f"/proc/{world.kernel_pid()}/statm") as file:
        return int(file.read().split()[1]) * 4096


def descriptors(world: World) -> int:
    return len(os.listdir(f"/proc/{world.kernel_pid()}/fd"))


def served(world: World) -> float:
    """Seconds until another container has done a little."""
    start = time.monotonic()
    text = world.run("sh", "-c", "ls / > /dev/null; echo x > /tmp/y; cat /tmp/y; mkfifo /tmp/f; stat /etc")
    assert text.startswith("x\n")
    return time.monotonic() - start


@pytest.mark.parametrize("kind", KINDS)
def test_exhaustion(world: World, kind: str) -> None:
    before = descriptors(world)
    try:
        options = ("--privileged",) if kind == "mounts" else ()
        text = world.attack("exhaust", *KINDS[kind], options=options, timeout=120)
        print(text)
        assert "survived" in text
        assert world.failures() == "none", f"{world.failures()}\n{world.log()}"
        assert resident(world) < MEMORY
        assert served(world) < 10
        assert descriptors(world) <= before + 300
    finally:
        subprocess.run(["rm", "-rf", str(world.shared / "d")], check=True)


@pytest.mark.parametrize(
    "limit", [["--pids-limit", "100"], ["--ulimit", "nproc=100"]], ids=["pids", "ulimit"]
)
def test_fork_bomb(world: World, limit: list[str]) -> None:
    """Bounded by the host, too (see worlds.bound): what is tested is the option, and that others are served."""
    bomb = ["run", "-d", "--name", "bomb", *limit, "host/base", "sh", "-c", "f() { f | f & }; f; sleep 30"]
    world.cli(*bomb)
    try:
        assert served(world) < 20
    finally:
        world.cli("rm", "-f", "bomb")
    deadline = time.monotonic() + 20
    while "processes:       0" not in world.cli("kernel", "status").stdout:
        assert time.monotonic() < deadline, "tasks of the bomb are left"
