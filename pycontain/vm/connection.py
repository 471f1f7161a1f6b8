"""A client of the machines' server: its requests, and the program that it listens to."""

from __future__ import annotations

import asyncio
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any

from pycontain.errors import PycontainError
from pycontain.kernel.wire import HIGH_WATER, Wire
from pycontain.vm.running import Running
from pycontain.vm.session import Session

if TYPE_CHECKING:
    from pycontain.vm.server import Server


def report(task: asyncio.Task[Any]) -> None:
    """A task's failure that nobody waits for goes to the server's log."""
    if not task.cancelled() and task.exception() is not None:
        traceback.print_exception(task.exception(), file=sys.stderr)


class Connection:
    """A client."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.session: Session | None = None
        self.running: Running | None = None
        self.foreground = False
        """It started the container and stays: when it is killed, the machine ends."""
        self._wire = Wire(sock)
        self._fd = sock.fileno()
        self._writing = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._ready)

    def _ready(self) -> None:
        requests = self._wire.read()
        if requests is None:
            self.close()
            return
        for request in requests:
            self._loop.create_task(self._serve(request)).add_done_callback(report)

    async def _serve(self, request: Any) -> None:
        try:
            answer = await self.server.serve(self, request)
        except PycontainError as error:
            self.send({"error": error.message, "hint": error.hint, "code": error.exit_code})
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            self.send({"error": f"machines: {type(error).__name__}: {error}", "hint": None, "code": 125})
        else:
            if isinstance(answer, tuple):
                self.send({"ok": answer[0]}, answer[1])
            elif answer is not NotImplemented:
                self.send({"ok": answer})

    @property
    def closed(self) -> bool:
        """The client has gone."""
        return self._wire.closed

    def take_fd(self) -> int | None:
        """The next descriptor that came along."""
        return self._wire.take_fd()

    def send(self, value: Any, fds: list[int] | None = None) -> None:
        """Queue a frame."""
        if not self.closed:
            self._sent(self._wire.send(value, fds))

    def _writable(self) -> None:
        self._sent(self._wire.flush())

    def _sent(self, there: bool) -> None:
        """As much as the client takes has been sent; there: it has not gone."""
        if not there:
            self.close()
            return
        if bool(self._wire.waiting) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._fd, self._writable)
            else:
                self._loop.remove_writer(self._fd)
        if self.session is not None:
            paused = self._wire.waiting > HIGH_WATER
            if self.session.paused and not paused and self.running is not None:
                self.session.paused = False
                self.running.machine.poke()
            self.session.paused = paused

    def output(self, stream: int, data: bytes) -> None:
        """A program's output."""
        self.send(["output", stream, data])

    def ended(self, session: Session) -> None:
        """The program has ended."""
        self.session = None
        self.send(["exit", session.exit_code])

    def join(self, running: Running, session: Session) -> None:
        """From now on the program's output goes to this client."""
        self.running, self.session = running, session
        session.sinks.append(self.output)
        if session is running.init:
            running.waiters.append(self)  # told when the machine's changes are home, too
        else:
            session.done.append(self.ended)

    def close(self) -> None:
        """The client has gone."""
        if self.closed:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._wire.close()
        session, running = self.session, self.running
        if session is not None and running is not None:
            session.paused = False
            if self.output in session.sinks:
                session.sinks.remove(self.output)
            if self.ended in session.done:
                session.done.remove(self.ended)
            if self.foreground and session.exit_code is None:
                self._loop.create_task(running.machine.stop()).add_done_callback(report)
        self.server.gone(self)
