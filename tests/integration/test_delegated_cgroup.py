"""Containers in a delegated cgroup of the host's: only where the machine gives us one. What the kernel does with it is
in tests/unit/kernel/test_cgroup.py."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from command_line import CommandLine


@pytest.fixture
def ours(pycontain: CommandLine) -> str:
    """The directory of our part of the host's cgroups."""
    pycontain("run", "--rm", "host/base", "true")
    told = json.loads(pycontain("kernel", "status", "--format", "json").stdout)["limits"]
    if not told.startswith("by the host's cgroups in "):
        pytest.skip(f"limits are kept {told}")
    path: str = told.split()[5]
    return path


def test_limits_are_the_hosts(pycontain: CommandLine, container: Callable[..., str], ours: str) -> None:
    name = container("-m", "64m", "--cpus", "0.5", "--pids-limit", "7", "host/base", "sleep", "inf")
    directory = os.path.join(ours, f"pycontain-{name[:16]}")

    def read(file: str) -> str:
        with open(os.path.join(directory, file)) as text:
            return text.read()

    assert (read("memory.max"), read("cpu.max"), read("pids.max")) == (
        f"{64 << 20}\n",
        "50000 100000\n",
        "7\n",
    )
    pid = json.loads(pycontain("inspect", name).stdout)[0]["State"]["Pid"]
    assert str(pid) in read("cgroup.procs").split()
    pycontain("update", "--pids-limit", "9", name)
    assert read("pids.max") == "9\n"
    pycontain("rm", "-f", name)
    assert not os.path.exists(directory)


def test_the_hosts_killer(pycontain: CommandLine, ours: str) -> None:
    program = "x = bytearray(200 << 20)"
    pycontain("run", "--name", "host-killed", "-m", "60m", "host/base", "python3", "-c", program, code=137)
    assert json.loads(pycontain("inspect", "host-killed").stdout)[0]["State"]["OOMKilled"] is True


def test_who_keeps_limits_is_told(pycontain: CommandLine) -> None:
    """Both commands agree; on most machines it is the kernel itself, with a reason."""
    pycontain("run", "--rm", "host/base", "true")
    told = json.loads(pycontain("kernel", "status", "--format", "json").stdout)["limits"]
    (line,) = [
        line for line in pycontain("kernel", "check").stdout.splitlines() if "a delegated cgroup" in line
    ]
    if told.startswith("by this kernel"):
        assert told.endswith(")") and len(told) > len("by this kernel ()")
    else:
        assert line.startswith("yes")
