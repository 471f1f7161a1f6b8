"""/sys/fs/cgroup of a container: the files of its own cgroup, as it would see them in a cgroup namespace of its own.

What the Java, Go, .NET and Node runtimes read to size themselves, and what monitoring reads. Version 2: the formats
are in the host kernel's Documentation/admin-guide/cgroup-v2.rst. All of it is read-only, as under Docker.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pycontain.kernel.limits import CPU_PERIOD, list_text
from pycontain.kernel.usage import host_file_or_nothing
from pycontain.kernel.vfs.textfs import Text, TextFs

if TYPE_CHECKING:
    from pycontain.kernel.container import Container

CGROUP2_MAGIC = 0x63677270
PERIOD_USEC = int(CPU_PERIOD * 1e6)
HOST_NODES = "/sys/devices/system/node/online"


def new_cgroupfs(container: Container, dev: int) -> TextFs:
    """The file system for /sys/fs/cgroup."""
    texts: dict[bytes, Text] = {
        name.encode(): partial(_encoded, name, function, container) for name, function in FILES.items()
    }
    modes = {name.encode(): 0o644 for name in WRITABLE_ELSEWHERE}
    return TextFs("cgroup2", CGROUP2_MAGIC, dev, texts, modes, container.started_at)


def _encoded(name: str, function: Callable[[Container], str], container: Container) -> bytes:
    """The host's own text where the container has a real cgroup; what names processes or children stays ours."""
    cgroup = container.limits.cgroup
    text = cgroup.read(name) if cgroup is not None and not name.startswith("cgroup.") else ""
    return (text or function(container)).encode()


def _constant(text: str) -> Callable[[Container], str]:
    return lambda container: text + "\n"


def _flat(values: dict[str, int]) -> str:
    return "".join(f"{name} {value}\n" for name, value in values.items())


def _limit(value: int) -> str:
    return f"{value or 'max'}\n"


def _processes(container: Container) -> str:
    return "".join(f"{container.inside(pid)}\n" for pid in sorted(container.processes))


def _threads(container: Container) -> str:
    tids = [tid for process in container.processes.values() for tid in process.threads]
    return "".join(f"{container.inside(tid)}\n" for tid in sorted(tids))


def _cpu_max(container: Container) -> str:
    cpus = container.limits.cpus
    return f"{int(cpus * PERIOD_USEC) if cpus else 'max'} {PERIOD_USEC}\n"


def _cpu_stat(container: Container) -> str:
    total = int(container.usage.cpu_seconds() * 1e6)
    spent = container.usage.spent()
    system = min(int(total * spent.system / spent.cpu), total) if spent.cpu else 0
    periods = container.limits.periods
    return _flat(
        {
            "usage_usec": total,
            "user_usec": total - system,
            "system_usec": system,
            "nr_periods": periods.count,
            "nr_throttled": periods.throttled,
            "throttled_usec": int(periods.held * 1e6),
            "nr_bursts": 0,
            "burst_usec": 0,
        }
    )


def _memory_events(container: Container) -> str:
    killed = container.limits.killed
    return _flat({"low": 0, "high": 0, "max": killed, "oom": killed, "oom_kill": killed, "oom_group_kill": 0})


def _memory_stat(container: Container) -> str:
    used = container.usage.memory()
    faults = major = 0
    for pid in container.processes:
        text = host_file_or_nothing(pid, "stat")
        if text:
            fields = text[text.rindex(b")") + 2 :].split()
            faults += int(fields[7]) + int(fields[8])
            major += int(fields[9]) + int(fields[10])
    return _flat(
        {
            "anon": used.anonymous,
            "file": used.shared,
            "kernel": 0,
            "shmem": used.shared,
            "file_mapped": used.files,
            "file_dirty": 0,
            "file_writeback": 0,
            "swapcached": 0,
            "inactive_anon": used.shared,
            "active_anon": used.anonymous,
            "inactive_file": 0,
            "active_file": 0,
            "unevictable": 0,
            "slab_reclaimable": 0,
            "slab_unreclaimable": 0,
            "slab": 0,
            "pgfault": faults,
            "pgmajfault": major,
        }
    )


def _peak(container: Container) -> str:
    current = container.usage.memory().total
    return f"{max(container.usage.peak, current)}\n"


def _nodes(container: Container) -> str:
    try:
        with open(HOST_NODES) as file:
            return file.read()
    except OSError:
        return "0\n"  # a host without NUMA has one node


FILES: dict[str, Callable[[Container], str]] = {
    "cgroup.controllers": _constant("cpuset cpu memory pids"),
    "cgroup.events": lambda c: _flat({"populated": int(bool(c.processes)), "frozen": int(c.paused)}),
    "cgroup.freeze": lambda c: f"{int(c.paused)}\n",
    "cgroup.max.depth": _constant("max"),
    "cgroup.max.descendants": _constant("max"),
    "cgroup.procs": _processes,
    "cgroup.stat": _constant("nr_descendants 0\nnr_dying_descendants 0"),
    "cgroup.subtree_control": _constant(""),
    "cgroup.threads": _threads,
    "cgroup.type": _constant("domain"),
    "cpu.idle": _constant("0"),
    "cpu.max": _cpu_max,
    "cpu.max.burst": _constant("0"),
    "cpu.stat": _cpu_stat,
    "cpu.weight": _constant("100"),
    "cpu.weight.nice": _constant("0"),
    "cpuset.cpus": lambda c: list_text(c.limits.cpuset) + "\n",
    "cpuset.cpus.effective": lambda c: list_text(c.limits.processors()) + "\n",
    "cpuset.cpus.partition": _constant("member"),
    "cpuset.mems": _constant(""),
    "cpuset.mems.effective": _nodes,
    "memory.current": lambda c: f"{c.usage.memory().total}\n",
    "memory.events": _memory_events,
    "memory.events.local": _memory_events,
    "memory.high": _constant("max"),
    "memory.low": _constant("0"),
    "memory.max": lambda c: _limit(c.limits.memory),
    "memory.min": _constant("0"),
    "memory.oom.group": _constant("0"),
    "memory.peak": _peak,
    "memory.stat": _memory_stat,
    "memory.swap.current": lambda c: f"{c.usage.memory().swapped}\n",
    # what is swapped out counts against memory.max here, so a limit leaves nothing beyond it
    "memory.swap.max": lambda c: "0\n" if c.limits.memory else "max\n",
    "pids.current": lambda c: f"{c.usage.tasks()}\n",
    "pids.events": lambda c: _flat({"max": c.limits.refused}),
    "pids.max": lambda c: _limit(c.limits.pids),
}
WRITABLE_ELSEWHERE = (
    "cgroup.freeze", "cgroup.max.depth", "cgroup.max.descendants", "cgroup.procs", "cgroup.subtree_control",
    "cgroup.threads", "cgroup.type", "cpu.idle", "cpu.max", "cpu.max.burst", "cpu.weight", "cpu.weight.nice",
    "cpuset.cpus", "cpuset.cpus.partition", "cpuset.mems", "memory.high", "memory.low", "memory.max", "memory.min",
    "memory.oom.group", "memory.swap.max", "pids.max",
)  # fmt: skip
