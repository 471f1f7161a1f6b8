"""Limits of a container without cgroups: counted and enforced by the kernel itself.

pids      the calls that make tasks come to the kernel, which counts (EAGAIN, as the pids controller answers)
memory    anonymous and shared memory of all processes, looked at several times a second; above the limit the
          largest process is killed, as the host's out-of-memory killer does in a cgroup
cpus      processor time of all processes; above the quota every task is held until the period is over
cpuset, ulimits   the host's own, set on the first process and inherited
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

from pycontain.errors import ContainerError
from pycontain.kernel.vfs.proctext import host_file

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Process

MEMORY_INTERVAL = 0.1
CPU_INTERVAL = 0.1
ULIMITS = {
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "memlock": resource.RLIMIT_MEMLOCK,
    "msgqueue": resource.RLIMIT_MSGQUEUE,
    "nice": resource.RLIMIT_NICE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "rss": resource.RLIMIT_RSS,
    "rtprio": resource.RLIMIT_RTPRIO,
    "sigpending": resource.RLIMIT_SIGPENDING,
    "stack": resource.RLIMIT_STACK,
}


class Limits:
    """spec["limits"]: {pids, memory (bytes), nano_cpus, cpuset ([numbers]), ulimits ({name: [soft, hard]})}."""

    def __init__(self, container: Container, values: dict[str, Any]) -> None:
        self._container = container
        self.pids = int(values.get("pids") or 0)
        self.memory = int(values.get("memory") or 0)
        self.cpus = int(values.get("nano_cpus") or 0) / 1e9
        self.cpuset = list(values.get("cpuset") or [])
        self.ulimits = dict(values.get("ulimits") or {})
        self.killed = 0  # processes that the memory limit has cost
        self._used = 0.0
        self._held = False
        for name, (soft, hard) in self.ulimits.items():
            if name not in ULIMITS:
                raise ContainerError(
                    f"ulimit {name}: there is no such limit", hint=", ".join(sorted(ULIMITS))
                )
            most = resource.getrlimit(ULIMITS[name])[1]
            if soft > hard >= 0 or (most >= 0 and not 0 <= hard <= most):
                raise ContainerError(
                    f"ulimit {name}={soft}:{hard}: this host does not allow it",
                    hint=f"soft may not be above hard, hard not above {most}",
                )

    def resources(self) -> tuple[tuple[int, int, int], ...]:
        """(RLIMIT number, soft, hard) for the launch: only the process itself may set them without privileges."""
        return tuple((ULIMITS[name], int(soft), int(hard)) for name, (soft, hard) in self.ulimits.items())

    def start(self, process: Process) -> None:
        """Before the process runs its first instruction. Raises ContainerError for what the host refuses."""
        if self.cpuset:
            try:
                os.sched_setaffinity(process.pid, self.cpuset)
            except (OSError, ValueError):
                shown = ",".join(map(str, self.cpuset))
                raise ContainerError(f"cpuset {shown}: this host has no such processors") from None

    def watch(self) -> None:
        """Begin to look."""
        loop = self._container.kernel.loop
        if self.memory:
            loop.later(MEMORY_INTERVAL, self._look_at_memory)
        if self.cpus:
            self._used = self.cpu_seconds()
            loop.later(CPU_INTERVAL, self._look_at_cpu)

    def may_fork(self) -> bool:
        if not self.pids:
            return True
        return sum(len(p.threads) for p in self._container.processes.values()) < self.pids

    # -- memory

    def memory_used(self) -> int:
        """Bytes of anonymous and shared memory."""
        return sum(_memory_of(pid) for pid in self._container.processes)

    def _look_at_memory(self) -> None:
        container = self._container
        if not container.processes:
            return
        used = {pid: _memory_of(pid) for pid in container.processes}
        if sum(used.values()) > self.memory:
            victim = max(used, key=lambda pid: used[pid])
            self.killed += 1
            name = container.processes[victim].name
            print(
                f"container {container.id[:12]}: memory limit: killed {victim} ({name!r})",
                file=sys.stderr,
                flush=True,
            )
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
        container.kernel.loop.later(MEMORY_INTERVAL, self._look_at_memory)

    # -- processor time

    def cpu_seconds(self) -> float:
        """Processor time of the processes there are, and of those that they have waited for."""
        ticks = 0
        for pid in self._container.processes:
            try:
                text = host_file(pid, "stat")
            except OSError:
                continue
            if text:
                fields = text[text.rindex(b")") + 2 :].split()
                ticks += sum(
                    int(field) for field in fields[11:15]
                )  # own time, and that of children waited for
        return ticks / os.sysconf("SC_CLK_TCK")

    def _look_at_cpu(self) -> None:
        container = self._container
        if not container.processes:
            return
        loop = container.kernel.loop
        if self._held:
            self._held = False
            container.thaw()
            loop.later(CPU_INTERVAL, self._look_at_cpu)
            return
        now = self.cpu_seconds()
        excess = max(now - self._used, 0.0) - self.cpus * CPU_INTERVAL
        self._used = now
        if excess > 0 and not container.paused:
            self._held = True
            container.freeze()
            loop.later(excess / self.cpus, self._look_at_cpu)
        else:
            loop.later(CPU_INTERVAL, self._look_at_cpu)


def _memory_of(pid: int) -> int:
    try:
        text = host_file(pid, "status")
    except OSError:
        return 0
    total = 0
    for line in text.splitlines():
        if line.startswith((b"RssAnon:", b"RssShmem:", b"VmSwap:")):
            total += int(line.split()[1]) * 1024
    return total
