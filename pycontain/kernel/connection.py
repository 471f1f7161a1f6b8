"""A client's connection to the control socket: frames in and out, and the session it is attached to."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import traceback
from typing import Any, Protocol

from pycontain.errors import PycontainError
from pycontain.kernel import protocol
from pycontain.kernel.loop import Loop
from pycontain.kernel.session import Session

HIGH_WATER = 4 << 20  # bytes waiting for a client, above which its container's output is not read


class Requests(Protocol):
    """Who answers."""

    loop: Loop

    def serve(self, connection: Connection, request: Any) -> tuple[Any, list[int] | None] | None: ...

    def closed(self, connection: Connection) -> None: ...


class Connection:
    """A client."""

    def __init__(self, server: Requests, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.session: Session | None = None
        self._frames = protocol.Frames()
        self._fds: list[int] = []
        self._out = bytearray()
        sock.setblocking(False)
        server.loop.register(sock.fileno(), self._ready)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            try:
                data, fds = protocol.receive(self.sock)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            self._fds += fds
            if not data:
                self.close()
                return
            try:
                requests = self._frames.feed(data)
            except ValueError:
                self.close()
                return
            for request in requests:
                self._serve(request)

    def _serve(self, request: Any) -> None:
        try:
            answer = self.server.serve(self, request)
        except PycontainError as error:
            self.send({"error": error.message, "hint": error.hint, "code": error.exit_code})
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            self.send({"error": f"kernel: {type(error).__name__}: {error}", "hint": None, "code": 125})
        else:
            if answer is not None:
                self.send(answer[0], answer[1])

    def take_fd(self) -> int | None:
        return self._fds.pop(0) if self._fds else None

    def send(self, value: Any, fds: list[int] | None = None) -> None:
        if self.sock.fileno() < 0:
            return
        data = protocol.pack(value)
        if fds:
            rights = struct.pack(f"{len(fds)}i", *fds)
            data = data[self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]) :]
        self._out += data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self.sock.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        events = select.EPOLLIN | (select.EPOLLOUT if self._out else 0)
        self.server.loop.poll.modify(self.sock.fileno(), events)
        if self.session is not None:
            self.session.pause(len(self._out) > HIGH_WATER)

    def output(self, stream: int, data: bytes) -> None:
        self.send(["output", stream, data])

    def ended(self, session: Session) -> None:
        self.send(["exit", session.exit_code])
        self.session = None

    def attach(self, session: Session) -> None:
        self.session = session
        session.sinks.append(self.output)
        session.done.append(self.ended)

    def close(self) -> None:
        if self.sock.fileno() < 0:
            return
        self.server.loop.unregister(self.sock.fileno())
        self.sock.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        if self.session is not None:
            self.session.pause(False)
            if self.output in self.session.sinks:
                self.session.sinks.remove(self.output)
            if self.ended in self.session.done:
                self.session.done.remove(self.ended)
        self.server.closed(self)
