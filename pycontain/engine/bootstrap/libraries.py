"""Where the dynamic loader would find a library: RPATH, RUNPATH, ld.so.cache, standard places (ld.so(8))."""

from __future__ import annotations

import os
import struct

from pycontain.engine.bootstrap.elf import Elf, read_elf

_CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"


class Libraries:
    """Finds libraries for one machine; remembers what it has read."""

    def __init__(self) -> None:
        self._cache: dict[str, list[str]] | None = None
        self._read: dict[str, Elf | None] = {}

    def elf(self, path: str) -> Elf | None:
        """What the file needs, None where it is no ELF file. OSError from reading."""
        real = os.path.realpath(path)
        if real not in self._read:
            self._read[real] = read_elf(real)
        return self._read[real]

    def find(self, name: str, needer: str, elf: Elf, inherited: tuple[str, ...]) -> str | None:
        """The path of library `name` for the file `needer`; inherited: RPATHs of those that needed it.

        None where there is none: the program would not start on this host either.
        """
        if "/" in name:
            return name if self._fits(name, elf) else None
        search = elf.runpath or (*elf.rpath, *inherited)
        for directory in search:
            path = os.path.join(expand(directory, needer, elf), name)
            if self._fits(path, elf):
                return os.path.normpath(path)
        if self._cache is None:
            self._cache = read_cache(_CACHE)
        for path in self._cache.get(name, ()):
            if self._fits(path, elf):
                return path
        for directory in standard_directories(elf.machine):
            path = f"{directory}/{name}"
            if self._fits(path, elf):
                return path
        return None

    def _fits(self, path: str, elf: Elf) -> bool:
        try:
            found = self.elf(path)
        except OSError:
            return False
        return found is not None and found.machine == elf.machine


def expand(directory: str, needer: str, elf: Elf) -> str:
    """$ORIGIN, $LIB and $PLATFORM in a search path."""
    origin = os.path.dirname(os.path.realpath(needer))
    lib = "lib64" if elf.machine[1] == 64 and os.path.isdir("/usr/lib64") else "lib"
    values = {"ORIGIN": origin, "LIB": lib, "PLATFORM": os.uname().machine}
    for key, value in values.items():
        directory = directory.replace("${" + key + "}", value).replace("$" + key, value)
    return directory


def standard_directories(machine: tuple[int, int]) -> list[str]:
    """Where a loader looks without a cache: the distribution's multiarch directory, lib64, lib."""
    triples = {(62, 64): "x86_64-linux-gnu", (183, 64): "aarch64-linux-gnu", (243, 64): "riscv64-linux-gnu"}
    triple = triples.get(machine)
    names = [f"lib/{triple}"] if triple else []
    names += ["lib64", "lib"] if machine[1] == 64 else ["lib"]
    found = [f"{prefix}/{name}" for name in names for prefix in ("", "/usr")]
    return [directory for directory in found if os.path.isdir(directory)]


def read_cache(path: str) -> dict[str, list[str]]:
    """Library name -> paths, of glibc's ld.so.cache, in the format since 2.2; {} where there is none."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return {}
    start = data.find(_CACHE_MAGIC)  # the old format may come before it
    if start < 0:
        return {}
    found: dict[str, list[str]] = {}
    try:
        (count,) = struct.unpack_from("<I", data, start + len(_CACHE_MAGIC))
        for index in range(count):
            _flags, key, value, _os, hwcap = struct.unpack_from("<iIIIQ", data, start + 48 + 24 * index)
            if hwcap == 0:  # others are for some processors only
                name, target = (_string(data, start + offset) for offset in (key, value))
                found.setdefault(name, []).append(target)
    except (struct.error, ValueError):
        return {}
    return found


def _string(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("utf-8", "surrogateescape")
