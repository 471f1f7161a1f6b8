"""The trap platform: notifications, process events and task memory.

Calls come as seccomp notifications on one listener for each process tree that was launched; the life-cycle
and signals come by ptrace, to which every task is seized. Everything runs on one thread, ptrace demands it.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from resource import struct_rusage
from typing import Any

from pycontain.errors import PlatformError
from pycontain.platforms.base import (
    BLOCKING,
    DEFERRED,
    LATER,
    NATIVE,
    Again,
    Call,
    Later,
    Launch,
    Listener,
    Program,
    Sender,
    SyscallFunction,
)
from pycontain.platforms.trap import execute, host, policy, stub, tmpfs
from pycontain.platforms.trap import x86_64 as arch
from pycontain.platforms.trap.bpf import NOTIFY, Rule, compile_filter
from pycontain.platforms.trap.execute import Pending
from pycontain.platforms.trap.fastpath import FastPath
from pycontain.platforms.trap.fastpath.native import RECEIVED, SERVED
from pycontain.platforms.trap.fetching import Fetching
from pycontain.platforms.trap.injection import Injection
from pycontain.platforms.trap.launch import Confinement, spawn
from pycontain.platforms.trap.orphans import EarlyChildren
from pycontain.platforms.trap.placement import Placement
from pycontain.platforms.trap.signals import ERESTARTNOINTR, ERESTARTSYS, SignalStops
from pycontain.platforms.trap.traced import Memories, Memory, Traced
from pycontain.platforms.trap.watching import LOOK, MOST, PATIENCE, Watching, second_filter, sharers

STOP_SIGNALS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
TABLE_SIZE = 512
EVENTS = 4  # of processes that are handled before calls have a turn
PAUSE = 0.001  # seconds that a sender of too many signals waits, and their receiver has to itself
# after these, what the fast path knows of a task may not be so any more: who it is, where it is, what is mounted
CHANGING = (
    "chdir", "fchdir", "chroot", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
    "setfsuid", "setfsgid", "capset", "prctl", "mount", "umount2", "inotify_add_watch", "unshare",
)  # fmt: skip
SETTLE = 0.001  # seconds in which a call that signals took back comes again, unless the machine is busy


def _numbered(rules: Mapping[str, Rule]) -> dict[int, Rule]:
    return {arch.NUMBERS[name]: rule for name, rule in rules.items() if name in arch.NUMBERS}


def _compile(rules: Mapping[str, Rule]) -> bytes:
    return compile_filter(_numbered(rules), NOTIFY, arch.AUDIT_ARCH, arch.X32_BIT)


class TrapPlatform:
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
        self.counts = [0] * TABLE_SIZE  # received calls by number
        self._poll = poll
        self._handlers = handlers
        self._tasks: dict[int, Traced] = {}
        self._early = EarlyChildren(kernel.later, self._tasks)
        self.fast = FastPath.load(poll)
        self._memories = Memories(self.fast)
        self._placement = Placement(kernel.later, self.fast)
        self._functions: list[SyscallFunction | None] = [None] * TABLE_SIZE
        self._names: list[str] = [f"syscall_{n}" for n in range(TABLE_SIZE)]
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

    @functools.cached_property
    def takes_fds(self) -> bool:
        return host.has_pidfd_getfd()

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

    def _show(self, traced: Traced) -> None:
        """It may answer those to come."""
        fast = self.fast
        assert fast is not None
        memory = traced.memory.fd
        shown = self.kernel.show(traced.task) if memory >= 0 and not traced.interrupted else None
        if shown is None:
            return
        if traced not in traced.memory.shown:
            traced.memory.shown.append(traced)
        fast.show(
            traced.tid, memory, shown.descriptors, shown.tree, shown.identity, shown.cwd, shown.pid, traced.sharing
        )
        traced.epoch = fast.epoch

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

    # -- calls

    def _ready(self, listener: int, events: int) -> None:
        fast = self.fast
        if fast is not None and events & RECEIVED:
            missing = fast.missing(events)
            traced = self._answer(listener, fast.received(events))
            if traced is not None:
                if missing is not None or fast.changed:
                    self.kernel.teach(traced.task, missing)
                if traced.epoch != fast.epoch and not traced.call:
                    self._show(traced)
            return
        if events & SERVED:
            return
        if not events & select.EPOLLIN:
            if fast is not None:
                fast.listen(listener, False)
            self._poll.unregister(listener)  # the last task of the tree has gone
            del self._handlers[listener]
            os.close(listener)
            return
        buffer = bytearray(80)
        try:
            fcntl.ioctl(listener, host.NOTIF_RECV, buffer)
        except OSError:
            return  # the task is gone, or a signal took the call back
        self._answer(listener, buffer)

    def _answer(self, listener: int, buffer: bytes | bytearray) -> Traced | None:
        """Answer a received call, or let the kernel's function do it later. Returns who made it, if it is known."""
        call, tid, number = host.NOTIF.unpack_from(buffer)
        args = host.NOTIF_ARGUMENTS.unpack_from(buffer, host.NOTIF.size)
        traced = self._tasks.get(tid)
        if traced is None:
            while traced is None and not self.reap(EVENTS):  # its birth must be among the events
                traced = self._tasks.get(tid)
            traced = self._tasks.get(tid)
            if traced is None:
                self._send(listener, call, -errno.ENOSYS, 0)
                return None
        traced.call = call
        traced.number = number
        traced.listener = listener
        if traced.sharing:
            traced.calls += 1
        else:
            self._placement.called(traced)
        traced.signals = traced.taken_back = 0
        traced.interrupted = False
        if traced.postponed:
            self._signals.received(traced)
        pending = traced.pending
        if pending is not None:
            if pending.stage == 2 and number == self._execveat and args[0] == pending.stub_fd:
                pending.stage = 3
                traced.call = 0
                try:
                    host.ptrace(host.PTRACE_INTERRUPT, tid)  # where it fails; an exec event takes the wish back
                except ProcessLookupError:
                    return None  # about to be reaped
                self._send(listener, call, 0, host.USER_NOTIF_FLAG_CONTINUE)
                return None
            traced.pending = None  # cannot be: an exec that fails is a stop before this
        function = None
        if 0 <= number < TABLE_SIZE:
            self.counts[number] += 1
            function = self._functions[number]
        if function is None:
            self.kernel.unknown(self._names[number] if 0 <= number < TABLE_SIZE else f"syscall_{number}")
            self._send(listener, call, -errno.ENOSYS, 0)
            return None
        try:
            value = function(traced.task, args)
        except OSError as error:
            value = -(error.errno or errno.EIO)
        except Later:
            value = LATER
        except Again:
            value = -ERESTARTSYS
        except Exception as error:  # a bug of ours fails one call, never the kernel
            self.kernel.failed(traced.task, self._names[number], error)
            value = -errno.EIO
        if number in self._changing and self.fast is not None:
            self.fast.new_epoch()
        if value is DEFERRED:
            return traced
        if value is LATER:
            self.counts[number] -= 1
            self.kernel.later(PAUSE, lambda: self._again(traced, listener, buffer))
            return None
        traced.call = 0
        if value is NATIVE or value is BLOCKING:
            traced.interrupted = value is BLOCKING
            self._send(listener, call, 0, host.USER_NOTIF_FLAG_CONTINUE)
            return traced
        try:
            if value < 0 and value >= -4095:
                fcntl.ioctl(listener, host.NOTIF_SEND, host.NOTIF_RESP.pack(call, 0, value, 0))
            else:
                fcntl.ioctl(listener, host.NOTIF_SEND, host.NOTIF_RESP.pack(call, value, 0, 0))
        except InterruptedError:
            self._send(listener, call, value, 0)
        except OSError:
            pass  # ENOENT: the task died
        return traced

    def _again(self, traced: Traced, listener: int, buffer: bytes | bytearray) -> None:
        if self._tasks.get(traced.tid) is traced and traced.call == host.NOTIF.unpack_from(buffer)[0]:
            self._answer(listener, buffer)

    def _send(self, listener: int, call: int, value: int, flags: int) -> None:
        """The host gives up before it has done anything (EINTR) where it finds its lock taken while we are about to be
        stopped or frozen."""
        error, result = (value, 0) if -4095 <= value < 0 else (0, value)
        while True:
            try:
                fcntl.ioctl(listener, host.NOTIF_SEND, host.NOTIF_RESP.pack(call, result, error, flags))
            except InterruptedError:
                continue
            except OSError:
                pass  # ENOENT: the task died
            return

    def finish(self, task: Any, value: int) -> None:
        traced = self._tasks.get(task.tid)
        if traced is None or not traced.call:
            return
        call, traced.call = traced.call, 0
        if value == -ERESTARTSYS:
            traced.interrupted = True
        self._send(traced.listener, call, value, 0)

    def send_fd(self, task: Any, fd: int, cloexec: bool, keep: bool = False) -> Any:
        """In two steps, though the host has one for it (SECCOMP_ADDFD_FLAG_SEND). When something interrupts us in the
        middle of that one, the task has its answer, which is 0, and no descriptor. No signal does, they are blocked;
        but a stop and a freezer do: SIGSTOP, a debugger, a machine that sleeps."""
        traced: Traced = task.io
        listener, call = traced.listener, traced.call
        request = bytearray(host.NOTIF_ADD.pack(call, 0, fd, 0, os.O_CLOEXEC if cloexec else 0))
        try:
            number = fcntl.ioctl(listener, host.NOTIF_ADDFD, request)
        except InterruptedError:
            number = self._add(traced, fd, cloexec)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise  # EMFILE and the like are the call's result
            return DEFERRED  # the task died
        finally:
            if not keep:
                os.close(fd)
        traced.call = 0
        try:
            fcntl.ioctl(listener, host.NOTIF_SEND, host.NOTIF_RESP.pack(call, number, 0, 0))
        except OSError:
            self._send(listener, call, number, 0)
        return DEFERRED

    def put_fd(self, task: Any, fd: int, cloexec: bool, at: int | None = None) -> int:
        try:
            return self._add(self._tasks[task.tid], fd, cloexec, at)
        finally:
            os.close(fd)

    def _add(self, traced: Traced, fd: int, cloexec: bool, at: int | None = None) -> int:
        flags = 0 if at is None else host.ADDFD_FLAG_SETFD
        request = host.NOTIF_ADD.pack(traced.call, flags, fd, at or 0, os.O_CLOEXEC if cloexec else 0)
        while True:
            try:
                # a bytearray, not bytes: only then does ioctl return the call's result
                number: int = fcntl.ioctl(traced.listener, host.NOTIF_ADDFD, bytearray(request))
                return number
            except InterruptedError:
                continue  # see _send

    def afterwards(self, task: Any, calls: Sequence[Call]) -> None:
        traced = self._tasks[task.tid]
        if traced.injection is not None:
            traced.injection.add(calls)
        else:
            traced.injection = Injection(calls)
            host.ptrace(host.PTRACE_INTERRUPT, traced.tid)  # holds when the call has been answered

    def instead(self, task: Any, arguments: tuple[int, ...]) -> int:
        traced = self._tasks[task.tid]
        traced.injection = Injection([(self._names[traced.number], arguments)], result=True)
        host.ptrace(host.PTRACE_INTERRUPT, traced.tid)
        return 0

    def carry_out(self, task: Any, then: Callable[[int], int | None]) -> Any:
        traced = self._tasks[task.tid]
        traced.then = then
        host.ptrace(host.PTRACE_INTERRUPT, traced.tid)
        call, traced.call = traced.call, 0
        self._send(traced.listener, call, 0, host.USER_NOTIF_FLAG_CONTINUE)
        return DEFERRED

    def watch(self, task: Any) -> Any:
        traced = self._tasks[task.tid]
        if traced.watched or traced.injection is not None or traced.watching is not None:
            return NATIVE
        others = sharers(traced, self._tasks.values())
        if others is None or len(others) > MOST:
            return NATIVE
        for other in others:
            if other.watching or other.injection or other.pending or other.holding:
                return NATIVE  # another time
        watching = Watching(self._second_filter, others, lambda: self._watched(traced, watching, others))
        for other in others:
            other.watching = watching
            try:
                host.ptrace(host.PTRACE_INTERRUPT, other.tid)
            except ProcessLookupError:
                pass  # about to be reaped
        self._gather(traced, watching, others, time.monotonic() + PATIENCE)
        return DEFERRED

    def _gather(self, traced: Traced, watching: Watching, others: set[Traced], deadline: float) -> None:
        """When all others have stopped, it begins."""
        if not traced.call or self._tasks.get(traced.tid) is not traced:
            self._watched(traced, watching, others)
            return
        watching.others = {other for other in watching.others if self._tasks.get(other.tid) is other}
        if watching.others and time.monotonic() < deadline:
            self.kernel.later(LOOK, lambda: self._gather(traced, watching, others, deadline))
            return
        now = sharers(traced, self._tasks.values())
        if watching.others or now is None or now - others:
            self._watched(traced, watching, others)
        else:
            traced.injection = watching
            host.ptrace(host.PTRACE_INTERRUPT, traced.tid)
        call, traced.call = traced.call, 0
        self._send(traced.listener, call, 0, host.USER_NOTIF_FLAG_CONTINUE)

    def _watched(self, traced: Traced, watching: Watching, others: set[Traced]) -> None:
        """It is over: the others go on, and threads have the filter, too."""
        traced.watched |= watching.worked
        for other in others:
            other.watching = None
            if other.memory is traced.memory:
                other.watched |= watching.worked
            if other not in watching.others and self._tasks.get(other.tid) is other:
                if other.holding:
                    other.held = True
                else:
                    try:
                        other.go_on()
                    except ProcessLookupError:
                        pass

    def _install(self, task: Any, args: tuple[int, ...]) -> Any:
        """seccomp(2), which is refused to programs."""
        watching = self._tasks[task.tid].injection
        if isinstance(watching, Watching) and watching.installing:
            return NATIVE
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def _message(self, traced: Traced) -> None:
        """A task with the second filter stands before a call that sends or receives."""
        if traced.injection is not None:
            host.ptrace(host.PTRACE_SYSCALL, traced.tid)
            return
        registers = list(arch.REGISTERS.unpack(host.get_registers(traced.tid)))
        name = self._names[registers[arch.CALL_NUMBER]]
        try:
            told = self.kernel.message(traced.task, name, [registers[r] for r in arch.ARGUMENTS])
        except ProcessLookupError:
            raise
        except OSError as error:
            told = -(error.errno or errno.EIO)
        if callable(told):
            traced.then = told
            host.ptrace(host.PTRACE_SYSCALL, traced.tid)
            return
        if told is not None:
            registers[arch.CALL_NUMBER] = (1 << 64) - 1  # no call
            registers[arch.RESULT] = told & (1 << 64) - 1
            host.set_registers(traced.tid, arch.REGISTERS.pack(*registers))
        traced.go_on()

    def fetch_fds(self, task: Any, numbers: Sequence[int], then: Callable[[list[int]], int]) -> Any:
        if self.takes_fds:
            taken: list[int] = []
            try:
                for number in numbers:
                    taken.append(self.take_fd(task, number))
            except BaseException:
                for fd in taken:
                    os.close(fd)
                raise
            return then(taken)
        traced = self._tasks[task.tid]
        own, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            number = self.put_fd(task, end.detach(), True)
        except BaseException:
            own.close()
            raise
        traced.injection = Fetching(own, number, numbers, then)
        host.ptrace(host.PTRACE_INTERRUPT, traced.tid)
        return 0

    def take_fd(self, task: Any, fd: int) -> int:
        traced = self._tasks[task.tid]
        if not self.takes_fds:
            return self._handed_over(task, traced, fd)
        pidfd = os.pidfd_open(traced.memory.pid)
        try:
            return host.pidfd_getfd(pidfd, fd)
        finally:
            os.close(pidfd)

    def _handed_over(self, task: Any, traced: Traced, fd: int) -> int:
        """It sends us the descriptor if nothing else gets it here, and makes its call again."""
        kept, traced.handed = traced.handed, None
        if kept is not None:
            number, taken = kept
            if number == fd:
                return taken
            os.close(taken)  # of a call that a signal's handler has come in between

        def keep(fds: list[int]) -> int:
            traced.handed = fd, fds[0]
            return -ERESTARTNOINTR

        try:
            self.fetch_fds(task, [fd], keep)
        except OSError as error:
            raise PermissionError(errno.EPERM, "no descriptor is left to hand it over") from error
        raise Again

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

    def reap_some(self) -> None:
        """Handle process events, and let calls have a turn where these do not end."""
        if not self._more_events:
            self._more_events = not self.reap(EVENTS)
            if self._more_events:
                self.kernel.later(0.0, self._reap_on)

    def _reap_on(self) -> None:
        self._more_events = False
        self.reap_some()

    def reap(self, most: float = math.inf) -> bool:
        """Handle every process event that the host has for us; or so many, and return False if there are more."""
        while most > 0:
            most -= 1
            try:
                tid, status, usage = os.wait4(-1, os.WNOHANG | host.WALL)
            except ChildProcessError:
                return True
            if tid == 0:
                urgent, self._signals.urgent = self._signals.urgent, None
                if urgent is not None and not self._settling:
                    self._settle(urgent)
                return True
            try:
                if os.WIFSTOPPED(status):
                    self._stopped(tid, status >> 16, os.WSTOPSIG(status))
                else:
                    self._gone(tid, status, usage)
            except ProcessLookupError:
                pass  # killed while stopped: its exit comes next
            except (
                Exception
            ) as error:  # a bug of ours, or a task that set a trap: it ends, the kernel goes on
                traced = self._tasks.get(tid)
                self.kernel.failed(traced.task if traced is not None else None, "process event", error)
                try:
                    os.kill(tid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        return False

    def _settle(self, traced: Traced) -> None:
        """Receive the call that signals took back too often before any other is answered.

        Who sends them, sends them by calls too; those that come meanwhile wait for their answer until this one
        has been received: after that no signal takes it back.
        """
        listener, others = traced.listener, []
        deadline = time.monotonic() + SETTLE
        ready = select.poll()
        ready.register(listener, select.POLLIN)
        self._settling = True
        try:
            while traced.taken_back and time.monotonic() < deadline and traced.tid in self._tasks:
                if not ready.poll(0):
                    if self.reap(EVENTS):  # not all: where signals come without end, events do
                        os.sched_yield()  # it may share our processor
                    continue
                buffer = bytearray(80)
                try:
                    fcntl.ioctl(listener, host.NOTIF_RECV, buffer)
                except OSError:
                    continue
                if host.NOTIF.unpack_from(buffer)[1] == traced.tid:
                    self._answer(listener, buffer)
                else:
                    others.append(buffer)
        finally:
            self._settling = False
        for buffer in others:
            self._answer(listener, buffer)

    def _stopped(self, tid: int, event: int, signum: int) -> None:
        traced = self._tasks.get(tid)
        if traced is None:
            self._early.add(tid)  # a child; it waits until its parent's event tells whose
            return
        pending = traced.pending
        if event == host.EVENT_SECCOMP:
            self._message(traced)
            return
        if event == 0 and signum == host.SYSCALL_STOP:
            traced.returned()
            if traced.injection is None and (pending is None or pending.stage == 1):
                traced.go_on()
                return
        if traced.then is not None and event == host.EVENT_STOP and signum not in STOP_SIGNALS:
            traced.returned()
        if event == 0:
            self._placement.stopped(traced)
            if traced.injection is not None:
                traced.injection.stopped(traced, signum)
            elif pending is None or pending.stage == 1:
                self._signals.stopped(traced, signum)
            elif signum != host.SYSCALL_STOP:
                pending.held.append((signum, host.get_signal_information(tid)))
                traced.go_on()
            else:
                pending.inside = not pending.inside
                if not pending.inside and not execute.clean_up(traced, pending):
                    traced.pending = None
                    traced.signal_again(pending.held)
                traced.go_on()
        elif event in (host.EVENT_FORK, host.EVENT_VFORK, host.EVENT_CLONE):
            self._forked(traced, event)
        elif event == host.EVENT_EXEC:
            self._execed(traced)
        elif event == host.EVENT_STOP and signum in STOP_SIGNALS:
            host.ptrace(host.PTRACE_LISTEN, tid)  # a job-control stop: stay stopped until SIGCONT
        elif event == host.EVENT_STOP and pending is not None and pending.stage == 1:
            try:
                execute.call_stub(traced, pending)
            except ProcessLookupError:
                raise
            except OSError:
                # no room for a script's arguments below the stack: there is no way back to the caller's exec
                traced.pending = None
                os.kill(traced.memory.pid, signal.SIGKILL)
            traced.go_on()
        elif event == host.EVENT_STOP and pending is not None and pending.stage == 3:
            pause = execute.refused(traced, pending)
            if pause:
                self.kernel.later(pause, functools.partial(self._exec_again, traced, pending))
            else:
                traced.go_on()
        elif event == host.EVENT_STOP and traced.watching is not None:
            traced.watching.others.discard(traced)
        elif event == host.EVENT_STOP and traced.injection is not None:
            traced.injection.begin(traced)
        elif event == host.EVENT_STOP and traced.holding:
            traced.held = True
        else:
            traced.go_on()

    def _exec_again(self, traced: Traced, pending: Pending) -> None:
        if self._tasks.get(traced.tid) is traced and traced.pending is pending:
            try:
                execute.try_again(traced, pending)
                traced.go_on()
            except ProcessLookupError:
                pass  # killed while it stood there

    def _forked(self, traced: Traced, event: int) -> None:
        child = host.event_message(traced.tid)
        pid = traced.memory.pid
        thread = event == host.EVENT_CLONE and os.path.exists(f"/proc/{pid}/task/{child}")
        memory = traced.memory if thread else Memory(child, self._memories)
        new = Traced(child, traced.listener, memory, None)
        new.task = self.kernel.forked(traced.task, child, thread)
        new.task.io = new
        new.holding = traced.holding
        new.watched = traced.watched
        self._tasks[child] = new
        self._placement.forked(new, traced)
        if self._early.take(child):
            if new.holding:
                new.held = True
            else:
                try:
                    host.ptrace(host.PTRACE_CONT, child)
                except ProcessLookupError:
                    pass
        host.ptrace(host.PTRACE_CONT, traced.tid)

    def _execed(self, traced: Traced) -> None:
        tid = traced.tid
        old = host.event_message(tid)
        source = traced if old == tid else self._tasks.get(old, traced)
        pending, source.pending = source.pending, None
        if old != tid:
            self._tasks.pop(old, None)
            traced.pending = None  # the leader was about to exec something else
        self._placement.execed(traced, source)
        if self.fast is not None:
            self.fast.gone(old)
        traced.hide(self.fast)
        traced.memory.close()
        traced.memory = Memory(tid, self._memories)
        traced.call = 0
        traced.injection = traced.then = None
        if pending is None or pending.stage != 3:
            os.kill(tid, signal.SIGKILL)  # not an exec of ours: cannot be, so end it
            host.ptrace(host.PTRACE_CONT, tid)
            return
        if execute.install(traced, pending, self._stub_id):
            self.kernel.execed(traced.task, old)
            if self.fast is not None:
                self._show(traced)
            traced.signal_again(pending.held)
        if traced.holding:
            host.ptrace(host.PTRACE_INTERRUPT, tid)  # the wish to hold it was lost on the way
        host.ptrace(host.PTRACE_CONT, tid)

    def _gone(self, tid: int, status: int, usage: struct_rusage) -> None:
        self._early.take(tid)
        traced = self._tasks.pop(tid, None)
        if traced is None:
            return
        self._placement.gone(traced)
        if self.fast is not None:
            self.fast.gone(tid)
            traced.epoch = -1
        if traced.handed is not None:
            os.close(traced.handed[1])
        if traced.memory.pid == tid:
            traced.memory.close()
        if traced.task is not None:
            self.kernel.exited(tid, status, usage)
