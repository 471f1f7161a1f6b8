"""The tools with which people look at a machine, in a container with limits: they show the container."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from debian_user import DebianUser

LAST = max(os.sched_getaffinity(0))
LIMITS = ("-m", "300m", "--cpus", "0.5", "--cpuset-cpus", str(LAST), "--pids-limit", "80")


@pytest.fixture
def look(either: DebianUser, started: Callable[..., str]) -> Callable[..., str]:
    """Run a tool in a container with limits; its output."""
    name = started(*LIMITS, either.IMAGE, "sh", "-c", "sleep 1000 & exec sleep inf")
    return lambda *words: either("exec", name, *words).stdout


def test_memory(look: Callable[..., str]) -> None:
    total, used, free = map(int, look("free", "-k").splitlines()[1].split()[1:4])
    assert total == 300 << 10
    assert used < 40 << 10 and free > 260 << 10
    assert f"{300 << 10} K total memory" in look("vmstat", "-s")
    assert int(look("busybox", "free").splitlines()[1].split()[1]) == (300 << 10) + 4
    assert re.search(r"MiB Mem : +300\.0 total", look("top", "-bn1"))


def test_processors(look: Callable[..., str]) -> None:
    assert look("nproc") == "1\n"
    assert re.search(rf"^On-line CPU\(s\) list: +{LAST}$", look("lscpu"), re.M)
    assert look("getconf", "_NPROCESSORS_ONLN") == "1\n"
    assert look("taskset", "-p", "1").split()[-1] == f"{1 << LAST:x}"
    assert look("python3", "-c", "import os; print(os.cpu_count(), len(os.sched_getaffinity(0)))") == "1 1\n"
    assert look("node", "-e", "console.log(os.cpus().length, os.totalmem())") == f"1 {300 << 20}\n"


def test_java(look: Callable[..., str]) -> None:
    told = look("sh", "-c", "java -XshowSettings:system -version 2>&1")
    for line in (
        "Provider: cgroupv2", "Effective CPU Count: 1", "CPU Quota: 50000us", "Memory Limit: 300.00M",
        "Memory & Swap Limit: 300.00M", "Maximum Processes Limit: 80",
    ):  # fmt: skip
        assert line in told
    heap = look("sh", "-c", "java -XX:+PrintFlagsFinal -version 2>/dev/null | grep ' MaxHeapSize'")
    assert 70 << 20 <= int(heap.split()[3]) <= 160 << 20  # a quarter to a half of what there is


def test_age_and_load(look: Callable[..., str]) -> None:
    assert re.search(r" up [01] min, .* load average: \d\.\d\d", look("uptime"))
    assert re.search(r" up [01] min", look("w").splitlines()[0])
    assert re.search(r" up [01] min, .*0 users", look("busybox", "uptime"))
    elapsed = [line.split() for line in look("ps", "-eo", "pid,etimes,comm").splitlines()[1:]]
    assert all(0 <= int(seconds) < 60 for _, seconds, _ in elapsed)
    started = look("ps", "-o", "lstart=", "-p", "1").strip()
    assert started == look("date", "-d", started, "+%a %b %e %T %Y").strip()
    age = int(look("date", "+%s")) - int(look("date", "-d", started, "+%s"))
    assert 0 <= age < 60


def test_processes(look: Callable[..., str]) -> None:
    assert look("pgrep", "-a", "sleep").splitlines()[0] == "1 sleep inf"
    assert re.fullmatch(r"sleep\(1\)---sleep\(\d+\)\n", look("pstree", "-p"))
    assert re.search(r"^sleep +1 +root +cwd +DIR", look("lsof", "-p", "1"), re.M)
    assert re.fullmatch(r"\d+ ?", look("cat", "/proc/1/task/1/children"))
    assert look("cat", "/proc/1/sched").startswith("sleep (1, #threads: 1)\n")
    assert "none: prio" in look("ionice", "-p", "1") or "best-effort" in look("ionice", "-p", "1")
    look("ionice", "-c", "3", "-p", "1")
    assert look("ionice", "-p", "1") == "idle\n"
    assert look("sh", "-c", "ionice -c 2 -n 6 ionice") == "best-effort: prio 6\n"


def test_tables(look: Callable[..., str]) -> None:
    assert re.search(r"^shm +64M +0 +64M +0% /dev/shm$", look("df", "-h"), re.M)
    assert "cgroup2" in look("findmnt", "-n", "/sys/fs/cgroup")
    assert look("sysctl", "-n", "vm.overcommit_memory") == Path("/proc/sys/vm/overcommit_memory").read_text()
    assert look("lsblk") == ""
