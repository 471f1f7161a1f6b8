"""What a task does for the kernel: calls that only it can make, and descriptors that it hands over."""

from __future__ import annotations

import errno
import functools
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from pycontain.platforms.base import (
    DEFERRED,
    NATIVE,
    Again,
    Call,
)
from pycontain.platforms.trap import host
from pycontain.platforms.trap import x86_64 as arch
from pycontain.platforms.trap.answering import Answering
from pycontain.platforms.trap.fetching import Fetching
from pycontain.platforms.trap.injection import Injection
from pycontain.platforms.trap.signals import ERESTARTNOINTR
from pycontain.platforms.trap.traced import Traced
from pycontain.platforms.trap.watching import LOOK, MOST, PATIENCE, Watching, sharers


class Errands(Answering):
    """The part of TrapPlatform that makes tasks do something which they do not notice."""

    _second_filter: bytes

    @functools.cached_property
    def takes_fds(self) -> bool:
        return host.has_pidfd_getfd()

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
