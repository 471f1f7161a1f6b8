"""The platform's record of a task, and of its memory."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pycontain.platforms.trap import host
from pycontain.platforms.trap import x86_64 as arch

if TYPE_CHECKING:
    from pycontain.platforms.trap.execute import Pending
    from pycontain.platforms.trap.fastpath import FastPath
    from pycontain.platforms.trap.injection import Injection
    from pycontain.platforms.trap.watching import Watching

FIRST_COUNTED = 32  # signal: those below are pending or not, however often they are sent (signal(7))
OPEN_MEMORIES = 256  # descriptors of /proc/PID/mem that are kept open


class Memories:
    """The open ones of all address spaces; the oldest is closed when there are too many."""

    def __init__(self, fast: FastPath | None) -> None:
        self.recent: deque[Memory] = deque()
        self.fast = fast

    def opened(self, memory: Memory) -> None:
        self.recent.append(memory)
        if len(self.recent) > OPEN_MEMORIES:
            self.recent.popleft().close()


class Memory:
    """The memory of an address space through /proc/PID/mem; opened on first use, renewed by exec."""

    __slots__ = ("fd", "memories", "pid", "shown")

    def __init__(self, pid: int, memories: Memories) -> None:
        self.pid = pid
        self.fd = -1
        self.memories = memories
        self.shown: set[Traced] = set()  # tasks of which the fast path knows the descriptor

    def open(self) -> int:
        if self.fd < 0:
            self.fd = os.open(f"/proc/{self.pid}/mem", os.O_RDWR | os.O_CLOEXEC)
            self.memories.opened(self)
        return self.fd

    def close(self) -> None:
        if self.fd >= 0:
            for traced in self.shown:
                traced.hide(self.memories.fast)
            self.shown.clear()
            os.close(self.fd)
            self.fd = -1


class Traced:
    """The platform's side of a task (a thread)."""

    __slots__ = (
        "call",
        "called",
        "calls",
        "epoch",
        "handed",
        "held",
        "holding",
        "injection",
        "interrupted",
        "listener",
        "memory",
        "number",
        "pending",
        "postponed",
        "processors",
        "returning",
        "shared",
        "sharing",
        "signals",
        "taken_back",
        "task",
        "then",
        "tid",
        "watched",
        "watching",
    )

    def __init__(self, tid: int, listener: int, memory: Memory, task: Any) -> None:
        self.tid = tid
        self.listener = listener
        self.memory = memory
        self.task = task
        self.call = 0  # id of the notification that waits for an answer, 0: none
        self.number = -1
        self.epoch = -1  # in which the fast path was told of it; -1: it does not answer its calls
        # see placement.py
        self.processors: frozenset[int] | None = None  # that it may run on; None: all
        self.called = 0.0  # when it last called, while it did not share
        self.sharing = False  # the kernel's processor
        self.shared = False  # it has done so since it last made a child
        self.calls = 0  # in this turn
        self.pending: Pending | None = None
        self.injection: Injection | None = None
        self.handed: tuple[int, int] | None = None  # (its number, ours) of a descriptor that it has sent us
        self.then: Callable[[int], int | None] | None = None  # see Platform.carry_out
        # see watching.py
        self.watched = False  # it has the second filter
        self.watching: Watching | None = None  # of another thread, for which it has to stop
        self.holding = False  # it shall not run
        self.held = False  # it stands in the stop that keeps it
        self.interrupted = False  # we answered -ERESTARTSYS on purpose, or it waits in the host: that decides
        self.signals = 0  # delivered since its last call
        self.taken_back = 0  # how often signals took this call back before we received it
        self.postponed: list[tuple[int, bytes]] = []  # signals, with siginfo, that wait until we receive it
        self.returning: list[tuple[int, bytes]] = []  # of these, sent again and not yet delivered

    def hide(self, fast: FastPath | None) -> None:
        """The fast path shall not answer its next call."""
        if fast is not None and self.epoch >= 0:
            self.epoch = -1
            fast.hide(self.tid)

    def returned(self) -> None:
        """It stands where a call returns that the host has carried out for us: the kernel may change what came of it."""
        then, self.then = self.then, None
        if then is None:
            return
        registers = list(arch.REGISTERS.unpack(host.get_registers(self.tid)))
        result = registers[arch.RESULT]
        try:
            told = then(result - (1 << 64) if result >> 63 else result)
        except ProcessLookupError:
            raise
        except OSError as error:
            told = -(error.errno or errno.EIO)
        if told is not None:
            registers[arch.RESULT] = told & (1 << 64) - 1
            host.set_registers(self.tid, arch.REGISTERS.pack(*registers))

    def go_on(self) -> None:
        """From a stop. What it does for an exec that has failed is watched call by call."""
        watched = self.pending is not None and self.pending.stage == 5
        host.ptrace(host.PTRACE_SYSCALL if watched else host.PTRACE_CONT, self.tid)

    def signal_again(self, signals: Iterable[tuple[int, bytes]]) -> None:
        """Signals, with siginfo, that have waited come now; each tells again who sent it first (see SignalStops)."""
        for signum, information in signals:
            if signum < FIRST_COUNTED and any(number == signum for number, _ in self.returning):
                continue  # one is on its way already, and the host would not queue another
            self.returning.append((signum, information))
            host.tgkill(self.memory.pid, self.tid, signum)

    def read(self, address: int, size: int) -> bytes:
        memory = self.memory
        try:
            data = os.pread(memory.fd if memory.fd >= 0 else memory.open(), size, address)
        except (OSError, OverflowError):
            raise OSError(errno.EFAULT, "bad address") from None
        if not data and size:
            raise OSError(errno.EFAULT, "bad address")
        return data

    def write(self, address: int, data: bytes) -> None:
        memory = self.memory
        try:
            done = os.pwrite(memory.fd if memory.fd >= 0 else memory.open(), data, address)
        except PermissionError:
            host.process_vm_write(self.tid, address, data)
            return
        except (OSError, OverflowError):
            raise OSError(errno.EFAULT, "bad address") from None
        if done != len(data):
            raise OSError(errno.EFAULT, "bad address")
