"""Limits of a container: a cgroup's where the host has delegated one (cgroup.py), else counted and enforced here.

pids      the calls that make tasks come to the kernel, which counts (EAGAIN, as the pids controller answers)
memory    anonymous and shared memory of all processes (usage.py), looked at the more often the nearer the limit is;
          above it the largest process is killed, as the host's out-of-memory killer does in a cgroup
cpus      processor time of all processes; above the quota every task is held until the period is over
cpuset, ulimits   the host's own, set on the first process and inherited; sched_setaffinity stays within the set
"""

from __future__ import annotations

import os
import resource
import signal
import time
from typing import TYPE_CHECKING, Any

from pycontain.errors import ContainerError
from pycontain.kernel import log
from pycontain.kernel.usage import host_file_or_nothing

if TYPE_CHECKING:
    from pycontain.kernel.cgroup import Cgroup
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Process

MEMORY_LEAST, MEMORY_MOST = 0.02, 0.25  # seconds between two looks at memory that grows
MEMORY_IDLE = 0.1  # and at a container that has not run meanwhile: then it costs a microsecond for a process
FASTEST = 2 << 30  # bytes a second that programs are taken to be able to use up
CPU_PERIOD = 0.1  # seconds, as cpu.cfs_period_us
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
    """spec["limits"]: {pids, memory (bytes), nano_cpus, cpuset ([numbers]), ulimits ({name: [soft, hard]})}.

    0, [] and {} are no limit.
    """

    def __init__(self, container: Container, values: dict[str, Any]) -> None:
        self._container = container
        self.pids = 0
        self.memory = 0
        self.cpus = 0.0
        self.cpuset: list[int] = []
        self.ulimits = dict(values.get("ulimits") or {})
        self.cgroup: Cgroup | None = None
        self._killed = 0
        self.refused = 0  # tasks that the limit of their number has forbidden
        self.periods = Periods()
        self._memory_watched = self._cpu_watched = False
        self._turn = 0  # counts quotas; those of before are not looked at any more
        self._used = 0.0
        self._idle_at = -1.0  # processor time used when memory was last looked at
        self._total = 0  # bytes at the last look
        self._victim = 0
        self._held = False
        self._set(values)
        # do the calls that make tasks come to the kernel? settled at the start
        self.counts_tasks = self.pids > 0
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

    def _set(self, values: dict[str, Any]) -> None:
        cpuset = sorted(set(values.get("cpuset") or []))
        available = self._container.kernel.processors
        if not available.issuperset(cpuset):
            raise ContainerError(
                f"cpuset {list_text(cpuset)}: this host has no such processors",
                hint=f"there are {list_text(sorted(available))}",
            )
        self.pids = int(values.get("pids") or 0)
        self.memory = int(values.get("memory") or 0)
        self.cpus = int(values.get("nano_cpus") or 0) / 1e9
        self.cpuset = cpuset

    def use(self, cgroup: Cgroup) -> None:
        """The host keeps them in this cgroup, which is ours. Raises ContainerError."""
        self.cgroup = cgroup
        self.counts_tasks = False
        self._apply(cgroup)

    def _apply(self, cgroup: Cgroup) -> None:
        cgroup.set(self.memory, self.cpus, self.pids, list_text(self.cpuset))

    @property
    def killed(self) -> int:
        """Processes that the memory limit has cost."""
        return self._killed + (self.cgroup.value("memory.events", "oom_kill") if self.cgroup else 0)

    def processors(self) -> list[int]:
        """The numbers of the host's processors that programs may run on."""
        return self.cpuset or sorted(self._container.kernel.processors)

    def resources(self) -> tuple[tuple[int, int, int], ...]:
        """(RLIMIT number, soft, hard) for the launch: only the process itself may set them without privileges."""
        return tuple((ULIMITS[name], int(soft), int(hard)) for name, (soft, hard) in self.ulimits.items())

    def start(self, process: Process) -> None:
        """Before the process runs its first instruction. Raises ContainerError for what the host refuses."""
        if self.cgroup is not None:
            self.cgroup.add(process.pid)
        if self.cpuset:
            self._place(process.pid)

    def _place(self, tid: int) -> None:
        try:
            self._container.kernel.platform.place(tid, self.processors())
        except ProcessLookupError:
            pass
        except OSError as error:
            shown = list_text(self.cpuset)
            raise ContainerError(f"cpuset {shown}: the host refuses it: {error.strerror}") from None

    def update(self, values: dict[str, Any]) -> None:
        """Other limits from now on; ulimits stay. Tasks above a new limit of their number go on.

        Raises ContainerError, and then nothing has changed.
        """
        if values.get("pids") and not self.counts_tasks and self.cgroup is None:
            raise ContainerError(
                f"update container {self._container.id[:12]}: it was started without a limit of tasks, and so "
                "the calls that make them are not seen",
                hint="stop it first; the limit holds from the next start",
            )
        old = self.cpuset
        self._set(values)
        if self._held:
            self._release()  # what the old quota was exceeded by is forgiven
        self._turn += 1
        self._cpu_watched = False
        if self.cgroup is not None:
            self._apply(self.cgroup)
        if self.cpuset != old:
            for process in self._container.processes.values():
                for tid in process.threads:
                    self._place(tid)
        self._idle_at = -1.0
        self.watch()

    def watch(self) -> None:
        """Begin to look, where there is something to look at and the host does not do it."""
        if self.cgroup is not None:
            return
        if self.memory and not self._memory_watched:
            self._memory_watched = True
            self._idle_at = -1.0
            self._container.kernel.loop.later(MEMORY_LEAST, self._look_at_memory)
        if self.cpus and not self._cpu_watched:
            self._cpu_watched = True
            self._used = self._container.usage.cpu_seconds()
            self._look_later(CPU_PERIOD)

    def may_fork(self) -> bool:
        if self.pids and self._container.usage.tasks() >= self.pids:
            self.refused += 1
            return False
        return True

    # -- memory

    def _look_at_memory(self) -> None:
        container, usage = self._container, self._container.usage
        if not container.processes or not self.memory:
            self._memory_watched = False
            return
        delay = MEMORY_MOST
        ran = usage.cpu_seconds()
        if ran != self._idle_at:  # what has not run has not grown
            begun = time.monotonic()
            tmpfs = sum(usage.tmpfs().values())
            used = usage.quick_memory().total + tmpfs
            if used > self.memory:
                used = usage.measure_memory().total
                # a tmpfs outlives its writers: once they have gone, ending others would not help
                if used > self.memory and (used - tmpfs > self.memory or used > self._total):
                    self._kill_one()
                    delay = MEMORY_LEAST
            self._total = used
            usage.peak = max(usage.peak, min(used, self.memory))
            self._idle_at = ran if used <= self.memory else -1.0
            cost = time.monotonic() - begun
            # as soon as what is left could be used up, but never so often that looking costs more than 5 %
            delay = min(delay, max(MEMORY_LEAST, 20 * cost, (self.memory - used) / FASTEST))
        else:
            delay = MEMORY_IDLE - time.monotonic() % MEMORY_IDLE  # all containers at the same moment
        container.kernel.loop.later(delay, self._look_at_memory)

    def _kill_one(self) -> None:
        """End the process whose end helps most; oom_score_adj is heeded as the host's killer does."""
        container = self._container
        if self._victim in container.processes:
            return  # it takes a moment to die
        worth = {pid: self._badness(pid) for pid in container.processes}
        victim = max(worth, key=lambda pid: worth[pid])
        if worth[victim] <= 0:
            return  # every process has asked to be spared (oom_score_adj -1000)
        self._killed += 1
        self._victim = victim
        name = container.processes[victim].name
        log.write(
            f"container {container.id[:12]}: memory limit of {self.memory} bytes: killed process {victim} "
            f"({name.decode('utf-8', 'replace')})"
        )
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _badness(self, pid: int) -> int:
        text = host_file_or_nothing(pid, "oom_score_adj")
        adjustment = int(text) if text else 0
        if adjustment <= -1000:
            return 0
        return max(self._container.usage.memory_of(pid) + adjustment * self.memory // 1000, 1)

    # -- processor time

    def _look_later(self, seconds: float) -> None:
        turn = self._turn
        self._container.kernel.loop.later(seconds, lambda: self._look_at_cpu(turn))

    def _look_at_cpu(self, turn: int) -> None:
        if turn != self._turn:
            return  # of a quota that holds no more
        container = self._container
        if not container.processes or not self.cpus:
            if self._held:
                self._release()
            self._cpu_watched = False
            return
        if self._held:
            self._release()
            self._look_later(CPU_PERIOD)
            return
        now = container.usage.cpu_seconds()
        used = max(now - self._used, 0.0)
        excess = used - self.cpus * CPU_PERIOD
        self._used = now
        self.periods.count += used > 0
        if excess > 0 and not container.paused:
            self._held = True
            self.periods.throttled += 1
            self.periods.held_since = time.monotonic()
            container.freeze()
            self._look_later(excess / self.cpus)
        else:
            self._look_later(CPU_PERIOD)

    def _release(self) -> None:
        self._held = False
        self.periods.held += time.monotonic() - self.periods.held_since
        if not self._container.paused:
            self._container.thaw()


class Periods:
    """What cpu.stat tells of a quota: periods in which something ran, those cut short, seconds held."""

    def __init__(self) -> None:
        self.count = 0
        self.throttled = 0
        self.held = 0.0
        self.held_since = 0.0


def list_text(numbers: list[int]) -> str:
    """cpuset(7)'s list format: [0, 1, 2, 4] -> 0-2,4."""
    parts: list[str] = []
    start = None
    for index, number in enumerate(numbers):
        if start is None:
            start = number
        if index + 1 == len(numbers) or numbers[index + 1] != number + 1:
            parts.append(str(start) if start == number else f"{start}-{number}")
            start = None
    return ",".join(parts)
