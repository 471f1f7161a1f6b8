"""A split virtqueue, seen from the device: buffers that the guest offers and takes back.

Virtual I/O Device (VIRTIO) 1.1, section 2.6. Everything in the rings is the guest's and is checked. The guest's
memory is a file that is read and written (not mapped: a file that is cut short would kill this process).
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from pycontain.errors import MachineError

_DESCRIPTOR = struct.Struct("<QIHH")
_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_NO_INTERRUPT = 1
MOST = 1 << 20
"""Bytes that one chain of buffers may have."""
LARGEST = 1024
"""Entries of a ring."""


class Region(NamedTuple):
    """Guest-physical memory [start, start + size) lies in the file fd from offset on."""

    start: int
    size: int
    offset: int
    fd: int


class Memory:
    """The guest's memory. MachineError for an address outside of it, or where the file is too short."""

    def __init__(self, regions: list[Region]) -> None:
        self._regions = regions

    def _find(self, address: int, size: int) -> tuple[int, int]:
        for region in self._regions:
            if region.start <= address and address + size <= region.start + region.size:
                return region.fd, region.offset + address - region.start
        raise MachineError(f"talk to the guest: its device points to {address:#x}, outside of its memory")

    def read(self, address: int, size: int) -> bytes:
        """Exactly size bytes."""
        fd, offset = self._find(address, size)
        data = os.pread(fd, size, offset)
        if len(data) != size:
            raise MachineError("talk to the guest: its memory is shorter than it said")
        return data

    def write(self, address: int, data: bytes | memoryview) -> None:
        """All of it."""
        fd, offset = self._find(address, len(data))
        if os.pwrite(fd, data, offset) != len(data):
            raise MachineError("talk to the guest: its memory cannot be written")

    def close(self) -> None:
        """Let go of the file."""
        for region in self._regions:
            os.close(region.fd)
        self._regions = []


class Chain(NamedTuple):
    """Buffers offered together. parts: (address, length); writable: by us, else readable."""

    head: int
    parts: list[tuple[int, int]]
    writable: bool

    @property
    def size(self) -> int:
        return sum(length for _, length in self.parts)


class Virtqueue:
    """One queue; addresses are guest-physical."""

    def __init__(self) -> None:
        self.size = 0
        self.descriptors = self.available = self.used = 0
        self.kick = self.call = -1
        self.enabled = False
        self._taken = 0
        self._given = 0
        self.memory: Memory | None = None

    @property
    def ready(self) -> bool:
        """Whether the guest has set it up."""
        return (
            self.enabled and self.memory is not None and bool(self.size and self.available and self.kick >= 0)
        )

    def begin(self, index: int) -> None:
        """Where in the rings it starts."""
        self._taken = self._given = index & 0xFFFF

    def take(self, most: int = LARGEST) -> list[Chain]:
        """Chains that the guest has offered since the last time, at most so many. MachineError."""
        if not self.ready or self.memory is None:
            return []
        (offered,) = struct.unpack("<H", self.memory.read(self.available + 2, 2))
        count = (offered - self._taken) & 0xFFFF
        if count > self.size:
            raise MachineError("talk to the guest: its device offers more buffers than there are")
        chains = []
        for _ in range(min(count, most)):
            place = self.available + 4 + 2 * (self._taken % self.size)
            (head,) = struct.unpack("<H", self.memory.read(place, 2))
            chains.append(self._chain(head))
            self._taken = (self._taken + 1) & 0xFFFF
        return chains

    def _chain(self, head: int) -> Chain:
        assert self.memory is not None
        parts: list[tuple[int, int]] = []
        total = 0
        index, writable = head, None
        for _ in range(self.size):
            if index >= self.size:
                break
            address, length, flags, following = _DESCRIPTOR.unpack(
                self.memory.read(self.descriptors + 16 * index, 16)
            )
            total += length
            if flags & _INDIRECT or total > MOST or writable not in (None, bool(flags & _WRITE)):
                break
            writable = bool(flags & _WRITE)
            parts.append((address, length))
            if not flags & _NEXT:
                return Chain(head, parts, writable)
            index = following
        raise MachineError("talk to the guest: a buffer of its device is malformed")

    def read(self, chain: Chain) -> bytes:
        """The bytes of a readable chain."""
        if chain.writable or self.memory is None:
            raise MachineError("talk to the guest: a buffer of its device goes the wrong way")
        return b"".join([self.memory.read(address, length) for address, length in chain.parts])

    def fill(self, chain: Chain, data: bytes) -> None:
        """Write to a writable chain; it has room."""
        if not chain.writable or self.memory is None or chain.size < len(data):
            raise MachineError("talk to the guest: a buffer of its device goes the wrong way")
        view = memoryview(data)
        for address, length in chain.parts:
            if view:
                self.memory.write(address, view[:length])
                view = view[length:]

    def give(self, chains: list[tuple[Chain, int]]) -> None:
        """Hand chains back, each with the number of bytes that were written to it, and tell the guest."""
        if not chains or self.memory is None:
            return
        for chain, written in chains:
            place = self.used + 4 + 8 * (self._given % self.size)
            self.memory.write(place, struct.pack("<II", chain.head, written))
            self._given = (self._given + 1) & 0xFFFF
        self.memory.write(self.used + 2, struct.pack("<H", self._given))
        (flags,) = struct.unpack("<H", self.memory.read(self.available, 2))
        if not flags & _NO_INTERRUPT and self.call >= 0:
            try:
                os.write(self.call, struct.pack("<Q", 1))
            except BlockingIOError:
                pass  # it has not seen the last ones yet
            except BrokenPipeError:
                raise MachineError("talk to the guest: the machine has ended") from None

    def close(self) -> None:
        """Let go of the descriptors."""
        for fd in (self.kick, self.call):
            if fd >= 0:
                os.close(fd)
        self.kick = self.call = -1
        self.enabled = False
