"""A process of several threads, forked as it stands: what fork(2) leaves out is made anew.

fork(2) copies the memory and the thread that calls it. The other threads are of no more than registers, a stack and
thread-local memory, which are copied as all memory is, and a signal mask; so ptrace(2) can make them again in the
child, at the instructions where they stood. A thread that waited in the kernel (for a futex, for descriptors) calls
it again, and finds what it would have found.

What the child must not share with the process that it comes from, descriptors above all, is for the caller to
replace, by calls that the child carries out before it runs (Child.call).

Everything here has to be done by one and the same thread: that is who ptrace(2) knows as the tracer.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from pycontain.errors import MachineError
from pycontain.platforms.trap import host
from pycontain.platforms.trap import x86_64 as arch

PTRACE_DETACH = 17
PTRACE_GETREGSET, PTRACE_SETREGSET, NT_X86_XSTATE = 0x4204, 0x4205, 0x202
PTRACE_GETSIGMASK, PTRACE_SETSIGMASK = 0x420A, 0x420B
FS_BASE = 21
"""The word of user_regs_struct that says where a thread's own memory is."""
CLONE_PARENT, CLONE_THREAD_FLAGS = 0x8000, 0x3D0F00
"""The latter as pthread_create(3): VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID."""
WAITS = ("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "futex", "clock_nanosleep", "read")
TRIES, PAUSE = 100, 0.01
"""How often, and after how many seconds, it is stopped to see whether it is at rest."""
INTERRUPTED = frozenset((-512, -513, -514, -516))
"""ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK: the call is to be made again."""
MADV_DOFORK = 11
WORD = (1 << 64) - 1
EXTENDED = 16384
"""Bytes for the state of a processor's floating point and vector units."""
DESCRIPTOR = 4096
"""glibc's record of a thread is smaller; the thread's number in it is looked for."""
BORROWED = 4096
"""Bytes below a stack that are used for arguments; what the thread may have just there, the red zone, is left alone."""


class Thread(NamedTuple):
    """A thread that stands still. registers: struct user_regs_struct, such that it goes on where it stood."""

    tid: int
    registers: tuple[int, ...]
    extended: bytes
    mask: bytes


class Frozen:
    """A process that stands still from now on, in a moment when all its threads wait: one that holds a lock is known to
    the lock by a number that its copy does not have. MachineError where that cannot be had; if it had been stopped
    already, it has been killed."""

    def __init__(self, pid: int, waits: Collection[str] = WAITS) -> None:
        """waits: the calls in which a thread may wait."""
        self.pid = pid
        self._seized: set[int] = set()
        self._numbers = {arch.NUMBERS[name] for name in waits}
        try:
            self._stop_in_quiet()
            # the child begins with the first one
            self._threads = [_look(tid) for tid in sorted(self._seized, key=lambda tid: tid != pid)]
            self._instruction = self._threads[0].registers[arch.RIP]
            self._number_at = self._find_number()
            for start, end in _kept_from_children(pid):
                self._call("madvise", start, end - start, MADV_DOFORK)
        except (OSError, MachineError) as error:
            if self._seized:
                _end(pid, list(self._seized))
            if isinstance(error, OSError):
                raise MachineError(f"fork process {pid}: {error.strerror}") from None
            raise

    def _call(self, name: str, *arguments: int) -> int:
        return _call(self.pid, self._threads[0].registers, self._instruction, name, *arguments)

    def _tids(self) -> list[int]:
        return sorted(int(name) for name in os.listdir(f"/proc/{self.pid}/task"))

    def _stop_in_quiet(self) -> None:
        for _ in range(TRIES):
            self._stop_all()
            if all(map(self._waits, self._seized)):
                return
            for tid in self._seized:
                # the kernel's own way to go on with some calls hides which ones they are (restart_syscall(2))
                host.set_registers(tid, arch.REGISTERS.pack(*_registers(tid)))
                host.ptrace(host.PTRACE_CONT, tid)
            time.sleep(PAUSE)
        raise MachineError(f"fork process {self.pid}: it is never at rest")

    def _stop_all(self) -> None:
        tried: set[int] = set()
        while left := [tid for tid in self._tids() if tid not in tried]:  # threads that run may make others
            for tid in left:
                tried.add(tid)
                try:
                    if tid not in self._seized:
                        host.ptrace(host.PTRACE_SEIZE, tid, 0, host.PTRACE_OPTIONS)
                    host.ptrace(host.PTRACE_INTERRUPT, tid)
                except ProcessLookupError:
                    pass  # ended meanwhile
                except PermissionError:
                    # one that was made meanwhile is ours already, and stops by itself
                    if not _is_traced(self.pid, tid):
                        raise
                if _stopped(tid):
                    self._seized.add(tid)
                else:
                    self._seized.discard(tid)

    def _waits(self, tid: int) -> bool:
        """Whether a stopped thread was waiting in a call that it makes again."""
        words = arch.REGISTERS.unpack(host.get_registers(tid))
        return _signed(words[arch.RAX]) in INTERRUPTED and words[arch.ORIG_RAX] in self._numbers

    def _find_number(self) -> int:
        """Where, from a thread's own memory on, its number is."""
        places: set[int] | None = None
        for thread in self._threads:
            memory = _read(self.pid, thread.registers[FS_BASE], DESCRIPTOR, short=True)
            number = thread.tid.to_bytes(4, "little")
            here = {at for at in range(0, len(memory) - 3, 4) if memory[at : at + 4] == number}
            places = here if places is None else places & here
        if not places or len(places) != 1:
            raise MachineError(f"fork process {self.pid}: its threads' numbers are not where they were expected")
        return places.pop()

    def fork(self, prepare: Callable[[Child], None]) -> int:
        """A child of the parent of this process, running; its process id. prepare: before it does. MachineError."""
        main = self._threads[0]
        try:
            pid = self._call("clone", CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
        except OSError as error:
            raise MachineError(f"fork process {self.pid}: {error.strerror}") from None
        made = [(pid, main)]
        try:
            _wait(pid)
            child = Child(pid, main, self._instruction)
            prepare(child)
            for thread in self._threads[1:]:
                own, number = thread.registers[FS_BASE], thread.registers[FS_BASE] + self._number_at
                stack = thread.registers[arch.RSP]
                tid = child.call("clone", CLONE_THREAD_FLAGS, stack, number, number, own)
                made.append((tid, thread))
                _wait(tid)
            child.write(main.registers[FS_BASE] + self._number_at, pid.to_bytes(4, "little"))
            for tid, thread in made:
                _become(tid, thread)
            for tid, _ in reversed(made):
                host.ptrace(PTRACE_DETACH, tid)
        except BaseException as error:
            _end(pid, [tid for tid, _ in made])
            if isinstance(error, OSError):
                raise MachineError(f"fork process {self.pid}: {error.strerror}") from None
            raise
        return pid

    def end(self) -> None:
        """Kill it, and wait for it."""
        _end(self.pid, [thread.tid for thread in self._threads])


class Child:
    """A forked process that does not run yet: its first thread carries out our calls."""

    def __init__(self, pid: int, main: Thread, instruction: int) -> None:
        self.pid = pid
        self._main = main
        self._instruction = instruction
        self.room = (main.registers[arch.RSP] - 512 - BORROWED) & ~15
        """BORROWED bytes of memory for arguments."""

    def call(self, name: str, *arguments: int) -> int:
        """Have a system call made. OSError where it fails."""
        return _call(self.pid, self._main.registers, self._instruction, name, *arguments)

    def read(self, address: int, size: int) -> bytes:
        return _read(self.pid, address, size)

    def name(self, name: bytes) -> None:
        """What `ps` and `top` call it."""
        self.write(self.room, name + b"\0")
        self.call("prctl", host.PR_SET_NAME, self.room)

    def write(self, address: int, data: bytes) -> None:
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as file:
            file.seek(address)
            file.write(data)


def _call(tid: int, registers: Sequence[int], instruction: int, name: str, *arguments: int) -> int:
    """Let a stopped thread make a call; it stands at the end of it. The result, or the process id of who was made.
    OSError, MachineError."""
    words = list(registers)
    words[arch.RIP], words[arch.RAX], words[arch.ORIG_RAX] = instruction, arch.NUMBERS[name], WORD
    for register, value in zip(arch.ARGUMENTS, arguments, strict=False):
        words[register] = value & WORD
    host.set_registers(tid, arch.REGISTERS.pack(*words))
    while True:
        host.ptrace(host.PTRACE_SINGLESTEP, tid)
        status = _wait(tid)
        event = status >> 16
        if event in (0, host.EVENT_STOP) and os.WSTOPSIG(status) == signal.SIGTRAP:
            break
        if event not in (host.EVENT_FORK, host.EVENT_CLONE):
            raise MachineError(f"fork: a thread got signal {os.WSTOPSIG(status)} meanwhile")
    result = _signed(arch.REGISTERS.unpack(host.get_registers(tid))[arch.RAX])
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _stopped(tid: int) -> bool:
    """Wait until a thread that was asked to stop does so; False where it has ended instead."""
    while True:
        try:
            _, status = os.waitpid(tid, host.WALL)
        except ChildProcessError:
            return False
        if not os.WIFSTOPPED(status):
            return False
        event = status >> 16
        if event == host.EVENT_STOP:
            return True
        host.ptrace(host.PTRACE_CONT, tid, 0, 0 if event else os.WSTOPSIG(status))  # a signal is delivered


def _end(pid: int, tids: Sequence[int]) -> None:
    """Kill a process with these threads. Those that are traced are waited for one by one, the first one last: it has not
    ended before they have."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    for tid in sorted(tids, key=lambda tid: tid == pid):
        try:
            while os.WIFSTOPPED(os.waitpid(tid, host.WALL)[1]):
                pass
        except ChildProcessError:  # never ours, or waited for by somebody else
            continue


def _wait(tid: int) -> int:
    """The status of its next stop. MachineError where it ended instead."""
    _, status = os.waitpid(tid, host.WALL)
    if not os.WIFSTOPPED(status):
        raise MachineError("fork: a thread ended meanwhile")
    return status


def _look(tid: int) -> Thread:
    """What a stopped thread is made of."""
    mask = ctypes.create_string_buffer(8)
    host.ptrace(PTRACE_GETSIGMASK, tid, 8, ctypes.addressof(mask))
    return Thread(tid, _registers(tid), _extended(tid, PTRACE_GETREGSET, bytes(EXTENDED)), mask.raw)


def _registers(tid: int) -> tuple[int, ...]:
    """Of a stopped thread, such that it goes on where it stood: a call that was interrupted is made again."""
    words = list(arch.REGISTERS.unpack(host.get_registers(tid)))
    if _signed(words[arch.ORIG_RAX]) >= 0 and _signed(words[arch.RAX]) in INTERRUPTED:
        words[arch.RAX] = words[arch.ORIG_RAX]
        words[arch.RIP] -= arch.SYSCALL_INSTRUCTION_SIZE
    words[arch.ORIG_RAX] = WORD
    return tuple(words)


def _become(tid: int, thread: Thread) -> None:
    """A stopped thread goes on as that one."""
    _extended(tid, PTRACE_SETREGSET, thread.extended)
    mask = ctypes.create_string_buffer(thread.mask, 8)
    host.ptrace(PTRACE_SETSIGMASK, tid, 8, ctypes.addressof(mask))
    host.set_registers(tid, arch.REGISTERS.pack(*thread.registers))


def _extended(tid: int, request: int, data: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(data, len(data))
    vector = ctypes.create_string_buffer(struct.pack("<QQ", ctypes.addressof(buffer), len(data)), 16)
    host.ptrace(request, tid, NT_X86_XSTATE, ctypes.addressof(vector))
    return buffer.raw[: struct.unpack_from("<Q", vector, 8)[0]]


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _is_traced(pid: int, tid: int) -> bool:
    with open(f"/proc/{pid}/task/{tid}/status", "rb") as file:
        return b"\nTracerPid:\t%d\n" % threading.get_native_id() in file.read()


def _read(pid: int, address: int, size: int, *, short: bool = False) -> bytes:
    """Memory of a process; short: less will do where it ends."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        file.seek(address)
        data = file.read(size)
    if len(data) < size and not short:
        raise MachineError(f"fork process {pid}: it has no memory at {address:#x}")
    return data


def _kept_from_children(pid: int) -> list[tuple[int, int]]:
    """Where its memory is that fork(2) leaves out (MADV_DONTFORK): QEMU asks for that for its guest's."""
    found = []
    start = end = 0
    with open(f"/proc/{pid}/smaps", "rb") as file:
        for line in file:
            words = line.split()
            if words[0] == b"VmFlags:":
                if b"dc" in words:
                    found.append((start, end))
            elif not words[0].endswith(b":"):
                start, end = (int(word, 16) for word in words[0].split(b"-"))
    return found
