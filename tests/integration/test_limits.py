"""Limits without cgroups: each is hit by a program that asks for too much."""

from __future__ import annotations

import json

from command_line import CommandLine

BUSY = """
import time
start = time.monotonic()
while time.monotonic() - start < 2: pass
print(time.process_time())
"""


def test_pids(pycontain: CommandLine) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; echo started"
    done = pycontain("run", "--rm", "--pids-limit", "4", "host/base", "sh", "-c", script, code=2)
    assert "started" not in done.stdout
    assert "ork" in done.stderr  # "Cannot fork"


def test_memory(pycontain: CommandLine) -> None:
    program = "import time; x = [bytearray(1 << 20) for _ in range(200)]; time.sleep(5); print('survived')"
    pycontain("run", "--name", "eater", "-m", "60m", "host/base", "python3", "-c", program, code=137)
    state = json.loads(pycontain("inspect", "eater").stdout)[0]
    assert state["State"]["OOMKilled"] is True
    assert state["HostConfig"]["Memory"] == 60 << 20


def test_memory_and_swap(pycontain: CommandLine) -> None:
    """Swap counts against --memory, so that is the one value of --memory-swap that can be kept."""
    words = ["-m", "64m", "--memory-swap", "64m", "host/base", "cat", "/sys/fs/cgroup/memory.swap.max"]
    assert pycontain("run", "--rm", *words).stdout == "0\n"
    words[3] = "128m"
    assert "--memory-swap 128m" in pycontain("run", "--rm", *words, code=125).stderr


def test_cpus(pycontain: CommandLine) -> None:
    done = pycontain("run", "--rm", "--cpus", "0.25", "host/base", "python3", "-c", BUSY)
    assert float(done.stdout) < 1.2  # 0.5 s, and twice that for a busy machine


def test_ulimit_and_cpuset(pycontain: CommandLine) -> None:
    done = pycontain(
        "run", "--rm", "--ulimit", "nofile=77:99", "--cpuset-cpus", "0", "host/base", "sh", "-c",
        "ulimit -n; ulimit -Hn; nproc",
    )  # fmt: skip
    assert done.stdout.split() == ["77", "99", "1"]


def test_capabilities(pycontain: CommandLine) -> None:
    script = "touch /a; chown 5 /a && echo changed"
    pycontain("run", "--rm", "--cap-drop", "chown", "host/base", "sh", "-c", script, code=1)
    done = pycontain(
        "run", "--rm", "--cap-drop", "all", "--cap-add", "chown", "host/base", "sh", "-c", script
    )
    assert done.stdout == "changed\n"


def test_what_makes_no_sense(pycontain: CommandLine) -> None:
    for option, value in (
        ("--ulimit", "nofile=x"), ("--ulimit", "nothing=1"), ("--cpus", "many"), ("--cpuset-cpus", "a"),
        ("--cpuset-cpus", "999"), ("--memory-swap", "1g"), ("--memory", "1k"), ("--cap-add", "fly"), ("--pids-limit", "few"),
    ):  # fmt: skip
        done = pycontain("run", "--rm", option, value, "host/base", "true", code=125)
        assert len(done.stderr.strip().splitlines()) == 1
