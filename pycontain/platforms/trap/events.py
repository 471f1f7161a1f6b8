"""The life-cycle of tasks and their signals: stops and ends that ptrace tells of."""

from __future__ import annotations

import fcntl
import functools
import math
import os
import select
import signal
import time
from resource import struct_rusage

from pycontain.platforms.trap import execute, host
from pycontain.platforms.trap.answering import EVENTS
from pycontain.platforms.trap.errands import Errands
from pycontain.platforms.trap.execute import Pending
from pycontain.platforms.trap.orphans import EarlyChildren
from pycontain.platforms.trap.traced import Memories, Memory, Traced

STOP_SIGNALS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
SETTLE = 0.001  # seconds in which a call that signals took back comes again, unless the machine is busy


class ProcessEvents(Errands):
    """The part of TrapPlatform that handles process events."""

    _early: EarlyChildren
    _memories: Memories
    _settling: bool
    _more_events: bool
    _stub_id: tuple[int, int]

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
            traced.memory.shown.discard(traced)
        if traced.handed is not None:
            os.close(traced.handed[1])
        if traced.memory.pid == tid:
            traced.memory.close()
        if traced.task is not None:
            self.kernel.exited(tid, status, usage)
