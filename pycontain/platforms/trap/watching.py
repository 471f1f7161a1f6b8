"""A second filter for processes of whose messages the kernel wants to know, under whatever number a descriptor has.

The first filter is the same for all programs, and lets them send and receive without us. This one stops a task before
such a call (PTRACE_EVENT_SECCOMP), and is there for processes that ask for what the host cannot tell them right: the
sender's credentials in a message. They install it themselves, in calls that they do not notice; their children inherit
it.

A filter that a program had written itself could make calls of others fail: of a setuid program that gives up its rights,
say. So nobody may be able to change it between our writing it and the host's reading it. It stands in a page of its own,
mapped for it; all other threads of the process are stopped meanwhile; and nobody else may share its memory
(clone(CLONE_VM)), or nothing comes of it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from pycontain.platforms.trap import host
from pycontain.platforms.trap import x86_64 as arch
from pycontain.platforms.trap.bpf import ALLOW, RET_TRACE, Rule, compile_filter
from pycontain.platforms.trap.injection import Injection

if TYPE_CHECKING:
    from pycontain.platforms.trap.traced import Traced

CALLS = ("sendmsg", "sendmmsg", "recvmsg", "recvmmsg")
PAGE = 4096
PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS = 3, 0x22
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
SOCK_FPROG = struct.Struct("<HxxxxxxQ")
PATIENCE = 0.05  # seconds in which the other threads must have stopped
LOOK = 0.001  # seconds between looks whether they have


def second_filter() -> bytes:
    rules = {arch.NUMBERS[name]: Rule(RET_TRACE) for name in CALLS}
    return compile_filter(rules, ALLOW, arch.AUDIT_ARCH, arch.X32_BIT)


class Watching(Injection):
    """The way there. others: the threads of the process that must have stopped first. neighbours: processes that
    might share its memory. installing: the next seccomp(2) of the task is ours."""

    __slots__ = ("_address", "_done", "_neighbours", "_program", "_stage", "installing", "others", "worked")

    def __init__(
        self, program: bytes, others: Iterable[Traced], neighbours: Sequence[Traced], done: Callable[[], None]
    ) -> None:
        super().__init__([])
        self._program = program
        self._neighbours = neighbours
        self._done = done
        self._stage = 0
        self._address = 0
        self.others = set(others)
        self.installing = False
        self.worked = False

    def _borrow(self, traced: Traced) -> None:
        pass

    def _next(self, traced: Traced) -> None:
        result = arch.REGISTERS.unpack(host.get_registers(traced.tid))[arch.RESULT]
        stage, self._stage = self._stage, self._stage + 1
        if stage == 0:
            self._make(traced, "mmap", (0, PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0))
            return
        if stage == 1 and result < 1 << 63:
            self._address = result
            if not self._shared(traced):
                program = SOCK_FPROG.pack(len(self._program) // 8, result + SOCK_FPROG.size) + self._program
                traced.write(result, program)
                self.installing = True
                self._make(traced, "seccomp", (SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, result))
                return
        if self.installing:
            self.installing = False
            self.worked = result == 0
        if self._address:
            address, self._address = self._address, 0
            self._make(traced, "munmap", (address, PAGE))
        else:
            self._end(traced)

    def _shared(self, traced: Traced) -> bool:
        """Does another process see what we write there?"""
        token = os.urandom(16)
        traced.write(self._address, token)
        for other in self._neighbours:
            try:
                if other.read(self._address, len(token)) == token:
                    return True
            except OSError:
                continue  # it has nothing there, or has gone
        return False

    def _end(self, traced: Traced) -> None:
        super()._end(traced)
        self._done()


def threads_of(traced: Traced, tasks: Collection[Traced]) -> list[Traced]:
    return [other for other in tasks if other.memory is traced.memory and other is not traced]
