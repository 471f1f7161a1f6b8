"""A second filter for processes of whose messages the kernel wants to know, under whatever number a descriptor has.

The first filter is the same for all programs, and lets them send and receive without us. This one stops a task before
such a call (PTRACE_EVENT_SECCOMP), and is there for processes that ask for what the host cannot tell them right: the
sender's credentials in a message. They install it themselves, in calls that they do not notice; their children inherit
it.

A filter that a program had written itself could make calls of others fail: of a setuid program that gives up its rights,
say. So nobody may be able to change it between our writing it and the host's reading it. It stands in a page of its own,
mapped for it, and meanwhile all tasks are stopped that might share the memory: threads, and processes made by
clone(CLONE_VM), which are not told apart from forked ones. If one does not stop, nothing comes of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable
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
PATIENCE = 0.05  # seconds in which the other tasks must have stopped
MOST = 256  # of them
LOOK = 0.001  # seconds between looks whether they have


def second_filter() -> bytes:
    rules = {arch.NUMBERS[name]: Rule(RET_TRACE) for name in CALLS}
    return compile_filter(rules, ALLOW, arch.AUDIT_ARCH, arch.X32_BIT)


class Watching(Injection):
    """The way there. others: the tasks that must have stopped first. installing: the next seccomp(2) of the task is
    ours."""

    __slots__ = ("_address", "_done", "_program", "_stage", "installing", "others", "worked")

    def __init__(self, program: bytes, others: Iterable[Traced], done: Callable[[], None]) -> None:
        super().__init__([])
        self._program = program
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

    def _end(self, traced: Traced) -> None:
        super()._end(traced)
        self._done()


def sharers(traced: Traced, tasks: Collection[Traced]) -> set[Traced] | None:
    """All other tasks that may have the same memory: threads, and processes whose stack started at the same place when
    they, or who forked them, executed a program. None if the host does not tell."""
    start = _start_of_stack(traced)
    if not start:
        return None
    same = {traced.memory: True}
    for other in tasks:
        if other.memory not in same and other.listener == traced.listener:
            same[other.memory] = _start_of_stack(other) in (start, 0)
    return {other for other in tasks if other is not traced and same.get(other.memory)}


def _start_of_stack(traced: Traced) -> int:
    """A number that belongs to a task's memory; 0 if it has none any more, or the host does not tell (proc(5))."""
    try:
        with open(f"/proc/{traced.tid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return 0
    return int(text[text.rindex(b")") + 2 :].split()[25])
