"""What an ELF file says it needs (System V ABI, chapters 4 and 5): interpreter, libraries, search paths."""

from __future__ import annotations

import struct
from typing import IO, NamedTuple

MAGIC = b"\x7fELF"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 14, 15, 29


class Elf(NamedTuple):
    """machine: e_machine and class, (62, 64) is x86-64; interpreter: "" for what is static, or a library."""

    machine: tuple[int, int]
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    soname: str = ""


def read_elf(path: str) -> Elf | None:
    """The file's needs; None where it is no ELF program or library. OSError from reading."""
    with open(path, "rb") as file:
        head = file.read(64)
        if len(head) < 52 or head[:4] != MAGIC:
            return None
        bits = 64 if head[4] == 2 else 32
        order = "<" if head[5] == 1 else ">"
        form = "HHIQQQIHHH" if bits == 64 else "HHIIIIIHHH"
        try:
            kind, machine, _, _, phoff, _, _, _, phentsize, phnum = struct.unpack_from(order + form, head, 16)
            if kind not in (2, 3) or phnum > 256:  # programs and libraries; not object files or cores
                return None
            file.seek(phoff)
            headers = file.read(phentsize * phnum)
            segments = [_segment(headers, index * phentsize, bits, order) for index in range(phnum)]
            found = Elf((machine, bits))
            for kind, offset, _address, size in segments:
                file.seek(offset)
                if kind == _PT_INTERP:
                    found = found._replace(interpreter=_text(file.read(min(size, 4096)), 0))
                elif kind == _PT_DYNAMIC:
                    dynamic = file.read(min(size, 1 << 20))
                    found = _dynamic(found, file, dynamic, segments, bits, order)
        except (struct.error, ValueError):
            return None
    return found


def _segment(data: bytes, at: int, bits: int, order: str) -> tuple[int, int, int, int]:
    """type, file offset, address, size in the file"""
    if bits == 64:
        kind, _flags, offset, address, _, size = struct.unpack_from(order + "IIQQQQ", data, at)
    else:
        kind, offset, address, _, size = struct.unpack_from(order + "IIIII", data, at)
    return kind, offset, address, size


def _dynamic(
    found: Elf, file: IO[bytes], data: bytes, segments: list[tuple[int, int, int, int]], bits: int, order: str
) -> Elf:
    entry = struct.Struct(order + ("qQ" if bits == 64 else "iI"))
    values: dict[int, list[int]] = {}
    for tag, value in entry.iter_unpack(data[: len(data) // entry.size * entry.size]):
        if tag == 0:
            break
        values.setdefault(tag, []).append(value)
    if _DT_STRTAB not in values:
        return found
    address = values[_DT_STRTAB][0]
    for kind, offset, start, size in segments:
        if kind == _PT_LOAD and start <= address < start + size:
            file.seek(offset + address - start)
            strings = file.read(min(size - (address - start), 1 << 20))
            break
    else:
        return found

    def texts(tag: int) -> list[str]:
        return [_text(strings, value) for value in values.get(tag, [])]

    def paths(tag: int) -> tuple[str, ...]:
        return tuple(path for text in texts(tag) for path in text.split(":") if path)

    return found._replace(
        needed=tuple(texts(_DT_NEEDED)),
        rpath=paths(_DT_RPATH),
        runpath=paths(_DT_RUNPATH),
        soname=next(iter(texts(_DT_SONAME)), ""),
    )


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("utf-8", "surrogateescape")
