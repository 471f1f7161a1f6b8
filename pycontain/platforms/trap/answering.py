"""Calls that come as notifications, and their answers."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import select
from collections.abc import Callable
from typing import Any

from pycontain.platforms.base import (
    BLOCKING,
    DEFERRED,
    LATER,
    NATIVE,
    Again,
    Later,
    Listener,
    SyscallFunction,
)
from pycontain.platforms.trap import host
from pycontain.platforms.trap.fastpath import FastPath
from pycontain.platforms.trap.fastpath.native import RECEIVED, SERVED
from pycontain.platforms.trap.placement import Placement
from pycontain.platforms.trap.signals import ERESTARTSYS, SignalStops
from pycontain.platforms.trap.traced import Traced

TABLE_SIZE = 512
EVENTS = 4  # of processes that are handled before calls have a turn
PAUSE = 0.001  # seconds that a sender of too many signals waits, and their receiver has to itself


class Answering:
    """The part of TrapPlatform that receives calls and answers them."""

    kernel: Listener
    counts: list[int]  # received calls by number
    fast: FastPath | None
    _poll: select.epoll
    _handlers: dict[int, Callable[[int], None]]
    _tasks: dict[int, Traced]
    _placement: Placement
    _signals: SignalStops
    _functions: list[SyscallFunction | None]
    _names: list[str]
    _changing: set[int]
    _execveat: int

    def reap(self, most: float = math.inf) -> bool:
        """See ProcessEvents."""
        raise NotImplementedError

    def _show(self, traced: Traced) -> None:
        """The fast path may answer the task's calls to come."""
        fast = self.fast
        assert fast is not None
        memory = traced.memory.fd
        shown = self.kernel.show(traced.task) if memory >= 0 and not traced.interrupted else None
        if shown is None:
            return
        traced.memory.shown.add(traced)
        fast.show(
            traced.tid, memory, shown.descriptors, shown.tree, shown.identity, shown.cwd, shown.pid, traced.sharing
        )
        traced.epoch = fast.epoch

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
