"""/proc about the machine, /sys/fs/cgroup and sysinfo(2), as a container's limits make them."""

from __future__ import annotations

import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_world import KernelWorld

from pycontain.errors import ContainerError
from pycontain.kernel.container import Container
from pycontain.kernel.limits import Limits, list_text
from pycontain.kernel.vfs import systemtext
from pycontain.kernel.vfs.live import LiveFiles
from pycontain.kernel.vfs.sysfs import numbers

LIMIT = 300 << 20


@pytest.fixture
def limited(world: KernelWorld) -> Iterator[Container]:
    """A container with every limit, whose only process is this test itself."""
    container = world.container
    values = {
        "memory": LIMIT,
        "nano_cpus": 1_500_000_000,
        "pids": 20,
        "cpuset": [max(os.sched_getaffinity(0))],
    }
    container.limits = Limits(container, values)
    yield container


def read(world: KernelWorld, path: str) -> bytes:
    world.call("openat", -100, path.encode(), os.O_RDONLY)
    with open(world.platform.sent.pop(), "rb") as file:
        return file.read()


def value(text: bytes, name: bytes) -> int:
    found = re.search(rb"^%s:? *(\d+)" % re.escape(name), text, re.M)
    assert found is not None, name
    return int(found[1])


def test_memory_without_a_limit_is_the_hosts(world: KernelWorld) -> None:
    host = Path("/proc/meminfo").read_bytes()
    text = systemtext.meminfo(world.container)
    assert value(text, b"MemTotal") == value(host, b"MemTotal")
    assert [line.split(b":")[0] for line in text.splitlines()] == [
        line.split(b":")[0] for line in host.splitlines()
    ]
    # every line is as long as the host's, whose figures have the same width
    assert [len(line) for line in text.splitlines()] == [len(line) for line in host.splitlines()]


def test_memory_with_a_limit(limited: Container) -> None:
    text = systemtext.meminfo(limited)
    used = limited.usage.memory().total >> 10
    assert value(text, b"MemTotal") == LIMIT >> 10
    assert value(text, b"MemFree") == value(text, b"MemAvailable") == (LIMIT >> 10) - used
    assert value(text, b"SwapTotal") == value(text, b"Buffers") == 0
    assert 0 < value(text, b"AnonPages") <= used


def test_a_limit_above_the_host_shows_the_host(world: KernelWorld) -> None:
    world.container.limits = Limits(world.container, {"memory": 1 << 50})
    assert value(systemtext.meminfo(world.container), b"MemTotal") == value(
        Path("/proc/meminfo").read_bytes(), b"MemTotal"
    )


def test_processors(limited: Container) -> None:
    (chosen,) = limited.limits.processors()
    assert re.findall(rb"^processor\s*: (\d+)", systemtext.cpuinfo(limited), re.M) == [b"%d" % chosen]
    host = Path("/proc/cpuinfo").read_text().split("\n\n")
    assert systemtext.cpuinfo(limited).decode().split("flags")[1] == host[chosen].split("flags")[1] + "\n\n"
    lines = systemtext.stat(limited).splitlines()
    assert [line.split()[0] for line in lines[:3]] == [b"cpu", b"cpu%d" % chosen, b"intr"]
    assert lines[0].split()[1:] == lines[1].split()[1:]


def test_totals_are_sums(world: KernelWorld) -> None:
    lines = [
        line.split() for line in systemtext.stat(world.container).splitlines() if line.startswith(b"cpu")
    ]
    assert len(lines) == 1 + len(os.sched_getaffinity(0))
    for total, *parts in zip(*(map(int, line[1:]) for line in lines), strict=True):
        assert total == sum(parts)


def test_age(world: KernelWorld) -> None:
    world.container.started_after -= 100
    up, idle = map(float, systemtext.uptime(world.container).split())
    assert 100 <= up < 130
    assert idle <= up * len(os.sched_getaffinity(0))
    assert value(systemtext.stat(world.container), b"btime") == world.container.started_at // 10**9


def test_load(world: KernelWorld) -> None:
    world.container.load._averages = [0.0, 0.0, 0.0]  # not what this test's own process has done before
    for _ in range(12):
        world.container.load.add(2)
    one, five, fifteen, tasks, _ = systemtext.loadavg(world.container).split()
    assert float(one) == pytest.approx(2 * (1 - 1 / 2.71828), abs=0.01)
    assert float(one) > float(five) > float(fifteen) > 0
    assert re.fullmatch(rb"[1-9]\d*/1", tasks)


def test_sysinfo_agrees(limited: Container) -> None:
    up, *loads, total, free, _, buffers, swap, _ = struct.unpack_from("<q3Q6Q", systemtext.sysinfo(limited))
    assert len(systemtext.sysinfo(limited)) == 112
    assert total == LIMIT + os.sysconf("SC_PAGE_SIZE")
    assert free == LIMIT - limited.usage.memory().total
    assert (buffers, swap) == (0, 0)
    assert max(loads) < 1 << 16
    assert 0 < up < 60


def test_cgroup_files(world: KernelWorld, limited: Container) -> None:
    def file(name: str) -> str:
        return read(world, f"/sys/fs/cgroup/{name}").decode()

    chosen = limited.limits.processors()[0]
    assert file("memory.max") == f"{LIMIT}\n"
    assert int(file("memory.current")) == limited.usage.memory().total
    assert int(file("memory.peak")) >= int(file("memory.current"))
    assert file("cpu.max") == "150000 100000\n"
    assert file("pids.max") == "20\n"
    assert file("pids.current") == "1\n"
    assert file("cpuset.cpus.effective") == f"{chosen}\n"
    assert file("cgroup.procs") == f"{limited.inside(os.getpid())}\n"
    assert file("cgroup.controllers").split() == ["cpuset", "cpu", "memory", "pids"]
    stat = dict(line.split() for line in file("cpu.stat").splitlines())
    assert int(stat["usage_usec"]) == int(stat["user_usec"]) + int(stat["system_usec"]) > 0
    memory = dict(line.split() for line in file("memory.stat").splitlines())
    assert int(memory["anon"]) + int(memory["shmem"]) == int(file("memory.current"))
    assert int(memory["pgfault"]) > 0
    limited.limits._killed = 3
    assert "oom_kill 3\n" in file("memory.events")
    assert world.error("openat", -100, b"/sys/fs/cgroup/memory.max", os.O_WRONLY) == "EROFS"
    assert world.error("openat", -100, b"/sys/fs/cgroup/new", os.O_WRONLY | os.O_CREAT, 0o644) == "EROFS"


def test_without_limits_the_cgroup_says_max(world: KernelWorld) -> None:
    for name in ("memory.max", "pids.max", "memory.swap.max"):
        assert read(world, f"/sys/fs/cgroup/{name}") == b"max\n"
    assert read(world, "/sys/fs/cgroup/cpu.max") == b"max 100000\n"
    assert read(world, "/sys/fs/cgroup/cpuset.cpus") == b"\n"


def test_processors_in_sys(world: KernelWorld, limited: Container) -> None:
    chosen = limited.limits.processors()[0]
    there = numbers(Path("/sys/devices/system/cpu/present").read_text().strip())
    assert read(world, "/sys/devices/system/cpu/online") == b"%d\n" % chosen
    assert numbers(read(world, "/sys/devices/system/cpu/offline").decode().strip()) == there - {chosen}
    possible = Path("/sys/devices/system/cpu/possible").read_bytes()
    assert read(world, "/sys/devices/system/cpu/possible") == possible


def test_affinity_stays_within_the_set(world: KernelWorld, limited: Container) -> None:
    before = os.sched_getaffinity(0)
    chosen = limited.limits.processors()[0]
    try:
        everything = world.task.io.put(b"\xff" * 8)
        assert world.call("sched_setaffinity", 0, 8, everything) == 0
        assert os.sched_getaffinity(0) == {chosen}
        answer = world.task.io.put(bytes(128))
        written = world.call("sched_getaffinity", 0, 128, answer)
        assert int.from_bytes(world.task.io.read(answer, written), "little") == 1 << chosen
        other = world.task.io.put((1 << chosen + 1).to_bytes(16, "little"))
        assert world.error("sched_setaffinity", 0, 16, other) == "EINVAL"
        assert world.error("sched_setaffinity", 999_999, 8, everything) == "ESRCH"
        assert world.error("sched_getaffinity", 0, 7, answer) == "EINVAL"
    finally:
        os.sched_setaffinity(0, before)


def test_limits_that_change(limited: Container) -> None:
    before = os.sched_getaffinity(0)
    try:
        limited.limits.update({"memory": 64 << 20, "pids": 3, "nano_cpus": 0, "cpuset": [min(before)]})
        assert (limited.limits.memory, limited.limits.pids, limited.limits.cpus) == (64 << 20, 3, 0)
        assert os.sched_getaffinity(0) == {min(before)}
        with pytest.raises(ContainerError, match="cpuset 999: this host has no such processors"):
            limited.limits.update({"cpuset": [999]})
        assert limited.limits.memory == 64 << 20
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("text", "found"), [("", []), ("0", [0]), ("0-2,4", [0, 1, 2, 4]), ("1,3-5,9", [1, 3, 4, 5, 9])]
)
def test_lists(text: str, found: list[int]) -> None:
    assert list_text(found) == text
    assert sorted(numbers(text)) == found


def test_a_file_kept_open_stays_fresh_and_costs_nothing_when_closed(world: KernelWorld) -> None:
    loop, texts = world.kernel.loop, [b"one, and long"]
    live = LiveFiles(loop)
    descriptors = len(os.listdir("/proc/self/fd"))
    first = live.open("name", lambda: texts[0])
    second = live.open("name", lambda: texts[0])
    assert os.read(first, 100) == os.read(second, 100) == b"one, and long"
    assert live.owns(os.fstat(first).st_ino)
    texts[0] = b"two"
    live._look()
    os.lseek(first, 0, os.SEEK_SET)
    assert os.read(first, 100) == b"two"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(first, b"x")
    os.close(first)
    live._look()
    assert live.owns(os.fstat(second).st_ino)
    copy = os.dup(second)
    os.close(second)
    live._look()
    assert live.owns(os.fstat(copy).st_ino)
    os.close(copy)
    live._look()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    live.close()


def test_start_of_processes_is_on_the_containers_clock(world: KernelWorld) -> None:
    """ps adds the ticks to the boot time, top and htop subtract them from the uptime."""
    world.container.started_after -= 50
    own = read(world, "/proc/self/stat")
    started = int(own[own.rindex(b")") + 2 :].split()[19]) / os.sysconf("SC_CLK_TCK")
    host = Path("/proc/self/stat").read_bytes()
    true = int(host[host.rindex(b")") + 2 :].split()[19]) / os.sysconf("SC_CLK_TCK")
    assert started == pytest.approx(max(true - world.container.started_after, 0), abs=0.02)
    assert systemtext.age(world.container) >= started
    assert time.clock_gettime(time.CLOCK_BOOTTIME) > true
