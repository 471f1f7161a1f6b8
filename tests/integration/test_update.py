"""update: limits of running containers, and how an OOM kill is told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from command_line import CommandLine

BUSY = "while True: pass"


def used(pycontain: CommandLine, name: str) -> float:
    (line,) = pycontain("stats", "--no-stream", "--format", "{{.CPUPerc}}", name).stdout.splitlines()
    return float(line.removesuffix("%"))


def test_processor_time(pycontain: CommandLine, container: Callable[..., str]) -> None:
    name = container("--name", "changing", "--cpus", "0.1", "host/base", "python3", "-c", BUSY)
    first = used(pycontain, name)
    assert first < 25
    assert pycontain("update", "--cpus", "0.7", "changing").stdout == "changing\n"
    assert used(pycontain, name) > first + 10  # 70 on a machine that has nothing else to do
    pycontain("update", "--cpus", "0.1", name)
    time.sleep(0.5)
    assert used(pycontain, name) < 25
    assert json.loads(pycontain("inspect", name).stdout)[0]["HostConfig"]["NanoCpus"] == 100_000_000


def test_memory_and_how_its_end_is_told(pycontain: CommandLine, container: Callable[..., str]) -> None:
    name = container("--name", "growing", "-m", "500m", "host/base", "python3", "-c",
                     "import time\nx = bytearray(100 << 20)\nprint('ready', flush=True)\ntime.sleep(1000)")  # fmt: skip
    while "ready" not in pycontain("logs", name).stdout:
        time.sleep(0.05)
    assert pycontain("exec", name, "cat", "/sys/fs/cgroup/memory.max").stdout == f"{500 << 20}\n"
    pycontain("update", "-m", "200m", "growing")
    assert pycontain("exec", name, "grep", "MemTotal", "/proc/meminfo").stdout.split()[1] == str(200 << 10)
    pycontain("update", "-m", "50m", "growing")
    assert pycontain("wait", name).stdout == "137\n"
    state = json.loads(pycontain("inspect", name).stdout)[0]["State"]
    assert (state["OOMKilled"], state["ExitCode"], state["Status"]) == (True, 137, "exited")
    shown = pycontain("ps", "-a", "--filter", "name=growing", "--format", "{{.Status}}").stdout
    assert shown.startswith("Exited (137) ") and shown.endswith(" ago (OOM killed)\n")


def test_a_plain_kill_is_no_oom_kill(pycontain: CommandLine, container: Callable[..., str]) -> None:
    name = container("-m", "100m", "host/base", "sleep", "inf")
    pycontain("kill", name)
    assert pycontain("wait", name).stdout == "137\n"
    assert json.loads(pycontain("inspect", name).stdout)[0]["State"]["OOMKilled"] is False
    assert "OOM" not in pycontain("ps", "-a").stdout.split(name[:12])[1].splitlines()[0]


def test_only_the_one_that_is_too_large_dies(pycontain: CommandLine) -> None:
    """As in a cgroup: a child is killed, the others go on, memory.events counts it."""
    script = (
        "python3 -c 'x = bytearray(200 << 20); import time; time.sleep(10)'; echo ended $?;"
        "grep oom_kill /sys/fs/cgroup/memory.events"
    )
    done = pycontain("run", "--name", "parent", "-m", "80m", "host/base", "sh", "-c", script)
    assert done.stdout.splitlines() == ["ended 137", "oom_kill 1"]
    state = json.loads(pycontain("inspect", "parent").stdout)[0]["State"]
    assert (state["OOMKilled"], state["ExitCode"]) == (True, 0)
    pycontain("rm", "parent")


def test_who_asks_to_be_spared_is_spared(pycontain: CommandLine) -> None:
    """oom_score_adj: the smaller process dies, for it has offered itself."""
    script = (
        "python3 -c 'x = bytearray(70 << 20); import time; time.sleep(5); print(\"survived\")' & large=$!;"
        'sleep 1; python3 -c \'open("/proc/self/oom_score_adj", "w").write("1000"); x = bytearray(50 << 20);'
        "import time; time.sleep(5)'; echo $?; wait $large"
    )
    done = pycontain("run", "--rm", "-m", "100m", "host/base", "sh", "-c", script)
    assert done.stdout.splitlines() == ["137", "survived"]


def test_tasks_and_processors(pycontain: CommandLine, container: Callable[..., str]) -> None:
    name = container("--pids-limit", "100", "host/base", "sleep", "inf")
    pycontain("update", "--pids-limit", "3", "--cpuset-cpus", "0", name)
    assert pycontain("exec", name, "cat", "/sys/fs/cgroup/pids.max").stdout == "3\n"
    assert pycontain("exec", name, "nproc").stdout == "1\n"
    script = "sleep 0 & sleep 0 & sleep 0 & sleep 0 & wait"
    assert "ork" in pycontain("exec", name, "sh", "-c", script, code=2).stderr
    host = json.loads(pycontain("inspect", name).stdout)[0]["State"]["Pid"]
    assert os.sched_getaffinity(host) == {0}
    pycontain("update", "--pids-limit", "-1", name)
    pycontain("exec", name, "sh", "-c", script)


def test_what_makes_no_sense(pycontain: CommandLine, container: Callable[..., str]) -> None:
    name = container("host/base", "sleep", "inf")
    for words in (
        ["-m", "1k"],
        ["--cpus", "x"],
        [],
        ["--cpuset-cpus", "999"],
        ["--memory-swap", "1g"],
        ["--pids-limit", "9"],
    ):
        done = pycontain("update", *words, name, code=125)
        assert len(done.stderr.splitlines()) == 1
    pycontain("update", "-m", "64m", "nobody", code=125)
    pycontain("stop", "-t", "0", name)
    pycontain("update", "--pids-limit", "9", name)  # of one that does not run yet: from its next start
    pycontain("start", name)
    assert pycontain("exec", name, "cat", "/sys/fs/cgroup/pids.max").stdout == "9\n"
