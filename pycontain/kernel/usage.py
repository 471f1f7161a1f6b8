"""What a container has used: processor time, memory, bytes read and written. With a cgroup of the host's (cgroup.py)
its figures are the host's; the rest of this page is about doing without.

Processor time is that of every process there is, and of every one that has ended. The host adds a process that has
ended to its parent, but only when the parent waits for it: one that ignores SIGCHLD, and whoever joined by `exec`
and so is our own child, would lose it. So each death is also counted here, under the parent that is to wait: the
children of a process have used what the host says or what we have counted, whichever is more.

Memory is what belongs to the container alone, as the memory controller charges it: anonymous and shared pages and
what of them is swapped out, and the contents of its tmpfs. Pages that processes share (after fork, shared memory)
count once: the host tells each process's proportional share of them (Pss in /proc/PID/smaps_rollup, proc(5)).
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Container as Collection
from typing import TYPE_CHECKING, NamedTuple

from pycontain.kernel.vfs.proctext import host_file
from pycontain.kernel.vfs.sizedtmpfs import SizedTmpfs

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Process

SIGCHLD_BIT = 1 << 16
MEMORY_KEPT = 0.2  # seconds that a measured figure is good for
BLOCK = 512  # bytes in a block of struct rusage


class Spent(NamedTuple):
    """Processor time in seconds, input and output of block devices in bytes."""

    user: float = 0.0
    system: float = 0.0
    read: int = 0
    written: int = 0

    @property
    def cpu(self) -> float:
        return self.user + self.system

    def plus(self, other: Spent) -> Spent:
        return Spent(
            self.user + other.user,
            self.system + other.system,
            self.read + other.read,
            self.written + other.written,
        )

    @classmethod
    def of(cls, usage: resource.struct_rusage) -> Spent:
        """Of wait4(2): a process with all the children that it has waited for."""
        return cls(usage.ru_utime, usage.ru_stime, usage.ru_inblock * BLOCK, usage.ru_oublock * BLOCK)


class Memory(NamedTuple):
    """Bytes. files: pages of files that processes have mapped; not charged, they are the host's cache."""

    anonymous: int = 0
    shared: int = 0
    swapped: int = 0
    files: int = 0

    @property
    def total(self) -> int:
        """What is charged."""
        return self.anonymous + self.shared + self.swapped


class Usage:
    """Of one container. Figures never fall because a process ends; those of memory do, of course."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._gone = Spent()  # of processes whose parent is nobody of the container
        self._children: dict[int, Spent] = {}  # living process -> all its children that have ended
        self._lost: dict[
            int, float
        ] = {}  # living process -> seconds of children that it let the host discard
        self._memory = (0.0, Memory())
        self.peak = 0
        self.births = 0  # processes and threads that there have been

    # -- processor time and block devices

    def died(self, process: Process, usage: resource.struct_rusage | None) -> None:
        """A process has ended; usage: its own and that of the children it has waited for."""
        lost = self._lost.pop(process.pid, 0.0)
        children = self._children.pop(process.pid, None)
        spent = Spent.of(usage) if usage is not None else children or Spent()
        if lost:
            spent = spent.plus(Spent(user=lost))
        parent = self._waiting_parent(process)
        if parent is None:
            self._gone = self._gone.plus(spent)
        else:
            self._children[parent] = self._children.get(parent, Spent()).plus(spent)

    def _waiting_parent(self, process: Process) -> int | None:
        """Who waits for a process that has just ended, None if it is the kernel itself."""
        container, parent = self._container, process.parent
        if parent is not None and container.processes.get(parent.pid) is parent:
            return parent.pid
        if parent is None:
            return None
        text = host_file_or_nothing(process.pid, "stat")  # an orphan: its subreaper
        if text:
            adopted = int(_fields(text)[1])
            if adopted in container.processes:
                return adopted
        while parent.parent is not None:
            parent = parent.parent
        return parent.pid if container.processes.get(parent.pid) is parent else None

    def cpu_seconds(self) -> float:
        """User and system time since the start of the container."""
        cgroup = self._container.limits.cgroup
        if cgroup is not None:
            return cgroup.value("cpu.stat", "usage_usec") / 1e6
        total = self._gone.cpu
        for pid in self._container.processes:
            try:
                total += time.clock_gettime((~pid << 3) | 2)  # CLOCK_PROCESS_CPUTIME_ID of another process
            except OSError:
                continue  # it has ended, and its end has not been handled yet
            if pid in self._children:
                total += self._of_children(pid).cpu
        return total

    def _of_children(self, pid: int) -> Spent:
        counted = self._children[pid]
        text = host_file_or_nothing(pid, "stat")
        if not text:
            return counted
        fields = _fields(text)
        tick = os.sysconf("SC_CLK_TCK")
        user, system = int(fields[13]) / tick, int(fields[14]) / tick
        missing = counted.cpu - user - system
        if missing > 0.05 and _ignores_children(pid):
            self._lost[pid] = missing
        return counted._replace(user=max(user, counted.user), system=max(system, counted.system))

    def spent(self) -> Spent:
        """Everything since the start of the container."""
        total = self._gone
        tick = os.sysconf("SC_CLK_TCK")
        for pid in self._container.processes:
            text = host_file_or_nothing(pid, "stat")
            if not text:
                continue
            fields = _fields(text)
            own = Spent(int(fields[11]) / tick, int(fields[12]) / tick)
            children = self._of_children(pid) if pid in self._children else Spent()
            read = written = 0
            for line in host_file_or_nothing(pid, "io").splitlines():
                key, _, value = line.partition(b": ")
                if key == b"read_bytes":
                    read = int(value)
                elif key == b"write_bytes":
                    written = int(value)
            # what /proc/PID/io tells includes the children that were waited for
            total = total.plus(own).plus(
                Spent(
                    children.user, children.system, max(read, children.read), max(written, children.written)
                )
            )
        return total

    # -- memory

    def quick_memory(self) -> Memory:
        """An upper bound, cheap: what several processes share counts for each of them."""
        total = [0, 0, 0, 0]
        for pid in self._container.processes:
            for line in host_file_or_nothing(pid, "status").splitlines():
                index = _STATUS.get(line.partition(b":")[0])
                if index is not None:
                    total[index] += int(line.split()[1]) * 1024
        return Memory(*total)

    def memory(self) -> Memory:
        """As charged. Costs about 20 µs for a process, and more for a large one: so it is kept for a moment."""
        now = time.monotonic()
        measured, value = self._memory
        if now - measured >= MEMORY_KEPT:
            value = self.measure_memory()
        return value

    def measure_memory(self) -> Memory:
        """As memory(), always anew."""
        cgroup = self._container.limits.cgroup
        if cgroup is not None:
            value = Memory(
                cgroup.value("memory.stat", "anon"),
                cgroup.value("memory.stat", "shmem"),
                cgroup.value("memory.swap.current"),
                cgroup.value("memory.stat", "file_mapped"),
            )
        else:
            value = self.quick_memory() if len(self._container.processes) == 1 else self._proportional()
            value = self._with_tmpfs(value)
        self._memory = (time.monotonic(), value)
        self.peak = max(self.peak, value.total)
        return value

    def tmpfs(self) -> dict[int, int]:
        """Those whose bytes are in memory: the host's device number -> bytes."""
        found = {}
        for mount in self._container.mounts:
            if isinstance(mount.fs, SizedTmpfs) and mount.fs.host_device:
                found[mount.fs.host_device] = mount.fs.used()
        return found

    def _with_tmpfs(self, value: Memory) -> Memory:
        """What of a tmpfs is not mapped by any process counts as well."""
        tmpfs = self.tmpfs()
        bytes_there = sum(tmpfs.values())
        if not bytes_there:
            return value
        mapped = 0
        if value.shared:
            mapped = sum(_mapped_of(pid, tmpfs) for pid in self._container.processes)
        return value._replace(shared=value.shared + max(bytes_there - mapped, 0))

    def _proportional(self) -> Memory:
        total = [0, 0, 0, 0]
        for pid in self._container.processes:
            found = 0
            for line in host_file_or_nothing(pid, "smaps_rollup").splitlines():
                index = _ROLLUP.get(line.partition(b":")[0])
                if index is not None:
                    total[index] += int(line.split()[1]) * 1024
                    found += 1
            if not found and host_file_or_nothing(pid, "statm").split()[:1] not in ([], [b"0"]):
                return self.quick_memory()  # the host does not tell (before Linux 5.9)
        return Memory(*total)

    def memory_of(self, pid: int) -> int:
        """Bytes that the end of this process would free, at most."""
        total = 0
        for line in host_file_or_nothing(pid, "status").splitlines():
            if line.startswith((b"RssAnon:", b"RssShmem:", b"VmSwap:")):
                total += int(line.split()[1]) * 1024
        return total

    # -- tasks

    def tasks(self) -> int:
        """Threads of all processes, as the pids controller counts them."""
        return sum(len(process.threads) for process in self._container.processes.values())


_STATUS = {b"RssAnon": 0, b"RssShmem": 1, b"VmSwap": 2, b"RssFile": 3}
_ROLLUP = {b"Pss_Anon": 0, b"Pss_Shmem": 1, b"SwapPss": 2, b"Pss_File": 3}


def _mapped_of(pid: int, devices: Collection[int]) -> int:
    """Bytes of the files of these devices that a process has mapped: its proportional share."""
    total, counts = 0, False
    for line in host_file_or_nothing(pid, "smaps").splitlines():
        if line.startswith(b"Pss:"):
            total += int(line.split()[1]) * 1024 if counts else 0
        elif b"-" in line.split(b" ", 1)[0]:
            major, _, minor = line.split(None, 5)[3].partition(b":")
            counts = os.makedev(int(major, 16), int(minor, 16)) in devices
    return total


def _fields(text: bytes) -> list[bytes]:
    """Of /proc/PID/stat, those after the name: the state is the first."""
    return text[text.rindex(b")") + 2 :].split()


def _ignores_children(pid: int) -> bool:
    for line in host_file_or_nothing(pid, "status").splitlines():
        if line.startswith(b"SigIgn:"):
            return bool(int(line.split()[1], 16) & SIGCHLD_BIT)
    return False


def host_file_or_nothing(pid: int, name: str) -> bytes:
    """A file of the host's /proc/PID; empty where the process has gone, or the host does not show it."""
    try:
        return host_file(pid, name)
    except OSError:
        return b""
