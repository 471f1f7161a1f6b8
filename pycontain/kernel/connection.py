"""A client of the kernel: its requests, and the session that it is attached to."""

from __future__ import annotations

import select
import socket
import traceback
from typing import Any, Protocol

from pycontain.errors import PycontainError
from pycontain.kernel import log
from pycontain.kernel.loop import Loop
from pycontain.kernel.session import Session
from pycontain.kernel.wire import HIGH_WATER, Wire


class Requests(Protocol):
    """Who answers."""

    loop: Loop

    def serve(self, connection: Connection, request: Any) -> tuple[Any, list[int] | None] | None: ...

    def closed(self, connection: Connection) -> None: ...


class Connection:
    """A client."""

    def __init__(self, server: Requests, sock: socket.socket) -> None:
        self.server = server
        self.session: Session | None = None
        self._wire = Wire(sock)
        self._fd = sock.fileno()
        self._events = select.EPOLLIN
        server.loop.register(self._fd, self._ready)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._sent(self._wire.flush())
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and not self._wire.closed:
            requests = self._wire.read()
            if requests is None:
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
            log.write(f"request of a client: {''.join(traceback.format_exception(error))}")
            self.send({"error": f"kernel: {type(error).__name__}: {error}", "hint": None, "code": 125})
        else:
            if answer is not None:
                self.send(answer[0], answer[1])

    def take_fd(self) -> int | None:
        return self._wire.take_fd()

    def send(self, value: Any, fds: list[int] | None = None) -> None:
        if not self._wire.closed:
            self._sent(self._wire.send(value, fds))

    def _sent(self, there: bool) -> None:
        """As much as the client takes has been sent; there: it has not gone."""
        if not there:
            self.close()
            return
        events = select.EPOLLIN | (select.EPOLLOUT if self._wire.waiting else 0)
        if events != self._events:
            self._events = events
            self.server.loop.poll.modify(self._fd, events)
        if self.session is not None:
            self.session.pause(self._wire.waiting > HIGH_WATER)

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
        if self._wire.closed:
            return
        if self._wire.fault:
            log.write(f"the connection of a client is closed: {self._wire.fault}")
        self.server.loop.unregister(self._fd)
        self._wire.close()
        if self.session is not None:
            self.session.pause(False)
            if self.output in self.session.sinks:
                self.session.sinks.remove(self.output)
            if self.ended in self.session.done:
                self.session.done.remove(self.ended)
        self.server.closed(self)
