"""The guest's first program: a static ELF file of one page of code, generated here.

It knows nothing of containers. It carries out tables of system calls (table.py) that the host sends through a
virtio port, and sends back the bytes that the table asks for; so all that happens in the guest's user space is
decided on the host, in Python, and the guest needs no compiler, no shell and no file of ours but this one.

    start:  carry out the table that is part of the file (mount /dev, load modules, open the port as CONTROL)
    loop:   read a frame, u64 length and as many bytes, to ARENA
            carry out the table at ARENA; END {address, length} writes that region to the port; loop

A row is seven words. Word 0 is a system call's number, then come six arguments; its result replaces word 0.
Negative numbers are the agent's own operations, `a` and `b` being words 1 and 2:

    END a b       write b bytes at a to the port; read the next frame
    COPY a b      [a] = [b]
    COPY32 a b    [a] = the 32-bit word at b
    ADD a b       if [b] > 0: [a] += [b]
    IF_NEGATIVE a b   if [a] < 0: go on with the row at b
    IF_ZERO a b       if [a] == 0: go on with the row at b
    NEGATE a b  [a] = -[b]

A failing read or write of the port (no host there yet, or none any more) is tried again every millisecond.
"""

from __future__ import annotations

import struct

from pycontain.vm.assembler import Assembler

END, COPY, COPY32, ADD, IF_NEGATIVE, IF_ZERO, NEGATE = -1, -2, -3, -4, -5, -6, -7
ROW = struct.Struct("<7q")
CONTROL = 900
"""The descriptor of the port in the agent."""
PAGE = 4096
CODE = 0x400000
START = 0x500000
"""Where the file's own table is loaded."""
ARENA = 0x10000000
ARENA_SIZE = 6 << 20
"""Bytes. A frame from the host, and everything its table reads, must fit; pages that are not used cost nothing."""
HEADER = ARENA - PAGE
NANOSLEEP, EXIT_ARGUMENTS = 35, 6
_ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")


def machine_code() -> bytes:
    """The interpreter."""
    a = Assembler()
    a.load_immediate("rbx", START)
    a.label("next")
    a.load("rax", "rbx")
    a.test("rax")
    a.jump("js", "special")
    for number, register in enumerate(_ARGUMENTS, 1):
        a.load(register, "rbx", 8 * number)
    a.syscall()
    a.store("rbx", "rax")
    a.label("step")
    a.add_immediate("rbx", ROW.size)
    a.jump("jmp", "next")
    a.label("special")
    a.load("rdi", "rbx", 8)
    a.load("rsi", "rbx", 16)
    for operation in (END, COPY, COPY32, ADD, IF_NEGATIVE, IF_ZERO, NEGATE):
        a.compare_immediate("rax", operation)
        a.jump("je", f"op{-operation}")
    a.jump("jmp", "step")
    a.label(f"op{-COPY}")
    a.load("rax", "rsi")
    a.store("rdi", "rax")
    a.jump("jmp", "step")
    a.label(f"op{-COPY32}")
    a.load32("rax", "rsi")
    a.store("rdi", "rax")
    a.jump("jmp", "step")
    a.label(f"op{-ADD}")
    a.load("rax", "rsi")
    a.test("rax")
    a.jump("jle", "step")
    a.add_to_memory("rdi", "rax")
    a.jump("jmp", "step")
    a.label(f"op{-NEGATE}")
    a.load("rax", "rsi")
    a.load_immediate("rcx", 0)
    a.subtract("rcx", "rax")
    a.store("rdi", "rcx")
    a.jump("jmp", "step")
    a.label(f"op{-IF_NEGATIVE}")
    a.load("rax", "rdi")
    a.test("rax")
    a.jump("jns", "step")
    a.move("rbx", "rsi")
    a.jump("jmp", "next")
    a.label(f"op{-IF_ZERO}")
    a.load("rax", "rdi")
    a.test("rax")
    a.jump("jne", "step")
    a.move("rbx", "rsi")
    a.jump("jmp", "next")
    # END: write rsi bytes at rdi
    a.label(f"op{-END}")
    a.move("r12", "rdi")
    a.move("r13", "rsi")
    _transfer(a, 1, "write", "receive")
    a.label("receive")
    a.load_immediate("r12", HEADER)
    a.load_immediate("r13", 8)
    _transfer(a, 0, "read_header", "body")
    a.label("body")
    a.load_immediate("r12", HEADER)
    a.load("r13", "r12")
    a.load_immediate("r12", ARENA)
    _transfer(a, 0, "read_body", "carry_out")
    a.label("carry_out")
    a.load_immediate("rbx", ARENA)
    a.jump("jmp", "next")
    return a.code()


def _transfer(a: Assembler, call: int, label: str, done: str) -> None:
    """Read or write all of the r13 bytes at r12; then go to `done`."""
    a.label(label)
    a.test("r13")
    a.jump("jle", done)
    a.load_immediate("rax", call)
    a.load_immediate("rdi", CONTROL)
    a.move("rsi", "r12")
    a.move("rdx", "r13")
    a.syscall()
    a.test("rax")
    a.jump("jle", label + "_wait")
    a.add("r12", "rax")
    a.subtract("r13", "rax")
    a.jump("jmp", label)
    a.label(label + "_wait")
    a.load_immediate("rax", NANOSLEEP)
    a.load_immediate("rdi", HEADER + 64)  # struct timespec, see elf()
    a.load_immediate("rsi", 0)
    a.syscall()
    a.jump("jmp", label)


_ELF = struct.Struct("<4s4B8xHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")


def elf(table: bytes) -> bytes:
    """The program's file; table: what it does first, for the address START."""
    code = machine_code()
    header_page = bytearray(PAGE)
    struct.pack_into("<QQ", header_page, 64, 0, 1_000_000)
    parts = [
        (CODE, 5, code, len(code)),
        (START, 6, table, len(table)),
        (HEADER, 6, bytes(header_page), PAGE + ARENA_SIZE),
    ]
    header = _ELF.pack(
        b"\x7fELF", 2, 1, 1, 0, 2, 62, 1, CODE, 64, 0, 0, 64, _SEGMENT.size, len(parts) + 1, 64, 0, 0
    )
    body = bytearray()
    offset = PAGE
    for address, flags, data, memory in parts:
        header += _SEGMENT.pack(1, flags, offset, address, address, len(data), memory, PAGE)
        padded = data.ljust((len(data) + PAGE - 1) // PAGE * PAGE, b"\0")
        body += padded
        offset += len(padded)
    header += _SEGMENT.pack(0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return header.ljust(PAGE, b"\0") + bytes(body)
