"""System calls that a task makes for us when its own call has been answered: what only it can do, to itself or to its
descriptors.

The task is asked to stop where its call returns. There its registers become those of the first call, back on the
instruction that made its own, and it goes on until that call begins, and then until it ends; so on with the next, until
the registers are as they were. Not by single steps: each ends in a SIGTRAP, which takes the task's handler away if it
has blocked that, and unblocks it. Memory for arguments is borrowed below the stack. Signals that come in between wait,
since a handler would return into the middle of this.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pycontain.platforms.base import Call
from pycontain.platforms.trap import host, stub
from pycontain.platforms.trap import x86_64 as arch

if TYPE_CHECKING:
    from pycontain.platforms.trap.traced import Traced

RED_ZONE = 256
MOST = 64  # calls
ERESTARTNOINTR, ERESTARTSYS = 513, 512
STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)  # SIGCONT takes them back


def _room(argument: int | bytes) -> int:
    return len(argument) + 15 & ~15 if isinstance(argument, bytes) else 0


def wrote(traced: Traced, address: int, data: bytes) -> bool:
    """False if another thread has taken the stack away."""
    try:
        traced.write(address, data)
    except ProcessLookupError:
        raise
    except OSError:
        return False
    return True


class Injection:
    """The calls that are left to be made. A bytes argument stands for its address. result: the task gets that of the
    last one as its own call's."""

    __slots__ = ("_calls", "_held", "_inside", "_memory", "_place", "_registers", "_result")

    def __init__(self, calls: Sequence[Call], *, result: bool = False) -> None:
        self._calls = list(calls[:MOST])
        self._result = result
        self._registers: tuple[int, ...] = ()  # the task's own; empty before the first call
        self._place = 0
        self._memory = b""
        self._held: list[tuple[int, bytes]] = []
        self._inside = False  # a call has begun and not ended

    def add(self, calls: Sequence[Call]) -> None:
        self._calls += calls[: MOST - len(self._calls)]

    def begin(self, traced: Traced) -> None:
        """The task stands where its call returns, or in a stop of somebody else's before one of ours."""
        if not self._registers:
            self._registers = arch.REGISTERS.unpack(host.get_registers(traced.tid))
            self._borrow(traced)
            self._next(traced)
        else:
            if not traced.holding:  # else it is that: every thread stops so when SIGCONT is sent (ptrace(2))
                self._held = [held for held in self._held if held[0] not in STOPS]
            host.ptrace(host.PTRACE_SYSCALL, traced.tid)

    def stopped(self, traced: Traced, signum: int) -> None:
        """The task stands where a call of ours begins or ends, or before the delivery of a signal."""
        if signum != host.SYSCALL_STOP:
            self._held.append((signum, host.get_signal_information(traced.tid)))
            host.ptrace(host.PTRACE_SYSCALL if self._registers else host.PTRACE_CONT, traced.tid)
        else:
            self._inside = not self._inside
            if self._inside:
                host.ptrace(host.PTRACE_SYSCALL, traced.tid)
            else:
                self._next(traced)

    def _borrow(self, traced: Traced) -> None:
        self._borrow_room(traced, max(sum(_room(a) for a in arguments) for _, arguments in self._calls))

    def _borrow_room(self, traced: Traced, size: int) -> None:
        self._place = (self._registers[arch.STACK_POINTER] - RED_ZONE - size) & ~15
        try:
            self._memory = traced.read(self._place, size) if size else b""
            if len(self._memory) < size:
                self._calls.clear()
        except OSError:
            self._calls.clear()  # there is no stack

    def _next(self, traced: Traced) -> None:
        if not self._calls:
            self._end(traced)
            return
        name, arguments = self._calls.pop(0)
        words, at = [], self._place
        for argument in arguments:
            if isinstance(argument, bytes):
                if not wrote(traced, at, argument):
                    self._end(traced)
                    return
                words.append(at)
                at += _room(argument)
            else:
                words.append(argument)
        self._make(traced, name, words)

    def _make(self, traced: Traced, name: str, words: Sequence[int]) -> None:
        registers = list(self._registers)
        registers[arch.PROGRAM_COUNTER] -= arch.SYSCALL_INSTRUCTION_SIZE
        registers[arch.RESULT] = arch.NUMBERS[name]
        registers[arch.CALL_NUMBER] = stub.WORD  # no restart logic for the call that was answered
        for register, word in zip(arch.ARGUMENTS, words, strict=False):
            registers[register] = word & stub.WORD
        host.set_registers(traced.tid, arch.REGISTERS.pack(*registers))
        host.ptrace(host.PTRACE_SYSCALL, traced.tid)

    def _told(self, traced: Traced, answer: int) -> int:
        """What the task gets as its call's result."""
        if self._result:
            result: int = arch.REGISTERS.unpack(host.get_registers(traced.tid))[arch.RESULT]
            return result
        # a host whose signals end the wait for an answer
        return -ERESTARTNOINTR if answer == -ERESTARTSYS & stub.WORD else answer

    def _end(self, traced: Traced) -> None:
        traced.injection = None
        if self._memory:
            wrote(traced, self._place, self._memory)
        registers = list(self._registers)
        result = self._told(traced, registers[arch.RESULT]) & stub.WORD
        if result == -ERESTARTNOINTR & stub.WORD:
            # the call runs again; the host sees to that only on the way to a signal, so it is not asked
            registers[arch.RESULT] = registers[arch.CALL_NUMBER]
            registers[arch.PROGRAM_COUNTER] -= arch.SYSCALL_INSTRUCTION_SIZE
            registers[arch.CALL_NUMBER] = stub.WORD
        else:
            registers[arch.RESULT] = result
        host.set_registers(traced.tid, arch.REGISTERS.pack(*registers))
        traced.signal_again(self._held)
        if traced.holding:
            traced.held = True
        else:
            host.ptrace(host.PTRACE_CONT, traced.tid)
