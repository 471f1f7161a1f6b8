"""The conversation with a guest's agent: tables go, replies come back in the same order.

What comes from the guest is hostile until it has been checked: a reply has the tag that was asked for and a
length within what was allowed, or the machine is given up.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque

from pycontain.errors import MachineError
from pycontain.vm import agent
from pycontain.vm.table import Reply, Table

DEADLINE = 15.0
"""Seconds for an answer that does not wait for anything in the guest."""
_HEADER = struct.Struct("<QQ")


class Channel:
    """sock: our end of the agent's port. Once it has failed, every exchange raises MachineError."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)
        self._in = bytearray()
        self._out = bytearray()
        self._pending: deque[tuple[int, Table, asyncio.Future[Reply]]] = deque()
        self._tag = 0
        self.failure: MachineError | None = None

    @property
    def busy(self) -> int:
        """How many replies are awaited."""
        return len(self._pending)

    def send(self, table: Table) -> asyncio.Future[Reply]:
        """Send a table; the future is its reply."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
            return future
        self._tag += 1
        self._out += table.finish(self._tag)
        self._pending.append((self._tag, table, future))
        self._flush()
        return future

    async def exchange(self, table: Table, timeout: float = DEADLINE) -> Reply:
        """Send a table and wait for its reply. A guest that does not answer in time is given up."""
        try:
            return await asyncio.wait_for(self.send(table), timeout)
        except TimeoutError:
            self.fail(f"talk to the guest: no answer within {timeout:g} s")
            assert self.failure is not None
            raise self.failure from None

    def fail(self, reason: str) -> None:
        """Give the guest up: all who wait learn of it."""
        if self.failure is not None:
            return
        self.failure = MachineError(reason)
        self.close()
        for _, _, future in self._pending:
            if not future.done():
                future.set_exception(self.failure)
                future.exception()  # whoever waits sees it; nobody may be waiting
        self._pending.clear()

    def close(self) -> None:
        """Stop listening."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self._sock.send(self._out)]
        except BlockingIOError:
            self._loop.add_writer(self._sock.fileno(), self._flush)
            return
        except OSError as error:
            self.fail(f"talk to the guest: {error.strerror}")
            return
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            data = self._sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError as error:
            ended = isinstance(error, ConnectionError)
            self.fail(f"talk to the guest: {'the machine has ended' if ended else error.strerror}")
            return
        if not data:
            self.fail("talk to the guest: the machine has ended")
            return
        self._in += data
        while len(self._in) >= _HEADER.size:
            tag, length = _HEADER.unpack_from(self._in)
            if (
                not self._pending
                or tag != self._pending[0][0]
                or not _HEADER.size <= length <= agent.ARENA_SIZE
            ):
                self.fail("talk to the guest: it sent something that was not asked for")
                return
            if len(self._in) < length:
                return
            answer = bytes(self._in[:length])
            del self._in[:length]
            _, table, future = self._pending.popleft()
            try:
                reply = table.parse(answer)
            except MachineError as error:
                if not future.done():
                    future.set_exception(error)
                self.fail(str(error))
                return
            if not future.done():
                future.set_result(reply)
