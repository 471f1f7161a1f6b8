"""A client's socket, as a server sees it: frames and descriptors come in, frames go out through a queue.

It knows of no event loop: whoever owns it calls read() when the socket is readable and flush() when it is writable,
and waits for the latter while there is something `waiting`. What a client sends wrong costs it its connection.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from typing import Any

from pycontain.kernel import protocol

HIGH_WATER = 4 << 20
"""Bytes waiting for a client, above which its program's output is not to be read."""
MOST_FDS = 64
"""Descriptors that a client may send before they are taken."""


class Wire:
    """sock: connected; from now on it does not block."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._frames = protocol.Frames()
        self._fds: list[int] = []
        self._out: deque[tuple[bytearray, list[int]]] = deque()
        """What is still to be sent, and the descriptors, ours, that ride on its first byte."""
        self.waiting = 0
        """Bytes that have not been sent yet."""
        self.fault = ""
        """Why the client has to go, where it has not left by itself."""

    @property
    def closed(self) -> bool:
        return self.sock.fileno() < 0

    def read(self) -> list[Any] | None:
        """The values that are complete now; None where the client has gone, or sends what are no frames."""
        try:
            data, fds = protocol.receive(self.sock)
        except BlockingIOError:
            return []
        except OSError as error:
            self._note(error)
            return None
        self._fds += fds
        if len(self._fds) > MOST_FDS:
            self.fault = "it sent too many descriptors"
            return None
        if not data:
            return None
        try:
            return self._frames.feed(data)
        except (ValueError, TypeError) as error:  # TypeError: a map whose key is a list
            self.fault = f"it sent no frames: {error}"
            return None

    def take_fd(self) -> int | None:
        """The next descriptor that came along; it is the caller's."""
        return self._fds.pop(0) if self._fds else None

    def send(self, value: Any, fds: list[int] | None = None) -> bool:
        """Send a frame, or queue it. False where the client has gone. The descriptors stay the caller's."""
        data = protocol.pack(value)
        if self._out and not fds:
            self._out[-1][0].extend(data)
        else:
            self._out.append((bytearray(data), [os.dup(fd) for fd in fds or []]))
        self.waiting += len(data)
        return self.flush()

    def flush(self) -> bool:
        """Send as much as the client takes. False where it has gone."""
        try:
            while self._out:
                data, fds = self._out[0]
                if fds:
                    rights = struct.pack(f"{len(fds)}i", *fds)
                    sent = self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                    _close(fds)
                else:
                    sent = self.sock.send(data)
                self.waiting -= sent
                if sent == len(data):
                    self._out.popleft()
                else:
                    del data[:sent]
        except BlockingIOError:
            return True
        except OSError as error:
            self._note(error)
            return False
        return True

    def _note(self, error: OSError) -> None:
        if not isinstance(error, ConnectionError):
            self.fault = str(error)

    def close(self) -> None:
        """Let go of the socket, and of the descriptors that nobody took."""
        self.sock.close()
        _close(self._fds)
        for _, fds in self._out:
            _close(fds)
        self._out.clear()
        self.waiting = 0


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()
