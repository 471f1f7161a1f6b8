"""execve: the task execs the fixed stub, and the stub's table maps the container's program.

Stages of a task, each entered by an event of the host:
    1 the trapped execve: the descriptors are injected, the task is asked to stop
    2 it stopped: its registers become execveat(stub, "", argv, envp, AT_EMPTY_PATH)
    3 that call is trapped: continued, since it is the one we made
    4 the exec event: the host has built a new stack; check what was executed, write the table, go
    5 or it failed, where the task stops too, as it was asked to before it was continued: the descriptors that it was
      given are closed, call by call, then it goes on

Another thread may have changed descriptors or strings between 1 and 4. It cannot any more at 4: the task is
alone and stopped, so what was executed and what will be mapped is compared there, and a stranger is killed.
The empty string may have become a path of the host. So the host's reason for a failure is never told, it would
say whether that path is there: what the arguments alone explain is told. What may pass is tried again for a while, and
then, or for any other reason, the task is killed like a stranger.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import struct
from typing import TYPE_CHECKING

from pycontain.platforms.base import Binary, Program
from pycontain.platforms.trap import host, stub
from pycontain.platforms.trap import x86_64 as arch
from pycontain.platforms.trap.signals import ERESTARTNOINTR, ERESTARTSYS

if TYPE_CHECKING:
    from pycontain.platforms.trap.traced import Traced

PAGE_MASK = 4095
MAP_PRIVATE_FIXED, MAP_ANONYMOUS = 0x12, 0x20
PROT_WRITE = 2
PROT_GROWSDOWN = 0x01000000
AT_EMPTY_PATH = 0x1000
PROGRAM_BASE, INTERPRETER_BASE = 0x5550_0000_0000, 0x7F00_0000_0000
SLIDE_BITS = 20
AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_BASE, AT_ENTRY = 0, 3, 4, 5, 7, 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_SECURE, AT_EXECFN = 11, 12, 13, 14, 23, 31
RED_ZONE = 256
# what execve(2) takes, by fs/exec.c and <linux/binfmts.h>
ARG_MAX, MAX_ARG_STRLEN, MOST_ARGUMENTS = 131072, 131072, 6 << 20
ARGUMENTS_SEEN = 4000  # strings that are looked at after a failure: it takes the kernel's time
SLACK = 4096
PASSING = (errno.ENOMEM, errno.EAGAIN)  # what the host may refuse for want of memory or of processes
ATTEMPTS = 7
FIRST_PAUSE = 0.01  # seconds before it is tried again; twice as long each time
BLOCK = 65536  # bytes that are read at once of a long vector


class Pending:
    """An execve under way."""

    __slots__ = (
        "attempts",
        "call",
        "error",
        "fd",
        "file_id",
        "held",
        "injected",
        "inside",
        "interpreter_fd",
        "interpreter_id",
        "program",
        "registers",
        "stage",
        "stub_fd",
    )

    def __init__(self, program: Program, stub_fd: int, fd: int, interpreter_fd: int) -> None:
        self.program = program
        self.stub_fd = stub_fd
        self.fd = fd
        self.interpreter_fd = interpreter_fd
        self.stage = 1
        self.file_id = self.interpreter_id = (0, 0)  # (st_dev, st_ino) of what was injected
        self.held: list[tuple[int, bytes]] = []  # signals that came in between; delivered to the new program
        self.registers: list[int] = []  # of the caller
        self.call: list[int] = []  # the registers of stage 2
        self.attempts = 0  # that the host has refused
        self.inside = False  # a call that cleans up has begun and not ended
        self.error = 0
        self.injected = [n for n in (stub_fd, fd, interpreter_fd) if n >= 0]


def identity(fd: int | str) -> tuple[int, int]:
    info = os.stat(fd)
    return info.st_dev, info.st_ino


def call_stub(traced: Traced, pending: Pending) -> None:
    """Stage 2: the stopped task is set back onto its system call instruction, with another call's registers."""
    program = pending.program
    tid = traced.tid
    registers = list(arch.REGISTERS.unpack(host.get_registers(tid)))
    pending.registers = registers.copy()
    argv = program.argv_address
    if program.script is not None:
        argv = _script_vector(traced, program, registers[arch.STACK_POINTER])
    registers[arch.PROGRAM_COUNTER] -= arch.SYSCALL_INSTRUCTION_SIZE
    registers[arch.RESULT] = arch.NUMBERS["execveat"]
    registers[arch.CALL_NUMBER] = stub.WORD  # no restart logic for the call that was answered
    values = (pending.stub_fd, program.empty_string, argv, program.envp_address, AT_EMPTY_PATH)
    for register, value in zip(arch.ARGUMENTS, values, strict=False):
        registers[register] = value
    pending.call = registers
    try_again(traced, pending)


def try_again(traced: Traced, pending: Pending) -> None:
    """The stopped task makes that call."""
    host.set_registers(traced.tid, arch.REGISTERS.pack(*pending.call))
    pending.stage = 2


def _script_vector(traced: Traced, program: Program, stack: int) -> int:
    """A new argument vector below the caller's stack: the interpreter's strings, then the caller's arguments."""
    assert program.script is not None
    strings, replaced = program.script
    try:
        pointers = _pointers(traced, program.argv_address, MOST_ARGUMENTS // 8)
    except OSError:
        return program.argv_address  # the host refuses it, too
    if len(pointers) > MOST_ARGUMENTS // 8:
        return program.argv_address
    text = b"".join(s + b"\0" for s in strings)
    kept = pointers[replaced:]
    at = (stack - RED_ZONE - len(text)) & ~15
    vector = (at - 8 * (len(strings) + len(kept) + 1)) & ~15
    head, offset = [], at
    for string in strings:
        head.append(offset)
        offset += len(string) + 1
    data = struct.pack(f"<{len(head) + len(kept) + 1}Q", *head, *kept, 0)
    traced.write(vector, data.ljust(at - vector, b"\0") + text)
    return vector


def refused(traced: Traced, pending: Pending) -> float:
    """The task stopped in stage 3, and this is no exec event. Returns the seconds after which it shall try again, 0 if
    it can go on, or has been killed."""
    result = arch.REGISTERS.unpack(host.get_registers(traced.tid))[arch.RESULT] - (1 << 64)
    if not -4095 <= result < 0:
        return 0.0
    if result in (-ERESTARTSYS, -ERESTARTNOINTR):
        pending.stage = 2  # the host makes the call again
        return 0.0
    pending.error = _arguments_error(traced, pending.call[arch.ARGUMENTS[2]], pending.call[arch.ARGUMENTS[3]])
    if pending.error:
        pending.stage = 5
        clean_up(traced, pending)
        return 0.0
    if -result in PASSING and pending.attempts < ATTEMPTS:
        pending.attempts += 1
        return float(FIRST_PAUSE * (1 << pending.attempts - 1))
    os.kill(traced.tid, signal.SIGKILL)
    return 0.0


def clean_up(traced: Traced, pending: Pending) -> bool:
    """Stage 5, where the task stands outside of a call: the next descriptor is closed. Returns False when the caller's
    own registers are back."""
    if pending.injected:
        registers = pending.call.copy()
        registers[arch.RESULT] = arch.NUMBERS["close"]
        registers[arch.ARGUMENTS[0]] = pending.injected.pop()
        host.set_registers(traced.tid, arch.REGISTERS.pack(*registers))
        return True
    registers = pending.registers
    registers[arch.RESULT] = (1 << 64) - pending.error
    registers[arch.CALL_NUMBER] = stub.WORD
    host.set_registers(traced.tid, arch.REGISTERS.pack(*registers))
    return False


def _arguments_error(traced: Traced, argv: int, envp: int) -> int:
    """The errno that an execve with these arguments fails with, 0 if it does not."""
    with open(f"/proc/{traced.tid}/limits", "rb") as file:
        stack = file.read().partition(b"Max stack size")[2].split(None, 1)[0]
    most = max(min(int(stack) // 4 if stack.isdigit() else MOST_ARGUMENTS, MOST_ARGUMENTS), ARG_MAX) - SLACK
    try:
        pointers = _pointers(traced, argv, ARGUMENTS_SEEN) + _pointers(traced, envp, ARGUMENTS_SEEN)
        most -= 8 * len(pointers)
        if len(pointers) > ARGUMENTS_SEEN:
            return errno.E2BIG
        for pointer in reversed(pointers):
            size, end = 0, -1
            while end < 0 and size <= MAX_ARG_STRLEN:
                address = pointer + size
                data = traced.read(address, 4096 - (address & PAGE_MASK))
                end = data.find(b"\0")
                size += len(data) if end < 0 else end + 1
            most -= size
            if size > MAX_ARG_STRLEN or most < 0:
                return errno.E2BIG
    except OSError as error:
        return error.errno or errno.EFAULT
    return 0


def _pointers(traced: Traced, address: int, most: int) -> list[int]:
    """A vector of strings up to its NULL. Of one that has more than `most`, some more."""
    found: list[int] = []
    size = PAGE_MASK + 1
    while address and len(found) <= most:
        block = traced.read(address, size - (address & PAGE_MASK))
        if len(block) < 8:  # it begins in a page's last bytes
            block = traced.read(address, 8)
            if len(block) < 8:
                raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        words = struct.unpack(f"<{len(block) // 8}Q", block[: len(block) // 8 * 8])
        if 0 in words:
            found += words[: words.index(0)]
            break
        found += words
        address += 8 * len(words)
        size = BLOCK
    return found


def map_rows(binary: Binary, fd: int, base: int) -> tuple[int, list[bytes]]:
    """The calls that map a file; returns (load bias, rows)."""
    first = binary.segments[0]
    bias = 0 if binary.fixed else base - (first.address & ~PAGE_MASK)
    mmap = arch.NUMBERS["mmap"]
    rows: list[bytes] = []
    for segment in binary.segments:
        slack = segment.address & PAGE_MASK
        start = bias + segment.address - slack
        file_end = bias + segment.address + segment.file_size
        page_end = (file_end + PAGE_MASK) & ~PAGE_MASK
        memory_end = (bias + segment.address + segment.memory_size + PAGE_MASK) & ~PAGE_MASK
        if segment.file_size:
            rows.append(
                stub.row(
                    mmap,
                    start,
                    segment.file_size + slack,
                    segment.protection,
                    MAP_PRIVATE_FIXED,
                    fd,
                    segment.offset - slack,
                )
            )
        else:
            page_end = start
        if segment.memory_size > segment.file_size:
            if segment.file_size and segment.protection & PROT_WRITE and file_end < page_end:
                rows.append(stub.row(stub.ZERO, file_end, page_end - file_end))
            if memory_end > page_end:
                flags = MAP_PRIVATE_FIXED | MAP_ANONYMOUS
                rows.append(
                    stub.row(mmap, page_end, memory_end - page_end, segment.protection, flags, stub.WORD, 0)
                )
    return bias, rows


def install(traced: Traced, pending: Pending, stub_id: tuple[int, int]) -> bool:
    """Stage 4. Returns False if the task is not what we made it (it was killed)."""
    tid, program = traced.tid, pending.program
    try:
        good = (
            pending.stage == 3
            and identity(f"/proc/{tid}/exe") == stub_id
            and identity(f"/proc/{tid}/fd/{pending.fd}") == pending.file_id
            and (
                pending.interpreter_fd < 0
                or identity(f"/proc/{tid}/fd/{pending.interpreter_fd}") == pending.interpreter_id
            )
        )
    except OSError:
        good = False
    if not good:
        os.kill(tid, signal.SIGKILL)
        return False
    slide = random.getrandbits(SLIDE_BITS) << 12
    bias, rows = map_rows(program.binary, pending.fd, PROGRAM_BASE + slide)
    start = entry = bias + program.binary.entry
    base = 0
    close = arch.NUMBERS["close"]
    if program.interpreter is not None:
        base, more = map_rows(program.interpreter, pending.interpreter_fd, INTERPRETER_BASE + slide)
        rows += [*more, stub.row(close, pending.interpreter_fd)]
        start = base + program.interpreter.entry
    registers = list(arch.REGISTERS.unpack(host.get_registers(tid)))
    stack = registers[arch.STACK_POINTER]
    if program.binary.executable_stack:
        page = stack & ~PAGE_MASK
        rows.append(stub.row(arch.NUMBERS["mprotect"], page, 4096, 7 | PROT_GROWSDOWN))
    strings = stub.DATA + stub.ROW.size * (len(rows) + 3)
    rows += [
        stub.row(close, pending.fd),
        stub.row(arch.NUMBERS["prctl"], host.PR_SET_NAME, strings),
        stub.row(stub.END, start),
    ]
    comm = program.name[:15].ljust(16, b"\0")
    traced.write(stub.DATA, b"".join(rows) + comm + program.path + b"\0")
    uid, euid, gid, egid, secure = program.identity
    _patch_auxv(
        traced,
        stack,
        {
            AT_PHDR: bias + program.binary.phdr,
            AT_PHENT: program.binary.phent,
            AT_PHNUM: program.binary.phnum,
            AT_BASE: base,
            AT_ENTRY: entry,
            AT_UID: uid,
            AT_EUID: euid,
            AT_GID: gid,
            AT_EGID: egid,
            AT_SECURE: secure,
            AT_EXECFN: strings + 16,
        },
    )
    registers[arch.TABLE_POINTER] = stub.DATA
    host.set_registers(tid, arch.REGISTERS.pack(*registers))
    return True


def _patch_auxv(traced: Traced, stack: int, values: dict[int, int]) -> None:
    """The new stack holds argc, argv, NULL, envp, NULL, auxv; change the vector's values in place."""
    (argc,) = struct.unpack("<Q", traced.read(stack, 8))
    at = stack + 8 * (argc + 2)
    while True:  # the environment's pointers
        block = traced.read(at, 4096)
        words = struct.unpack(f"<{len(block) // 8}Q", block[: len(block) // 8 * 8])
        if 0 in words:
            at += 8 * (words.index(0) + 1)
            break
        at += 8 * len(words)
    block = traced.read(at, 1024)
    words_out = list(struct.unpack(f"<{len(block) // 16 * 2}Q", block[: len(block) // 16 * 16]))
    for i in range(0, len(words_out), 2):
        key = words_out[i]
        if key == AT_NULL:
            del words_out[i + 2 :]
            break
        if key in values:
            words_out[i + 1] = values[key]
    traced.write(at, struct.pack(f"<{len(words_out)}Q", *words_out))
