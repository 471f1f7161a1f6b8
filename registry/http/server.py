"""The server: one thread watches idle connections, a bounded pool of workers answers requests.

A connection that waits for its next request, or whose request's head has not come completely, costs a
descriptor and no thread; so idle clients and slow ones cannot take the workers. From a complete head on
a worker owns the connection, until the response is out.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from registry.http.body import Body
from registry.http.channel import Channel, Disconnected, TLSChannel
from registry.http.request import MAX_HEAD, Request, parse_head, take_head
from registry.http.response import Response, problem_response, send_response
from registry.problem import Problem

Handler = Callable[[Request, Body], Response]
AccessLog = Callable[[str, str, int, int, float, str], None]
"""client address, request line, status, bytes sent, seconds, user agent."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take. Times in seconds."""

    connections: int = 1024
    workers: int = 64
    idle: float = 75.0  # between requests
    head: float = 20.0  # from a request's first byte to the end of its head
    stall: float = 60.0  # without a byte, within a body or a response
    linger: float = 2.0  # how long a refused body is read before the connection is cut
    skip: int = 256 << 10  # bytes of an unread body worth reading to keep the connection


class Connection:
    """A client's connection, and when it will be cut if nothing comes."""

    __slots__ = ("buffer", "channel", "deadline", "fresh", "peer")

    def __init__(self, channel: Channel, peer: str) -> None:
        self.channel = channel
        self.peer = peer
        self.buffer = bytearray()
        self.deadline = 0.0
        self.fresh = True  # nothing has come yet


class Server:
    """A running server. port is the one really bound; close() ends it gracefully.

    Raises OSError if the address cannot be bound. handler is called by many threads at once.
    """

    def __init__(
        self,
        handler: Handler,
        host: str,
        port: int,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        log: AccessLog | None = None,
    ) -> None:
        self._handler = handler
        self._limits = limits or Limits()
        self._tls = tls
        self._log = log
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=512)
        self._listener.setblocking(False)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._busy: set[Connection] = set()
        self._returned: deque[Connection] = deque()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stopping = False
        self._idle: set[Connection] = set()
        self._accepting = True
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._pool = ThreadPoolExecutor(self._limits.workers, "registry")
        self._thread = threading.Thread(target=self._watch, name="registry-watch", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """host:port, as it stands in an image reference."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.address}"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self, timeout: float = 10.0) -> None:
        """Stop accepting, let running requests end for at most timeout seconds, then cut them."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        self._wake()
        self._thread.join()
        deadline = time.monotonic() + timeout
        with self._lock:
            while self._busy and (left := deadline - time.monotonic()) > 0:
                self._lock.release()
                try:
                    time.sleep(min(left, 0.01))
                finally:
                    self._lock.acquire()
            for connection in self._busy:
                connection.channel.interrupt()
        self._pool.shutdown(wait=True)
        for connection in self._returned:
            connection.channel.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # --- the watching thread -------------------------------------------------------------------------

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:
            pass  # the pipe is full, so the thread will wake up anyway

    def _watch(self) -> None:
        next_sweep = time.monotonic() + 1
        while not self._stopping:
            for key, _ in self._selector.select(1.0):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == self._wake_read:
                    os.read(self._wake_read, 4096)
                elif key.data in self._idle:
                    self._receive(key.data)
            while self._returned:
                self._resume(self._returned.popleft())
            now = time.monotonic()
            if now >= next_sweep:
                next_sweep = now + 1
                for connection in [c for c in self._idle if c.deadline < now]:
                    self._drop(connection)
            self._balance()
        if self._accepting:
            self._selector.unregister(self._listener)
        self._listener.close()
        for connection in list(self._idle):
            self._drop(connection)

    def _balance(self) -> None:
        """Listen for new connections only while there is room; make room by closing an idle one."""
        room = len(self._idle) + len(self._busy) < self._limits.connections
        if not room and self._idle:
            self._drop(min(self._idle, key=lambda c: c.deadline))
            room = True
        if room and not self._accepting:
            self._selector.register(self._listener, selectors.EVENT_READ)
        elif not room and self._accepting:
            self._selector.unregister(self._listener)
        self._accepting = room

    def _accept(self) -> None:
        try:
            sock, address = self._listener.accept()
        except OSError:
            # The client is gone again (ECONNABORTED), or we have no descriptor left (EMFILE): then an
            # idle connection's is wanted more.
            if self._idle:
                self._drop(min(self._idle, key=lambda c: c.deadline))
            else:
                time.sleep(0.01)
            return
        try:
            if self._tls:
                channel: Channel = TLSChannel(sock, self._limits.stall, self._tls)
            else:
                channel = Channel(sock, self._limits.stall)
        except OSError:
            sock.close()
            return
        self._watch_idle(Connection(channel, str(address[0])))

    def _watch_idle(self, connection: Connection) -> None:
        limit = self._limits.head if connection.buffer or connection.fresh else self._limits.idle
        connection.deadline = time.monotonic() + limit
        self._idle.add(connection)
        self._selector.register(connection.channel, selectors.EVENT_READ, connection)

    def _forget(self, connection: Connection) -> None:
        self._idle.discard(connection)
        self._selector.unregister(connection.channel)

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        connection.channel.close()

    def _receive(self, connection: Connection) -> None:
        """Take what has come; hand the connection to a worker once a head is complete."""
        try:
            if connection.fresh and not connection.channel.ready():
                return
            data = connection.channel.receive_now(16 << 10)
        except Disconnected:
            data = b""
        if data is None:
            return
        if not data:
            self._drop(connection)
            return
        if not connection.buffer and not connection.fresh:
            connection.deadline = time.monotonic() + self._limits.head
        connection.fresh = False
        connection.buffer += data
        if _head_decided(connection.buffer):
            self._forget(connection)
            self._dispatch(connection)

    def _resume(self, connection: Connection) -> None:
        """A worker gave the connection back."""
        self._watch_idle(connection)
        if self._tls:
            self._receive(connection)  # what OpenSSL has already read makes no socket readable

    def _dispatch(self, connection: Connection) -> None:
        with self._lock:
            self._busy.add(connection)
        self._pool.submit(self._work, connection)

    # --- the workers ---------------------------------------------------------------------------------

    def _work(self, connection: Connection) -> None:
        keep = False
        try:
            while _head_decided(connection.buffer):
                keep = self._answer(connection)
                if not keep:
                    break
        except Disconnected:
            keep = False
        except Exception:
            # A defect of ours in the middle of a response: the client sees the connection end.
            keep = False
            self._report()
        finally:
            with self._lock:
                self._busy.discard(connection)
                returned = keep and not self._stopping
                if returned:
                    self._returned.append(connection)
            if returned:
                self._wake()
            else:
                connection.channel.close()

    def _answer(self, connection: Connection) -> bool:
        """Answer one request; returns whether the connection can take another."""
        channel = connection.channel
        channel.begin()
        started = time.monotonic()
        request: Request | None = None
        body: Body | None = None
        keep = False
        try:
            request = parse_head(take_head(connection.buffer) or b"")
            body = Body(channel, connection.buffer, request.length, request.expects_continue)
            response = self._handler(request, body)
            keep = request.keep_alive
        except Problem as problem:
            response = problem_response(problem)
            keep = request is not None and request.keep_alive and not problem.close
        except Disconnected as error:
            self._write_log(connection, request, 499, 0, started, str(error))
            raise
        except Exception as error:
            self._report()
            response = problem_response(Problem(500, "UNKNOWN", f"the registry failed: {_describe(error)}"))
        try:
            if keep and body is not None and not body.done:
                keep = (
                    body.length is not None
                    and body.length <= self._limits.skip
                    and body.skip(self._limits.skip)
                )
            keep = keep and not self._stopping
            head_only = request is not None and request.method == "HEAD"
            sent = send_response(channel, response, head_only=head_only, close=not keep)
        finally:
            response.close()
        self._write_log(connection, request, response.status, sent, started)
        if not keep and (body is None or not body.done):
            self._linger(channel)
        return keep

    def _linger(self, channel: Channel) -> None:
        """Read what a client still sends for a moment, for a reset would destroy the answer to it."""
        deadline = time.monotonic() + self._limits.linger
        block = memoryview(bytearray(64 << 10))
        channel.finish()
        channel.sock.settimeout(self._limits.linger)
        while time.monotonic() < deadline and channel.receive_into(block):
            pass

    def _write_log(
        self,
        connection: Connection,
        request: Request | None,
        status: int,
        sent: int,
        started: float,
        note: str | None = None,
    ) -> None:
        if self._log is None:
            return
        line = f"{request.method} {request.target}" if request else "-"
        agent = note or (request.header("user-agent") if request else None) or "-"
        self._log(connection.peer, line, status, sent, time.monotonic() - started, agent)

    def _report(self) -> None:
        """A defect, or a disk that fails: tell the operator where, the client only what."""
        import traceback  # only when something is broken

        sys.stderr.write(traceback.format_exc())


def _head_decided(buffer: bytearray) -> bool:
    """Whether a head is complete, or can no longer become one.

    The second matters for clients that try TLS first: podman waits 10 s for an answer to its hello.
    """
    while buffer.startswith(b"\r\n"):
        del buffer[:2]
    if b"\r\n\r\n" in buffer or len(buffer) > MAX_HEAD:
        return True
    return bool(buffer) and not (chr(buffer[0]).isalpha() and buffer[0] < 128) and buffer != b"\r"


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return type(error).__name__
