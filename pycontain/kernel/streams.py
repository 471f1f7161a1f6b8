"""Standard output and error of a container: read by the kernel, written to the log and to who is attached.

The log is a sequence of records {u64 time in ns, u8 stream, u32 length} + bytes, little-endian.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pycontain.errors import DISK_FULL

if TYPE_CHECKING:
    from pycontain.kernel.loop import Loop

RECORD = struct.Struct("<QBI")
CHUNK = 1 << 16
STDOUT, STDERR = 1, 2


class Log:
    """An append-only log file; records are written whole."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, stream: int, data: bytes) -> None:
        head = RECORD.pack(time.time_ns(), stream, len(data))
        try:
            written = os.writev(self._fd, [head, data])
            if written < len(head) + len(data):
                # the disk is full now: no half record, the next one follows it
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        except OSError as error:
            if error.errno not in DISK_FULL:  # that loses log lines, not the container
                raise

    def close(self) -> None:
        os.close(self._fd)


class Output:
    """One stream: a pipe's or terminal's read end in the loop. sink(stream, data) gets what is read."""

    def __init__(self, loop: Loop, fd: int, stream: int, sink: Callable[[int, bytes], None]) -> None:
        self.fd = fd
        self.stream = stream
        self.ended = False
        self._loop = loop
        self._sink = sink
        self._paused = False
        os.set_blocking(fd, False)
        loop.register(fd, self._ready)

    def _ready(self, events: int) -> None:
        self.read_some()

    def read_some(self) -> bool:
        """Read once; True if there was something."""
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # EIO: the last slave of a terminal was closed
        if not data:
            self.close()
            return False
        self._sink(self.stream, data)
        return True

    def pause(self, paused: bool) -> None:
        """Stop reading while the one who is attached does not keep up."""
        if self.ended or paused == self._paused:
            return
        self._paused = paused
        self._loop.poll.modify(self.fd, 0 if paused else select.EPOLLIN)

    def drain(self) -> None:
        while not self.ended and self.read_some():
            pass

    def close(self) -> None:
        if not self.ended:
            self.ended = True
            self._loop.unregister(self.fd)
            os.close(self.fd)


def open_terminal(rows: int, columns: int) -> tuple[int, int, int]:
    """A pseudo terminal: (master, slave, number)."""
    master, slave = os.openpty()
    number = int(os.ttyname(slave).rsplit("/", 1)[1])
    if rows and columns:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    return master, slave, number
