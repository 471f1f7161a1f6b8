"""The stub: a tiny static ELF file that carries out a table of system calls and then jumps.

Its code reads rows of seven words (see x86_64.py). One fixed stub serves every execve; the first process
of a container gets a stub of its own with its whole start written into the table.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Sequence

from pycontain.platforms.trap import x86_64 as arch

PAGE = 4096
BASE = 0x5555_0000_0000  # high, so that brk starts behind it and non-PIE programs find their addresses free
CODE = BASE + PAGE
DATA = BASE + 2 * PAGE
ROW = struct.Struct("<Q6Q")
WORD = 0xFFFF_FFFF_FFFF_FFFF
END, ZERO = -1, -2
EXEC_TABLE = 12 * PAGE  # bytes of data pages for execve: three rows for each of 2 x 128 segments, and a path

_ELF = struct.Struct("<4s4B8xHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
PT_LOAD, PT_GNU_STACK, R, W, X = 1, 0x6474E551, 4, 2, 1


def row(number: int, *arguments: int) -> bytes:
    return ROW.pack(number & WORD, *(a & WORD for a in arguments), *([0] * (6 - len(arguments))))


def image(code: bytes, data: bytes) -> bytes:
    """The ELF file: one page of code, then pages of data."""
    size = (len(data) + PAGE - 1) // PAGE * PAGE
    header = _ELF.pack(
        b"\x7fELF", 2, 1, 1, 0, 2, arch.ELF_MACHINE, 1, CODE, 64, 0, 0, 64, _PROGRAM_HEADER.size, 3, 64, 0, 0
    )
    header += _PROGRAM_HEADER.pack(PT_LOAD, R | X, PAGE, CODE, CODE, len(code), len(code), PAGE)
    header += _PROGRAM_HEADER.pack(PT_LOAD, R | W, 2 * PAGE, DATA, DATA, size, size, PAGE)
    header += _PROGRAM_HEADER.pack(PT_GNU_STACK, R | W, 0, 0, 0, 0, 0, 16)
    return header.ljust(PAGE, b"\0") + code.ljust(PAGE, b"\0") + data.ljust(size, b"\0")


def memfd(content: bytes, name: str) -> int:
    """A sealed memory file: the same description goes to many tasks, none may change it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    seal(fd)
    return fd


def seal(fd: int) -> None:
    fcntl.fcntl(
        fd,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE,
    )


def exec_stub() -> int:
    """The stub that every execve goes through; the table is written by the kernel at the exec event."""
    return memfd(image(arch.STUB_CODE, bytes(EXEC_TABLE)), "stub")


class Table:
    """A data area under construction: blobs with known addresses, then the rows."""

    def __init__(self) -> None:
        self._blob = bytearray()
        self._rows: list[bytes] = []
        self._room = 64 * ROW.size  # rows come first, blobs behind them

    def put(self, data: bytes, align: int = 8) -> int:
        """Place data; returns its address."""
        self._blob += bytes(-len(self._blob) % align)
        at = DATA + self._room + len(self._blob)
        self._blob += data
        return at

    def call(self, name: str, *arguments: int) -> int:
        """Append a row; returns the address where the result will stand."""
        at = DATA + ROW.size * len(self._rows)
        self._rows.append(row(arch.NUMBERS[name], *arguments))
        return at

    def strings(self, values: Sequence[bytes]) -> int:
        """A NULL-terminated array of pointers to NUL-terminated strings."""
        pointers = [self.put(value + b"\0", 1) for value in values]
        return self.put(struct.pack(f"<{len(pointers) + 1}Q", *pointers, 0))

    def image(self) -> bytes:
        rows = b"".join(self._rows) + row(END)
        assert len(rows) <= self._room
        return image(arch.launch_code(DATA), rows.ljust(self._room, b"\0") + bytes(self._blob))
