"""Signals to tasks: every one is a stop that we let go on, and a call is never lost to one.

Two things that a kernel of its own has by nature need care here. A signal takes back a call that we have not
received yet: the call runs again, and when that happens too often, signals wait until it has been received. And
each stop costs us more than its sender: a process that gets signals without end would do nothing but take them,
so senders get a pause (see TrapPlatform.flooded).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pycontain.platforms.trap import host
from pycontain.platforms.trap import x86_64 as arch
from pycontain.platforms.trap.bpf import NOTIFY, RET_NOTIFY, Rule
from pycontain.platforms.trap.traced import Traced

ERESTARTSYS, ERESTARTNOINTR = 512, 513
RESTART = (1 << 64) - ERESTARTSYS
RESTART_ALWAYS = (1 << 64) - ERESTARTNOINTR
PATIENCE = 3  # how often signals may take a call back before they have to wait for it
BURST = 16  # signals that a process takes without a call of its own before who sends them has to wait


class SignalStops:
    """urgent: the task whose call shall be received before any other is answered."""

    def __init__(self, rules: Mapping[int, Rule]) -> None:
        """rules: the filter's, by call number; it sends what has none to us, too."""
        self._rules = rules
        self.urgent: Traced | None = None
        self.restarts = 0

    def stopped(self, traced: Traced, signum: int) -> None:
        """The task stands before the delivery of a signal: deliver it, or not yet."""
        traced.signals += 1
        pending = traced.pending
        if pending is not None and pending.stage == 1:
            pending.held.append(signum)
            host.ptrace(host.PTRACE_CONT, traced.tid)
            return
        if traced.returning:
            self._returned(traced, signum)
        registers = arch.REGISTERS.unpack(host.get_registers(traced.tid))
        if registers[arch.RESULT] == RESTART:
            if traced.interrupted:
                traced.interrupted = False
            elif self._trapped(registers):
                # interrupted before we received the call: it must run again, natively it never fails with EINTR
                words = list(registers)
                words[arch.RESULT] = RESTART_ALWAYS
                host.set_registers(traced.tid, arch.REGISTERS.pack(*words))
                self.restarts += 1
                traced.taken_back += 1
                if traced.taken_back > PATIENCE:
                    traced.postponed.append((signum, host.get_signal_information(traced.tid)))
                    self.urgent = traced
                    signum = 0
        host.ptrace(host.PTRACE_CONT, traced.tid, 0, signum)

    def _trapped(self, registers: Sequence[int]) -> bool:
        """Is it a call of ours, with these arguments? One that waits natively (F_SETLKW, send) ends with EINTR."""
        number = registers[arch.CALL_NUMBER]
        if number >= arch.X32_BIT:
            return False  # it is in no call
        arguments = [registers[index] for index in arch.ARGUMENTS]
        return self._rules.get(number, NOTIFY).action(arguments) == RET_NOTIFY

    def received(self, traced: Traced) -> None:
        """Its call is ours now: the signals that waited for that come with the call's answer."""
        again, traced.postponed = traced.postponed, []
        traced.returning += again
        for signum, _ in again:
            host.tgkill(traced.memory.pid, traced.tid, signum)

    def _returned(self, traced: Traced, signum: int) -> None:
        """A signal that was postponed tells again who sent it first."""
        for index, (number, information) in enumerate(traced.returning):
            if number == signum:
                del traced.returning[index]
                host.set_signal_information(traced.tid, information)
                return

    def flooded(self, traced: Traced) -> bool:
        if traced.signals < BURST:
            return False
        traced.signals = 0
        return True
