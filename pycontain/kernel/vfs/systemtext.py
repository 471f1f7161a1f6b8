"""Files of /proc about the machine, as a container sees it: its share of memory and processors, its own age and load.

What no limit concerns is the host's. Formats: proc(5).
"""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING

from pycontain.kernel.load import running_tasks
from pycontain.kernel.vfs.proctext import host_memory, host_text

if TYPE_CHECKING:
    from pycontain.kernel.container import Container

SYSINFO = struct.Struct("<q3Q6QH6x2QI4x")  # struct sysinfo of sysinfo(2)
LOAD_SCALE = 1 << 16
CONTROLLERS = ("cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "net_cls", "perf_event",
               "net_prio", "hugetlb", "pids", "rdma", "misc")  # fmt: skip


def memory(container: Container) -> dict[str, int]:
    """Bytes, by the names of /proc/meminfo. With a limit, there is what the limit leaves, and no cache of files."""
    values = host_memory()
    limit = container.limits.memory
    if not limit or limit >= values["MemTotal"]:
        return values
    used = container.usage.memory()
    free = max(limit - used.total, 0)
    for name in _NOT_CHARGED:
        if name in values:
            values[name] = 0
    own = {
        "MemTotal": limit,
        # what the host keeps in its cache for files it gives away when it is asked for
        "MemFree": min(free, values["MemAvailable"]),
        "MemAvailable": min(free, values["MemAvailable"]),
        "Cached": used.shared,
        "Active": used.anonymous,
        "Active(anon)": used.anonymous,
        "Inactive": used.shared,
        "Inactive(anon)": used.shared,
        "AnonPages": used.anonymous,
        "Mapped": used.files,
        "Shmem": used.shared,
        "CommitLimit": limit,
        "Committed_AS": used.total,
    }
    values.update((name, value) for name, value in own.items() if name in values)
    return values


_NOT_CHARGED = (
    "Buffers", "SwapCached", "Active(file)", "Inactive(file)", "Unevictable", "Mlocked", "SwapTotal", "SwapFree",
    "Zswap", "Zswapped", "Dirty", "Writeback", "KReclaimable", "Slab", "SReclaimable", "SUnreclaim", "KernelStack",
    "PageTables", "Percpu", "AnonHugePages", "ShmemHugePages", "ShmemPmdMapped", "FileHugePages", "FilePmdMapped",
)  # fmt: skip


def meminfo(container: Container) -> bytes:
    """The host's lines in their order, with the container's figures."""
    values = memory(container)
    lines = []
    for line in host_text("meminfo").splitlines():
        name, _, rest = line.partition(b":")
        value = values.get(name.decode())
        if value is not None and rest.endswith(b" kB"):
            line = (name + b":").ljust(16) + b"%8d kB" % (value >> 10)
        lines.append(line + b"\n")
    return b"".join(lines)


def cpuinfo(container: Container) -> bytes:
    """The paragraphs of the processors that it may use, with the numbers that sched_getaffinity(2) gives them."""
    chosen = set(container.limits.processors())
    out = []
    for paragraph in host_text("cpuinfo").split(b"\n\n"):
        head = paragraph.split(b"\n", 1)[0]
        if head.startswith(b"processor") and int(head.split(b":")[1]) in chosen:
            out.append(paragraph + b"\n\n")
    return b"".join(out)


def stat(container: Container) -> bytes:
    """How busy the processors are is the host's to say; which there are, and what runs, is the container's."""
    limits, usage = container.limits, container.usage
    chosen = limits.processors()
    names = {b"cpu%d" % number for number in chosen}
    running, blocked = running_tasks(container)
    own = {
        b"btime": container.started_at // 10**9,
        b"processes": usage.births,
        b"procs_running": max(running, 1),  # whoever asks runs
        b"procs_blocked": blocked,
    }
    lines, totals = [], [0] * 10
    for line in host_text("stat").splitlines():
        name, *fields = line.split()
        if name in names:
            totals = [a + int(b) for a, b in zip(totals, fields, strict=False)]
        elif name.startswith(b"cpu"):
            continue
        if name in own:
            line = b"%s %d" % (name, own[name])
        lines.append(line + b"\n")
    return b"cpu  " + b" ".join(b"%d" % value for value in totals) + b"\n" + b"".join(lines)


def age(container: Container) -> float:
    """Seconds since the container's start, on the clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - container.started_after


def uptime(container: Container) -> bytes:
    """Since the container's start; the second figure is what its processors have not done for it."""
    up = age(container)
    idle = max(up * len(container.limits.processors()) - container.usage.cpu_seconds(), 0.0)
    return b"%.2f %.2f\n" % (up, idle)


def loadavg(container: Container) -> bytes:
    """Averages of the container's own tasks (load.py)."""
    averages = container.load.averages()
    running, _ = running_tasks(container)
    last = max(container.processes, default=0)
    return b"%.2f %.2f %.2f %d/%d %d\n" % (
        *averages,
        max(running, 1),  # whoever asks runs
        container.usage.tasks(),
        container.inside(last),
    )


def sysinfo(container: Container) -> bytes:
    """What sysinfo(2) writes, in agreement with meminfo, uptime and loadavg.

    Under a limit the machine seems to have one page more than memory.max: Java takes a limit that is not below the
    machine's memory for none (CgroupMetrics.getMemoryLimit0).
    """
    values = memory(container)
    total = values["MemTotal"]
    if container.limits.memory == total:
        total += os.sysconf("SC_PAGE_SIZE")
    loads = [int(value * LOAD_SCALE) for value in container.load.averages()]
    return SYSINFO.pack(
        int(age(container)) + 1, *loads, total, values["MemFree"], values["Shmem"], values["Buffers"],
        values["SwapTotal"], values["SwapFree"], min(container.usage.tasks(), 0xFFFF), 0, 0, 1,
    )  # fmt: skip


def cgroups(container: Container) -> bytes:
    """No hierarchy of version 1 has a controller: all are in the one of version 2 (cgroups(7))."""
    head = b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
    return head + b"".join(b"%s\t0\t1\t1\n" % name.encode() for name in CONTROLLERS)
