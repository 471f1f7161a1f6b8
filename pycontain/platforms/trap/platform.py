"""The trap platform: how programs execute natively under the kernel.

Calls come as seccomp notifications on one listener for each process tree that was launched; the life-cycle
and signals come by ptrace, to which every task is seized. Everything runs on one thread, ptrace demands it.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import select
import signal
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pycontain.errors import PlatformError
from pycontain.platforms.base import (
    DEFERRED,
    Launch,
    Listener,
    Program,
    Sender,
    SyscallFunction,
)
from pycontain.platforms.trap import execute, host, policy, stub, tmpfs
from pycontain.platforms.trap import x86_64 as arch
from pycontain.platforms.trap.answering import TABLE_SIZE
from pycontain.platforms.trap.bpf import NOTIFY, Rule, compile_filter
from pycontain.platforms.trap.events import ProcessEvents
from pycontain.platforms.trap.execute import Pending
from pycontain.platforms.trap.fastpath import FastPath
from pycontain.platforms.trap.launch import Confinement, spawn
from pycontain.platforms.trap.orphans import EarlyChildren
from pycontain.platforms.trap.placement import Placement
from pycontain.platforms.trap.signals import SignalStops
from pycontain.platforms.trap.traced import Memories, Memory, Traced
from pycontain.platforms.trap.watching import second_filter

# after these, what the fast path knows of a task may not be so any more: who it is, where it is, what is mounted
CHANGING = (
    "chdir", "fchdir", "chroot", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
    "setfsuid", "setfsgid", "capset", "prctl", "mount", "umount2", "inotify_add_watch", "unshare",
)  # fmt: skip


def _numbered(rules: Mapping[str, Rule]) -> dict[int, Rule]:
    return {arch.NUMBERS[name]: rule for name, rule in rules.items() if name in arch.NUMBERS}


def _compile(rules: Mapping[str, Rule]) -> bytes:
    return compile_filter(_numbered(rules), NOTIFY, arch.AUDIT_ARCH, arch.X32_BIT)


class TrapPlatform(ProcessEvents):
    """See platforms.base.Platform. `functions` and `rules` are by call name; the kernel's table makes both."""

    def __init__(
        self,
        kernel: Listener,
        functions: Mapping[str, SyscallFunction],
        rules: Mapping[str, Rule],
        counting_rules: Mapping[str, Rule],
        poll: select.epoll,
        handlers: dict[int, Callable[[int], None]],
        uid: int | None,
    ) -> None:
        """poll and handlers are the kernel's event loop: handlers[fd](events)."""
        self.kernel = kernel
        self.counts = [0] * TABLE_SIZE
        self._poll = poll
        self._handlers = handlers
        self._tasks = {}
        self._early = EarlyChildren(kernel.later, self._tasks)
        self.fast = FastPath.load(poll)
        self._memories = Memories(self.fast)
        self._placement = Placement(kernel.later, self.fast)
        self._functions = [None] * TABLE_SIZE
        self._names = [f"syscall_{n}" for n in range(TABLE_SIZE)]
        for name, number in arch.NUMBERS.items():
            self._names[number] = name
            self._functions[number] = functions.get(name)
        self._changing = {arch.NUMBERS[name] for name in CHANGING if name in arch.NUMBERS}
        self._functions[arch.NUMBERS["seccomp"]] = self._install
        self._second_filter = second_filter()
        self._signals = SignalStops(_numbered(counting_rules), kernel.sender, self.fast)
        self._settling = False
        self._more_events = False
        self._execveat = arch.NUMBERS["execveat"]
        self._stub = stub.exec_stub()
        self._stub_id = execute.identity(self._stub)
        flags = host.FILTER_FLAG_NEW_LISTENER | host.FILTER_FLAG_WAIT_KILLABLE_RECV
        self._confinement = Confinement(_compile(rules), flags, uid)
        self._counting = Confinement(_compile(counting_rules), flags, uid)

    @property
    def restarts(self) -> int:
        return self._signals.restarts

    @property
    def watched(self) -> range:
        return policy.WATCHED

    def calls(self) -> dict[str, int]:
        """How often each call was received, by name."""
        counts = self.counts
        if self.fast is not None:
            counts = [own + fast for own, fast in zip(counts, self.fast.answered(), strict=True)]
        return {name: count for name, count in zip(self._names, counts, strict=True) if count}

    def fast_calls(self) -> int:
        return 0 if self.fast is None else sum(self.fast.answered())

    def hide(self, task: Any) -> None:
        task.io.hide(self.fast)

    # -- starting

    def launch(self, launch: Launch, adopt: Callable[[int], Any]) -> Any:
        traced: list[Traced] = []

        def seize(pid: int) -> None:
            try:
                host.ptrace(host.PTRACE_SEIZE, pid, 0, host.PTRACE_OPTIONS)
            except OSError as error:
                os.kill(pid, signal.SIGKILL)
                raise PlatformError(
                    f"start a process: ptrace is refused here: {error.strerror}",
                    hint="see `pycontain kernel check`",
                )
            new = Traced(pid, -1, Memory(pid, self._memories), None)
            traced.append(new)
            self._tasks[pid] = new
            self._placement.launched(new)

        confinement = self._counting if launch.count_tasks else self._confinement
        pid, listener = spawn(confinement, launch, seize)
        new = traced[0]
        new.listener = listener
        try:
            fcntl.ioctl(listener, host.NOTIF_SET_FLAGS, host.SYNC_WAKE_UP)
        except OSError:
            pass  # before Linux 6.6: slower, nothing else
        new.task = adopt(pid)
        new.task.io = new
        self._handlers[listener] = functools.partial(self._ready, listener)
        self._poll.register(listener, select.EPOLLIN)
        if self.fast is not None:
            self.fast.listen(listener, True)
        return new.task

    # -- memory

    def read(self, task: Any, address: int, size: int) -> bytes:
        return self._tasks[task.tid].read(address, size)

    def write(self, task: Any, address: int, data: bytes) -> None:
        self._tasks[task.tid].write(address, data)

    def traced(self, tid: int) -> Traced:
        """The platform's record of a task; the kernel's task keeps it for quick memory access."""
        return self._tasks[tid]

    # -- exec

    def execute(self, task: Any, program: Program) -> Any:
        traced = self._tasks[task.tid]
        try:
            stub_fd = self._add(traced, self._stub, True)
            fd = self._add(traced, program.fd, False)
            interpreter = self._add(traced, program.interpreter_fd, False) if program.interpreter else -1
            pending = Pending(program, stub_fd, fd, interpreter)
            pending.file_id = execute.identity(program.fd)
            if program.interpreter:
                pending.interpreter_id = execute.identity(program.interpreter_fd)
        finally:
            os.close(program.fd)
            if program.interpreter:
                os.close(program.interpreter_fd)
        traced.pending = pending
        host.ptrace(host.PTRACE_INTERRUPT, traced.tid)
        call, traced.call = traced.call, 0
        self._send(traced.listener, call, 0, 0)
        return DEFERRED

    # -- holding

    def hold(self, task: Any) -> None:
        traced = self._tasks.get(task.tid)
        if traced is not None and not traced.holding:
            traced.holding = True
            try:
                host.ptrace(host.PTRACE_INTERRUPT, task.tid)
            except ProcessLookupError:
                pass  # about to be reaped

    def release(self, task: Any) -> None:
        traced = self._tasks.get(task.tid)
        if traced is None:
            return
        traced.holding = False
        if traced.held:
            traced.held = False
            try:
                traced.go_on()
            except ProcessLookupError:
                pass

    # -- life-cycle

    def limited_directory(self, size: int) -> int | None:
        return tmpfs.make(size)

    def kill(self, pid: int, tid: int | None, signum: int, sender: Sender | None = None) -> None:
        if sender is not None and signum and self._signals.send(pid, tid, signum, sender):
            return
        if tid is None:
            os.kill(pid, signum)
        else:
            host.tgkill(pid, tid, signum)

    def processors(self, tid: int) -> frozenset[int]:
        traced = self._tasks.get(tid)
        return self._placement.everywhere if traced is None else self._placement.processors(traced)

    def place(self, tid: int, processors: Collection[int]) -> None:
        traced = self._tasks.get(tid)
        if traced is None:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        self._placement.choose(traced, processors)

    def awaited(self, task: Any) -> int:
        traced = self._tasks[task.tid]
        try:
            with open(f"/proc/{traced.tid}/syscall", "rb") as file:
                words = file.read().split()  # the call's number and arguments, or "running"
            if len(words) < 2 or words[0] != b"%d" % arch.NUMBERS["rt_sigtimedwait"]:
                return 0
            return int.from_bytes(traced.read(int(words[1], 16), 8), "little")
        except (OSError, OverflowError):
            return 0

    def flooded(self, pid: int) -> bool:
        traced = self._tasks.get(pid)
        return traced is not None and self._signals.flooded(traced)
