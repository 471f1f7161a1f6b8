"""From a path to something that can be mapped: ELF files and scripts. elf(5), execve(2)."""

from __future__ import annotations

import errno
import os
import struct

from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import Binary, Segment

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_INTERP, PT_PHDR, PT_GNU_STACK = 1, 3, 6, 0x6474E551
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
MAX_HEADERS = 128
SCRIPT_LINE = 256  # BINPRM_BUF_SIZE
EM_386, EM_X86_64, EM_AARCH64 = 3, 62, 183
PAGE_MASK = 4095
ADDRESS_END = 1 << 46  # beyond which no program asks for memory


class Script(Exception):
    """The file is a script; interpreter and its one optional argument."""

    def __init__(self, interpreter: bytes, argument: bytes | None) -> None:
        super().__init__(interpreter)
        self.interpreter = interpreter
        self.argument = argument


class Loader:
    """Reads headers; remembers those of files that were not changed since."""

    def __init__(self, machine: int = EM_X86_64) -> None:
        self._machine = machine
        self._known: dict[tuple[int, ...], Binary] = {}

    def read(self, fd: int) -> Binary:
        """Raises Script, or ENOEXEC (also for another architecture), EACCES, ELIBBAD as execve does."""
        info = os.fstat(fd)
        # the change time cannot be chosen: another container's file may get the inode number and the rest again
        key = (info.st_dev, info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size)
        found = self._known.get(key)
        if found is None:
            found = self._parse(fd, info.st_size)
            if len(self._known) > 512:
                self._known.clear()
            self._known[key] = found
        return found

    def _parse(self, fd: int, size: int) -> Binary:
        head = os.pread(fd, 4096, 0)
        if head[:2] == b"#!":
            raise _script(head)
        if len(head) < 64 or head[:4] != b"\x7fELF":
            fail(errno.ENOEXEC)
        if head[4] != 2 or head[5] != 1:
            fail(errno.ENOEXEC)  # 32-bit or big-endian
        kind, machine, _, entry, phoff = struct.unpack_from("<HHIQQ", head, 16)
        phentsize, phnum = struct.unpack_from("<HH", head, 54)
        if machine != self._machine or kind not in (ET_EXEC, ET_DYN) or phentsize != PROGRAM_HEADER.size:
            fail(errno.ENOEXEC)
        if not 0 < phnum <= MAX_HEADERS:
            fail(errno.ENOEXEC)
        table = os.pread(fd, phnum * phentsize, phoff) if phoff < size else b""
        if len(table) != phnum * phentsize:
            fail(errno.ENOEXEC)
        segments: list[Segment] = []
        interpreter: bytes | None = None
        phdr = 0
        stack = False
        for number in range(phnum):
            ptype, flags, offset, address, _, file_size, memory_size, _ = PROGRAM_HEADER.unpack_from(
                table, number * phentsize
            )
            if ptype == PT_LOAD:
                if file_size > memory_size or offset + file_size > size or (offset - address) & PAGE_MASK:
                    fail(errno.ENOEXEC)
                if address + memory_size > ADDRESS_END:
                    fail(errno.ENOEXEC)
                if memory_size == 0:
                    continue
                protection = (flags >> 2 & 1) | (flags & 2) | (flags & 1) << 2
                segments.append(Segment(offset, address, file_size, memory_size, protection))
                if not phdr and offset <= phoff < offset + file_size:
                    phdr = address + phoff - offset
            elif ptype == PT_INTERP:
                if not 1 < file_size <= 4096 or offset + file_size > size:
                    fail(errno.ENOEXEC)
                interpreter = os.pread(fd, file_size, offset).split(b"\0", 1)[0]
            elif ptype == PT_PHDR:
                phdr = address
            elif ptype == PT_GNU_STACK:
                stack = bool(flags & 1)
        if not segments or max(entry, phdr) >= ADDRESS_END:
            fail(errno.ENOEXEC)
        return Binary(kind == ET_EXEC, entry, phdr, phentsize, phnum, tuple(segments), interpreter, stack)


def _script(head: bytes) -> Script:
    """What load_script of Linux (fs/binfmt_script.c) makes of the first line: it looks at 256 bytes, and only
    spaces, tabs and NUL separate."""
    buffer = head[:SCRIPT_LINE].ljust(SCRIPT_LINE, b"\0")
    line, newline, _ = buffer[2:].partition(b"\n")
    if not newline:
        line = buffer[2 : SCRIPT_LINE - 1]
        start = line.lstrip(b" \t")
        if not any(separator in start for separator in (b" ", b"\t", b"\0")):
            fail(errno.ENOEXEC)  # all blank, or the interpreter's name itself may be cut off
    line = line.strip(b" \t")
    end = next((at for at, byte in enumerate(line) if byte in b" \t\0"), len(line))
    interpreter = line[:end]
    if not line:
        fail(errno.ENOEXEC)
    argument = line[end:].lstrip(b" \t").split(b"\0", 1)[0] if line[end : end + 1] in (b" ", b"\t") else b""
    return Script(interpreter, argument or None)
