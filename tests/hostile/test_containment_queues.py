"""Message queues belong to their container, and to nobody when it has ended."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

import pytest
from worlds import World

_libc = ctypes.CDLL(None, use_errno=True)
if not hasattr(_libc, "mq_open"):  # before glibc 2.34
    _libc = ctypes.CDLL("librt.so.1", use_errno=True)


def there(name: str) -> bool:
    """Does the host have the queue? (As ordinary users we may not open it, and that is told apart.)"""
    ctypes.set_errno(0)
    fd = _libc.mq_open(b"/" + name.encode(), os.O_RDONLY)
    if fd >= 0:
        os.close(fd)
        return True
    return ctypes.get_errno() == 13  # EACCES


def registered(world: World) -> list[str]:
    """The host's names of all queues that the world's containers have made and that are not cleared away."""
    files = Path(world.cli.environment["PYCONTAIN_ROOT"]).rglob("ipc")
    return [
        line.split()[1] for file in files for line in file.read_text().splitlines() if line.startswith("mq ")
    ]


def started(world: World, name: str) -> list[str]:
    words = ("-v", f"{world.directory}/attack:/attack:ro", "host/base", "python3", "/attack/queues.py")
    world.cli("run", "-d", "--name", name, *words, "make", world.secret)
    deadline = time.monotonic() + 20
    while "made" not in world.cli("logs", name).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return registered(world)


def test_queues_of_another_container(world: World) -> None:
    names = started(world, "owner")
    assert len(names) == 1
    assert there(names[0])
    text = world.attack("queues", "find", *names)
    assert text.count("no queue") == 6
    assert text.endswith("end\n")
    assert there(names[0])
    world.cli("rm", "-f", "owner")
    assert not there(names[0])


@pytest.mark.parametrize("then", [("start",), ("rm", "-f")])
def test_queues_of_a_killed_kernel(world: World, then: tuple[str, ...]) -> None:
    names = started(world, "orphan")
    kernel = world.kernel_pid()
    os.kill(kernel, signal.SIGKILL)
    while (
        os.path.exists(f"/proc/{kernel}") and "Z" not in Path(f"/proc/{kernel}/stat").read_text().split()[2]
    ):
        time.sleep(0.01)
    assert all(map(there, names))
    world.cli(*then, "orphan")
    assert not any(map(there, names))
    if then == ("start",):
        world.cli("rm", "-f", "orphan")
