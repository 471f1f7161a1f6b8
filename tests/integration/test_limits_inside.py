"""What programs read to size themselves follows the container's limits. The host's own tools and files are the
measure of names, formats and of what is not limited."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import pytest
from command_line import CommandLine

MEMORY = 256 << 20
LAST = max(os.sched_getaffinity(0))
LIMITS = ("-m", "256m", "--cpus", "0.5", "--cpuset-cpus", str(LAST), "--pids-limit", "30")

SIZES = """
import json, os
def read(path):
    with open(path) as file:
        return file.read()
meminfo = dict(line.split(":") for line in read("/proc/meminfo").splitlines())
stat = [line.split() for line in read("/proc/stat").splitlines()]
try:
    os.sched_setaffinity(0, range(64))
    widened = sorted(os.sched_getaffinity(0))
except OSError as error:
    widened = error.strerror
print(json.dumps({
    "pages": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    "available": os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    "meminfo": int(meminfo["MemTotal"].split()[0]) * 1024,
    "free": int(meminfo["MemFree"].split()[0]) * 1024,
    "max": read("/sys/fs/cgroup/memory.max"),
    "cpu.max": read("/sys/fs/cgroup/cpu.max"),
    "pids.max": read("/sys/fs/cgroup/pids.max"),
    "count": os.cpu_count(),
    "affinity": sorted(os.sched_getaffinity(0)),
    "widened": widened,
    "online": read("/sys/devices/system/cpu/online"),
    "stat": [fields[0] for fields in stat if fields[0].startswith("cpu")],
    "cpuinfo": read("/proc/cpuinfo").count("processor\\t:"),
    "status": [line.split()[1] for line in read("/proc/self/status").splitlines() if "allowed_list" in line][0],
    "btime": int([fields[1] for fields in stat if fields[0] == "btime"][0]),
    "uptime": float(read("/proc/uptime").split()[0]),
}))
"""


def test_everything_agrees(pycontain: CommandLine) -> None:
    found = json.loads(pycontain("run", "--rm", *LIMITS, "host/base", "python3", "-c", SIZES).stdout)
    assert found["meminfo"] == MEMORY
    assert found["pages"] == MEMORY + os.sysconf("SC_PAGE_SIZE")  # systemtext.sysinfo says why
    assert MEMORY - (40 << 20) < found["free"] < MEMORY
    assert MEMORY - (40 << 20) < found["available"] < MEMORY
    assert found["max"] == f"{MEMORY}\n"
    assert found["cpu.max"] == "50000 100000\n"
    assert found["pids.max"] == "30\n"
    assert found["affinity"] == found["widened"] == [LAST]
    assert found["online"].strip() == found["status"] == str(LAST)
    assert found["stat"] == ["cpu", f"cpu{LAST}"]
    assert found["cpuinfo"] == 1
    assert abs(found["btime"] - time.time()) < 30
    assert found["uptime"] < 30


def test_without_limits_it_is_the_host(pycontain: CommandLine) -> None:
    found = json.loads(pycontain("run", "--rm", "host/base", "python3", "-c", SIZES).stdout)
    assert found["pages"] == found["meminfo"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert found["max"] == found["pids.max"] == "max\n"
    assert found["affinity"] == found["widened"] == sorted(os.sched_getaffinity(0))
    assert found["cpuinfo"] == len(os.sched_getaffinity(0))


def test_nproc(pycontain: CommandLine) -> None:
    done = pycontain("run", "--rm", "--cpuset-cpus", str(LAST), "host/base", "nproc")
    assert done.stdout == "1\n"


def test_figures_move(pycontain: CommandLine, container: Callable[..., str]) -> None:
    """memory.current grows with what a program takes, cpu.stat with what it computes, and throttling is told."""
    program = (
        "import sys, time\nx = bytearray(80 << 20)\nprint('ready', flush=True)\n"
        "while time.process_time() < 0.5: pass\nprint('done', flush=True)\ntime.sleep(1000)"
    )
    name = container("-m", "200m", "--cpus", "0.1", "host/base", "python3", "-c", program)
    while "done" not in pycontain("logs", name).stdout:
        time.sleep(0.1)

    def read(file: str) -> str:
        return pycontain("exec", name, "cat", f"/sys/fs/cgroup/{file}").stdout

    assert 80 << 20 < int(read("memory.current")) < 110 << 20
    stat = dict(line.split() for line in read("cpu.stat").splitlines())
    assert 500_000 <= int(stat["usage_usec"]) < 2_000_000
    assert int(stat["nr_throttled"]) > 3
    assert int(stat["throttled_usec"]) > 300_000
    assert int(stat["nr_periods"]) >= int(stat["nr_throttled"])


KEPT_OPEN = """
import os, time
fd = os.open("/proc/uptime", os.O_RDONLY)
seen = []
for _ in range(4):
    seen.append(float(os.pread(fd, 100, 0).split()[0]))
    time.sleep(0.7)
print(all(b - a > 0.4 for a, b in zip(seen, seen[1:])), seen)
try:
    os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
except PermissionError:
    print("read-only")
"""


def test_files_that_are_kept_open_stay_fresh(pycontain: CommandLine) -> None:
    done = pycontain("run", "--rm", "host/base", "python3", "-c", KEPT_OPEN)
    assert done.stdout.startswith("True"), done.stdout
    assert done.stdout.endswith("read-only\n")


def test_the_load_is_the_containers(pycontain: CommandLine, container: Callable[..., str]) -> None:
    busy = container("host/base", "sh", "-c", "while :; do :; done")
    idle = container("host/base", "sleep", "inf")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        load = float(pycontain("exec", busy, "cat", "/proc/loadavg").stdout.split()[0])
        if load > 0.1:
            break
        time.sleep(0.5)
    assert 0.1 < load < 1.5
    assert pycontain("exec", idle, "cat", "/proc/loadavg").stdout.startswith("0.00 0.00 0.00 1/2 ")


@pytest.mark.parametrize(
    "file", ["meminfo", "stat", "cpuinfo", "uptime", "loadavg", "cgroups", "vmstat", "diskstats"]
)
def test_names_are_the_hosts(pycontain: CommandLine, file: str) -> None:
    """Without limits a file has the lines of the host's, and as many fields in each."""
    inside = pycontain("run", "--rm", "host/base", "cat", f"/proc/{file}").stdout
    with open(f"/proc/{file}") as text:
        outside = text.read()
    shape = [
        (line.split()[:1] if file not in ("uptime", "loadavg") else [], len(line.split()))
        for line in inside.splitlines()
    ]
    wanted = [
        (line.split()[:1] if file not in ("uptime", "loadavg") else [], len(line.split()))
        for line in outside.splitlines()
    ]
    if file == "cgroups":
        shape, wanted = shape[:1], wanted[:1]
    assert shape == wanted
