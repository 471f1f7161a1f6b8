"""The metadata journal of a writable tree: an append-only file of msgpack records.

Two kinds of record, replayed in order over the image's tree give the container's tree again:

    [ino, mode, uid, gid, mtime, ctime, rdev, nlink, target, xattrs, content, size, parent, name]
        the inode's new state; content: None (own backing file), True (the image's), or a host path
    [directory, name, child, time]
        the directory's entry name now is inode child (0: there is none); its mtime and ctime are time

A record that was cut off by a crash is the last one and is dropped.

Room on the disk is reserved ahead of the records, so that what a container has been told is done can be written even
if the disk is full by then: room() is asked before anything is made, and removing always goes on.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from pycontain.errors import DISK_FULL

BUFFER = 64 << 10
RESERVE = 4 * BUFFER
FALLOC_FL_KEEP_SIZE = 1

_libc = ctypes.CDLL(None, use_errno=True)


class Journal:
    """Append records to a file. Buffered: sync() before another process reads it.

    wake is called when the first record enters an empty buffer, so that somebody can see to a sync() soon.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._pack = msgpack.Packer(use_bin_type=True).pack
        self._buffer = bytearray()
        self._end = os.fstat(self._fd).st_size  # of what is written
        self._reserved = 0  # up to here the disk has room for us; -1: its file system cannot tell
        self.wake: Callable[[], None] | None = None

    def room(self) -> bool:
        """Is there room on the disk for more than what is to be written already?"""
        if self._reserved < 0 or self._end + len(self._buffer) + 2 * BUFFER <= self._reserved:
            return True
        wanted = self._end + RESERVE
        start, size = ctypes.c_longlong(self._end), ctypes.c_longlong(wanted - self._end)
        if _libc.fallocate(self._fd, FALLOC_FL_KEEP_SIZE, start, size) == 0:
            self._reserved = wanted
            return True
        if ctypes.get_errno() in DISK_FULL:
            return False
        self._reserved = -1
        return True

    def append(self, record: tuple[Any, ...]) -> None:
        if not self._buffer and self.wake is not None:
            self.wake()
        self._buffer += self._pack(record)
        if len(self._buffer) > BUFFER:
            self.sync()

    def sync(self) -> None:
        """Hand everything to the host kernel (not to the disk: a container does not outlive a crash of it)."""
        while self._buffer:
            written = os.write(self._fd, self._buffer)
            self._end += written
            del self._buffer[:written]

    def close(self) -> None:
        try:
            self.sync()
            os.ftruncate(self._fd, self._end)  # gives back what is reserved
        finally:
            os.close(self._fd)


def read(path: str) -> Iterator[list[Any]]:
    """The records of a journal, as far as they are whole."""
    if not os.path.exists(path):
        return
    with open(path, "rb") as file:
        unpacker = msgpack.Unpacker(file, raw=False, strict_map_key=False, max_buffer_size=1 << 30)
        good = 0
        while True:
            try:
                record = unpacker.unpack()
            except msgpack.OutOfData:
                break
            good = unpacker.tell()
            yield record
        size = os.fstat(file.fileno()).st_size
    if good < size:
        os.truncate(path, good)  # so that what is appended next follows a whole record
