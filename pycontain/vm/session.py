"""A program in a guest, as the server sees it: its streams, its input, its end."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import time
import tty
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pycontain.kernel.streams import Log

INPUT_LIMIT = 1 << 20
"""Bytes of input held for a program that does not read; beyond it our source is not read either."""


class Session:
    """outputs: the agent's descriptor -> stream (1, 2); input: the agent's descriptor or -1."""

    def __init__(self, spec: dict[str, Any], log: Log | None) -> None:
        self.spec = spec
        self.log = log
        self.pid = 0
        self.outputs: dict[int, int] = {}
        self.input = -1
        self.pending = bytearray()
        self.blocked = False
        """The guest would not take more input; poll for it."""
        self.pushing = False
        """Input is on its way into the guest."""
        self.input_ended = False
        self.paused = False
        self.status: int | None = None
        self.drained = False
        self.exit_code: int | None = None
        self.started = time.time_ns()
        self.sinks: list[Callable[[int, bytes], None]] = []
        self.done: list[Callable[[Session], None]] = []
        self.terminal = bool(spec.get("terminal"))
        self.master = self.slave = -1
        self.size = (0, 0)
        if self.terminal:
            # the client gets the master: what it writes and the size that it sets are seen at the slave
            self.master, self.slave = pty.openpty()
            tty.setraw(self.slave)
            os.set_blocking(self.slave, False)
            rows, columns = spec.get("size") or (0, 0)
            self.size = (int(rows), int(columns))
            fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("<4H", *self.size, 0, 0))

    def output(self, stream: int, data: bytes) -> None:
        """To the log and to everyone who listens."""
        if self.log is not None:
            self.log.write(stream, data)
        for sink in list(self.sinks):
            sink(stream, data)

    def new_size(self) -> tuple[int, int] | None:
        """The terminal's size, if it has changed since the last time."""
        rows, columns, _, _ = struct.unpack("<4H", fcntl.ioctl(self.slave, termios.TIOCGWINSZ, bytes(8)))
        if (rows, columns) == self.size:
            return None
        self.size = (rows, columns)
        return self.size

    def finish(self, code: int | None = None) -> None:
        """It has ended and said all it had to say. code: where no wait status tells it."""
        if self.exit_code is not None:
            return
        if code is None:
            status = self.status or 0
            code = 128 + (status & 0x7F) if status & 0x7F else status >> 8 & 0xFF
        self.exit_code = code
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)
        self.master = self.slave = -1
        for call in list(self.done):
            call(self)
