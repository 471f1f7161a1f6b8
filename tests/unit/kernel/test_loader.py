"""ELF headers and the first lines of scripts, well-formed and not."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from pycontain.kernel.loader import EM_AARCH64, EM_X86_64, Loader, Script

ELF = struct.Struct("<4s4B8xHHIQQQIHHHHHH")
PROGRAM = struct.Struct("<IIQQQQQQ")
LOAD, INTERPRETER, SELF, STACK = 1, 3, 6, 0x6474E551
EXEC, DYN, CORE = 2, 3, 4


def elf(
    *programs: tuple[int, ...], kind: int = DYN, machine: int = EM_X86_64, size: int = 8192, **fields: int
) -> bytes:
    head = ELF.pack(
        b"\x7fELF", fields.get("klass", 2), fields.get("order", 1), 1, 0, kind, machine, 1, 0x1040,
        fields.get("phoff", 64), 0, 0, 64, fields.get("phentsize", 56), fields.get("phnum", len(programs)), 64, 0, 0,
    )  # fmt: skip
    table = b"".join(PROGRAM.pack(*p) for p in programs)
    return (head + table).ljust(size, b"\0")


def load(offset: int, address: int, file_size: int, memory_size: int, flags: int = 5) -> tuple[int, ...]:
    return (LOAD, flags, offset, address, address, file_size, memory_size, 4096)


def read(tmp_path: Path, data: bytes, machine: int = EM_X86_64) -> object:
    path = tmp_path / "program"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        return Loader(machine).read(fd)
    finally:
        os.close(fd)


def error(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(OSError) as caught:
        read(tmp_path, data)
    return errno.errorcode[caught.value.errno or 0]


def script(tmp_path: Path, data: bytes) -> tuple[bytes, bytes | None]:
    with pytest.raises(Script) as caught:
        read(tmp_path, data)
    return caught.value.interpreter, caught.value.argument


def test_segments(tmp_path: Path) -> None:
    binary = read(
        tmp_path, elf(load(0, 0x400000, 0x1000, 0x1000), load(0x1000, 0x402000, 0x800, 0x3000, 6), kind=EXEC)
    )
    assert binary.fixed and binary.entry == 0x1040 and binary.interpreter is None  # type: ignore[attr-defined]
    assert binary.phdr == 0x400040 and binary.phnum == 2  # type: ignore[attr-defined]
    assert [s.protection for s in binary.segments] == [5, 3]  # type: ignore[attr-defined]


def test_interpreter_and_stack(tmp_path: Path) -> None:
    data = bytearray(
        elf(
            load(0, 0, 0x1000, 0x1000),
            (INTERPRETER, 4, 0x800, 0x800, 0x800, 28, 28, 1),
            (STACK, 7, 0, 0, 0, 0, 0, 16),
        )
    )
    data[0x800:0x81C] = b"/lib64/ld-linux-x86-64.so.2\0"
    binary = read(tmp_path, bytes(data))
    assert binary.interpreter == b"/lib64/ld-linux-x86-64.so.2"  # type: ignore[attr-defined]
    assert binary.executable_stack and not binary.fixed  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"text", b"\x7fELF", elf(), elf(load(0, 0, 0x1000, 0x1000), machine=EM_AARCH64),
        elf(load(0, 0, 0x1000, 0x1000), klass=1), elf(load(0, 0, 0x1000, 0x1000), order=2),
        elf(load(0, 0, 0x1000, 0x1000), kind=CORE), elf(load(0, 0, 0x1000, 0x1000), phentsize=32),
        elf(load(0, 0, 0x1000, 0x1000), phnum=0), elf(load(0, 0, 0x1000, 0x1000), phnum=65535),
        elf(load(0, 0, 0x1000, 0x1000), phoff=1 << 40), elf(load(0, 0, 0x1000, 0x1000), phoff=8190),
        elf(load(0, 0, 0x2000, 0x1000)), elf(load(0x100000, 0, 0x1000, 0x1000)), elf(load(1, 0, 0x1000, 0x1000)),
        elf(load(0, (1 << 64) - 4096, 0x1000, 0x2000)), elf(load(0, 0, 0x1000, 1 << 63)),
        elf(load(0, 0, 0x1000, 0x1000), (INTERPRETER, 4, 0, 0, 0, 0, 0, 1)),
        elf(load(0, 0, 0x1000, 0x1000), (INTERPRETER, 4, 0, 0, 0, 5000, 5000, 1)), elf((STACK, 7, 0, 0, 0, 0, 0, 16)),
    ],
)  # fmt: skip
def test_what_is_no_program(tmp_path: Path, data: bytes) -> None:
    assert error(tmp_path, data) == "ENOEXEC"


def test_another_machine(tmp_path: Path) -> None:
    read(tmp_path, elf(load(0, 0, 0x1000, 0x1000), machine=EM_AARCH64), EM_AARCH64)


def test_headers_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(elf(load(0, 0, 0x1000, 0x1000)))
    loader = Loader()
    fd = os.open(path, os.O_RDWR)
    first = loader.read(fd)
    assert loader.read(fd) is first
    os.pwrite(fd, b"#!/bin/sh\n", 0)
    os.utime(path, ns=(1, 1))
    with pytest.raises(Script):
        loader.read(fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"#!/bin/sh\n", (b"/bin/sh", None)), (b"#!", (b"", None)), (b"#! \t/bin/sh \t\n", (b"/bin/sh", None)),
        (b"#!/bin/sh -e -x \n", (b"/bin/sh", b"-e -x")), (b"#!/bin/sh\targ", (b"/bin/sh", b"arg")),
        (b"#!/bin/sh\0ignored\n", (b"/bin/sh", None)), (b"#!/bin/sh \r\n", (b"/bin/sh", b"\r")), (b"#!sh", (b"sh", None)),
        (b"#!/bin/sh " + b"x" * 300, (b"/bin/sh", b"x" * 245)), (b"#!/bin/sh " + b"y" * 245 + b"\n", (b"/bin/sh", b"y" * 245)),
    ],
)  # fmt: skip
def test_scripts(tmp_path: Path, line: bytes, expected: tuple[bytes, bytes | None]) -> None:
    assert script(tmp_path, line) == expected


@pytest.mark.parametrize(
    "line", [b"#!\n", b"#!  \t \n", b"#!/" + b"x" * 300, b"#!" + b" " * 300 + b"/bin/sh\n"]
)
def test_what_is_no_script(tmp_path: Path, line: bytes) -> None:
    assert error(tmp_path, line) == "ENOEXEC"


def test_random_headers_end_in_an_errno(tmp_path: Path) -> None:
    import random

    source = random.Random(7)
    whole = elf(
        load(0, 0, 0x1000, 0x1000),
        (INTERPRETER, 4, 0x800, 0x800, 0x800, 28, 28, 1),
        load(0x1000, 0x2000, 1, 0x1000, 6),
    )
    for _ in range(3000):
        data = bytearray(whole[: source.choice((len(whole), 300, 64))])
        for _ in range(source.randrange(1, 6)):
            data[source.randrange(min(len(data), 240))] = source.randrange(256)
        try:
            read(tmp_path, bytes(data))
        except (OSError, Script):
            pass
