"""A library, generated, that lets User-Mode Linux run on CPUs with more register state than it was compiled for.

Before 6.13 User-Mode Linux sets a guest process's floating point state with PTRACE_SETREGSET and a buffer of 2696
bytes: all up to AVX-512 and the protection keys. The host's kernel takes only a whole state, which is larger on CPUs
with AMX; the call then fails with EFAULT, and the guest's kernel panics as soon as it starts its first program.

The library is put in front of libc (LD_PRELOAD). Its ptrace() lays what User-Mode Linux knows over a whole state whose
rest is unused; all else goes to libc's syscall() unchanged. No guest program can have used the rest: a program has to
ask for AMX first, and User-Mode Linux knows no such request.
"""

from __future__ import annotations

import struct

from pycontain.vm.assembler import Assembler
from pycontain.vm.uml.sealed import sealed

PTRACE, GETREGSET, SETREGSET, XSTATE = 101, 0x4204, 0x4205, 0x202
_PEEKS = (1, 2, 3)
"""Requests whose answer libc's ptrace() returns; the system call writes it to where `data` points."""
STATE_SIZE = 16384
PAGE = 4096
_GOT, _SIZE, _VECTOR, _DYNAMIC, _STATE = 0, 8, 16, 64, 512
"""Offsets in the data page: libc's syscall(), the state's size, a struct iovec, the dynamic section, the state."""


def machine_code() -> bytes:
    """ptrace(request, pid, address, data); the data page follows the code's."""
    a = Assembler()
    a.compare_immediate("rdi", SETREGSET)
    a.jump("jne", "other")
    a.compare_immediate("rdx", XSTATE)
    a.jump("jne", "other")
    # rdi, rsi, rdx, rcx are needed by what comes in between
    for source, kept in (("rdi", "r8"), ("rsi", "r9")):
        a.move(kept, source)
    a.move("rax", "rcx")
    a.load("rsi", "rax")  # iov_base
    a.load("rcx", "rax", 8)  # iov_len
    a.load_address("rdi", "data")
    a.add_immediate("rdi", _STATE)
    a.copy_bytes()
    a.load_address("rax", "data")
    a.load("rcx", "rax", _SIZE)
    a.test("rcx")
    a.jump("jne", "known")
    # how large is a whole state? the host says when it is read
    a.load_address("r10", "data")
    a.move("rcx", "r10")
    a.add_immediate("rcx", _STATE + STATE_SIZE)
    a.store("r10", "rcx", _VECTOR)
    a.load_immediate("rcx", STATE_SIZE)
    a.store("r10", "rcx", _VECTOR + 8)
    a.add_immediate("r10", _VECTOR)
    a.load_immediate("rax", PTRACE)
    a.load_immediate("rdi", GETREGSET)
    a.move("rsi", "r9")
    a.load_immediate("rdx", XSTATE)
    a.syscall()
    a.load_address("rax", "data")
    a.load("rcx", "rax", _VECTOR + 8)
    a.store("rax", "rcx", _SIZE)
    a.label("known")
    a.store("rax", "rcx", _VECTOR + 8)
    a.move("rcx", "rax")
    a.add_immediate("rcx", _STATE)
    a.store("rax", "rcx", _VECTOR)
    a.add_immediate("rax", _VECTOR)
    a.move("rcx", "rax")
    a.move("rdi", "r8")
    a.move("rsi", "r9")
    a.load_immediate("rdx", XSTATE)
    a.label("other")
    for peek in _PEEKS:
        a.compare_immediate("rdi", peek)
        a.jump("je", "peek")
    _shift(a)
    a.jump_register("rax")
    a.label("peek")
    a.add_immediate("rsp", -24)
    a.move("rcx", "rsp")
    _shift(a)
    a.call_register("rax")
    a.test("rax")
    a.jump("jne", "failed")
    a.load("rax", "rsp")
    a.label("failed")
    a.add_immediate("rsp", 24)
    a.ret()
    a.fill(PAGE)
    a.label("data")
    return a.code()


def _shift(a: Assembler) -> None:
    """The arguments become those of syscall(PTRACE, request, pid, address, data), whose address is in rax then."""
    for target, source in (("r8", "rcx"), ("rcx", "rdx"), ("rdx", "rsi"), ("rsi", "rdi")):
        a.move(target, source)
    a.load_immediate("rdi", PTRACE)
    a.load_address("rax", "data")
    a.load("rax", "rax", _GOT)


_ELF = struct.Struct("<4s4B8xHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


def library() -> bytes:
    """The shared object: a page of tables, one of code, one of data (System V ABI, x86-64 supplement)."""
    strings = b"\0syscall\0ptrace\0"
    symbols = _SYMBOL.pack(0, 0, 0, 0, 0, 0)
    symbols += _SYMBOL.pack(strings.index(b"syscall"), 0x12, 0, 0, 0, 0)
    symbols += _SYMBOL.pack(strings.index(b"ptrace"), 0x12, 0, 1, PAGE, PAGE)
    tables = {
        "hash": struct.pack("<7I", 1, 3, 2, 0, 0, 1, 0),  # one bucket: symbol 2, then 1
        "symbols": symbols,
        "strings": strings,
        "relocations": struct.pack("<QQq", 2 * PAGE + _GOT, 1 << 32 | 6, 0),  # R_X86_64_GLOB_DAT of symbol 1
    }
    page = bytearray(_ELF.size + 4 * _SEGMENT.size)
    at = {}
    for name, data in tables.items():
        page += bytes(-len(page) % 8)
        at[name] = len(page)
        page += data
    dynamic = b"".join(
        struct.pack("<QQ", tag, value)
        for tag, value in (
            (4, at["hash"]), (5, at["strings"]), (6, at["symbols"]), (10, len(strings)), (11, _SYMBOL.size),
            (7, at["relocations"]), (8, 24), (9, 24), (0, 0),
        )
    )  # fmt: skip
    content = bytearray(PAGE)
    content[_DYNAMIC : _DYNAMIC + len(dynamic)] = dynamic
    code = machine_code()
    dynamic_at = 2 * PAGE + _DYNAMIC
    segments = (
        (1, 4, 0, PAGE, PAGE, PAGE),
        (1, 5, PAGE, len(code), len(code), PAGE),
        (1, 6, 2 * PAGE, PAGE, _STATE + 2 * STATE_SIZE, PAGE),
        (2, 6, dynamic_at, len(dynamic), len(dynamic), 8),
    )
    _ELF.pack_into(
        page,
        0,
        b"\x7fELF",
        2,
        1,
        1,
        0,
        3,
        62,
        1,
        0,
        _ELF.size,
        0,
        0,
        _ELF.size,
        _SEGMENT.size,
        len(segments),
        64,
        0,
        0,
    )
    for number, (kind, flags, offset, size, memory, alignment) in enumerate(segments):
        _SEGMENT.pack_into(
            page,
            _ELF.size + number * _SEGMENT.size,
            kind,
            flags,
            offset,
            offset,
            offset,
            size,
            memory,
            alignment,
        )
    return bytes(page).ljust(PAGE, b"\0") + code + bytes(content)


def open_library() -> int:
    """A descriptor of the library, in memory."""
    return sealed("ptrace", library())
