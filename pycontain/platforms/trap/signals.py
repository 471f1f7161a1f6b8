"""Signals to tasks: every one is a stop that we let go on, and a call is never lost to one.

Two things that a kernel of its own has by nature need care here. A signal takes back a call that we have not
received yet: the call runs again, and when that happens too often, signals wait until it has been received. And
each stop costs us more than its sender: a process that gets signals without end would do nothing but take them,
so senders get a pause (see TrapPlatform.flooded).

Who sent a signal is told as the container knows it, not the host, in the stop before its delivery. What is never
delivered, because a task waits for it (sigtimedwait(2)) or reads it (signalfd(2)), has no such stop: there siginfo
is the host's, but where we send the signal ourselves. Then it is as of sigqueue(3), the one way to name another
sender, and it becomes one of kill(2) again when it is delivered.
"""

from __future__ import annotations

import hashlib
import os
import signal
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pycontain.platforms.base import Sender
from pycontain.platforms.trap import host
from pycontain.platforms.trap import x86_64 as arch
from pycontain.platforms.trap.bpf import NOTIFY, RET_NOTIFY, Rule
from pycontain.platforms.trap.fastpath import FastPath
from pycontain.platforms.trap.traced import Traced

ERESTARTSYS, ERESTARTNOINTR = 512, 513
RESTART = (1 << 64) - ERESTARTSYS
RESTART_ALWAYS = (1 << 64) - ERESTARTNOINTR
PATIENCE = 3  # how often signals may take a call back before they have to wait for it
SI_USER, SI_QUEUE, SI_MESGQ, SI_TKILL = 0, -1, -3, -6
CLD_CONTINUED = 6  # the last of SIGCHLD's own codes, which begin with 1
HEAD = struct.Struct("<iiixxxxiIQ")  # siginfo_t: si_signo si_errno si_code si_pid si_uid si_value
MARK = 16  # bytes after it, which nobody looks at and the host keeps
BURST = 16  # signals that a process takes without a call of its own before who sends them has to wait


class SignalStops:
    """urgent: the task whose call shall be received before any other is answered."""

    def __init__(
        self, rules: Mapping[int, Rule], sender: Callable[[Any, int], tuple[int, int]], fast: FastPath | None
    ) -> None:
        """rules: the filter's, by call number; it sends what has none to us, too. sender: see Listener."""
        self._rules = rules
        self._fast = fast
        self._sender = sender
        self._key = os.urandom(16)
        self.urgent: Traced | None = None
        self.restarts = 0

    def stopped(self, traced: Traced, signum: int) -> None:
        """The task stands before the delivery of a signal: deliver it, or not yet."""
        traced.signals += 1
        traced.hide(self._fast)  # its next call is to tell that it got to make one
        pending = traced.pending
        if pending is not None and pending.stage == 1:
            pending.held.append((signum, host.get_signal_information(traced.tid)))
            host.ptrace(host.PTRACE_CONT, traced.tid)
            return
        if traced.returning:
            self._returned(traced, signum)
        registers = arch.REGISTERS.unpack(host.get_registers(traced.tid))
        if registers[arch.RESULT] == RESTART:
            if traced.interrupted and registers[arch.CALL_NUMBER] == traced.number:
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
        if signum:
            self._name_sender(traced, signum)
        host.ptrace(host.PTRACE_CONT, traced.tid, 0, signum)

    def _name_sender(self, traced: Traced, signum: int) -> None:
        information = host.get_signal_information(traced.tid)
        _, wrong, code, pid, uid, value = HEAD.unpack_from(information)
        if code == SI_QUEUE:
            # a program tells itself who it is when it calls sigqueue(3); is it one of ours?
            mark = information[HEAD.size : HEAD.size + MARK]
            for code in (SI_USER, SI_TKILL):
                if mark == self._mark(traced.memory.pid, code, pid, uid):
                    host.set_signal_information(traced.tid, HEAD.pack(signum, 0, code, pid, uid, 0).ljust(128, b"\0"))
                    return
            return
        if code > CLD_CONTINUED or (code > 0 and signum != signal.SIGCHLD):
            return  # faults and the like name no process
        if code < 0 and code not in (SI_TKILL, SI_MESGQ):
            return
        told = self._sender(traced.task, pid)
        if told != (pid, uid):
            head = HEAD.pack(signum, wrong, code, *told, value)
            host.set_signal_information(traced.tid, head + information[HEAD.size :])

    def send(self, pid: int, tid: int | None, signum: int, sender: Sender) -> bool:
        """Send a signal that names its sender. False if the host has no room to queue it: it goes without."""
        code, mark = sender.code, b""
        if code in (SI_USER, SI_TKILL):
            code, mark = SI_QUEUE, self._mark(pid, code, sender.pid, sender.uid)
        head = HEAD.pack(signum, 0, code, sender.pid, sender.uid, sender.value)
        try:
            host.queue_signal(pid, tid, signum, (head + mark).ljust(128, b"\0"))
        except BlockingIOError:
            return False
        return True

    def _mark(self, target: int, code: int, pid: int, uid: int) -> bytes:
        """Nobody else can make one for this process, or for another sender."""
        return hashlib.blake2s(
            struct.pack("<iiiI", target, code, pid, uid), key=self._key, digest_size=MARK
        ).digest()

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
        traced.signal_again(again)

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
