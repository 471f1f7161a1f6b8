"""Who calls the kernel often shares its processor, and nobody inside can tell (platforms/trap/placement.py)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine

TALKS_AND_WAITS = """
import os, sys, time
seen = set()
end = time.monotonic() + 30
while not os.path.exists("/enough") and time.monotonic() < end:
    seen.add(frozenset(os.sched_getaffinity(0)))
print([sorted(s) for s in seen], flush=True)
time.sleep(60)
"""


def allowed(pid: int) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("Cpus_allowed_list:"):
            return line.split()[1]
    raise AssertionError("no such line")


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.002)
    return False


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this host has one processor")
def test_sharing_is_not_seen_inside(pycontain: CommandLine, container: Callable[..., str]) -> None:
    name = container("host/base", "python3", "-c", TALKS_AND_WAITS)
    kernel = json.loads(pycontain("kernel", "status", "--format", "json").stdout)["pid"]
    program = json.loads(pycontain("inspect", name).stdout)[0]["State"]["Pid"]
    everywhere = allowed(os.getpid())
    assert eventually(lambda: allowed(program).isdigit() and allowed(program) == allowed(kernel))
    pycontain("exec", name, "touch", "/enough")
    assert eventually(lambda: allowed(program) == allowed(kernel) == everywhere)
    assert pycontain("logs", name).stdout.strip() == str([sorted(os.sched_getaffinity(0))])
