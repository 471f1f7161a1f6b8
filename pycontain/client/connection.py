"""Connections to registries: TLS, proxies, deadlines, and a pool that keeps them alive.

http.client gives us the protocol; what it lacks is here: a deadline for the head of a response (a
server may send an endless row of "100 Continue"), and a least speed for its body.
"""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from pycontain.errors import RegistryError

BLOCK = 256 << 10
_WINDOW = 30.0  # seconds over which a body's speed is measured
_LEAST = 1024  # bytes that must come in a window


class Patience(NamedTuple):
    """How long to wait. Times in seconds."""

    connect: float = 15.0
    read: float = 60.0  # without a byte, in a body
    head: float = 30.0  # from the end of a request to the end of its response's head
    store: float = 300.0  # the same, where the registry may have gigabytes to put away first
    attempts: int = 5
    silences: int = 2  # attempts of which none got an answer in time
    backoff: float = 0.5  # before the second attempt; doubles
    longest: float = 30.0  # pause between attempts


class Origin(NamedTuple):
    """Whom credentials are for: scheme, host and port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http(s) URL. RegistryError if it is none."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise RegistryError(f"read address {url[:200]!r}: it is not valid")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryError(f"read address {url[:200]!r}: it is not http or https")
        return cls(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"


class FilePayload:
    """A part of a file as a request's body; may be sent several times. sent gets the bytes so far."""

    def __init__(
        self, path: str, offset: int, size: int, sent: Callable[[int], None] = lambda done: None
    ) -> None:
        self.path = path
        self.offset = offset
        self.size = size
        self.sent = sent


Payload = bytes | FilePayload


class _PacedReader(io.RawIOBase):
    """Reads a socket until a deadline (the head), then at a least speed (the body)."""

    def __init__(self, sock: socket.socket, patience: Patience, head: float) -> None:
        # Through makefile, so that the socket lives as long as somebody reads the response.
        self._raw = cast(io.RawIOBase, sock.makefile("rb", buffering=0))
        self._sock = sock
        self._patience = patience
        self._deadline: float | None = time.monotonic() + head
        self._window = 0.0
        self._came = 0

    def start_body(self) -> None:
        self._deadline = None
        self._window = time.monotonic()
        self._came = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        now = time.monotonic()
        limit = self._patience.read
        if self._deadline is not None:
            limit = self._deadline - now
            if limit <= 0:
                raise TimeoutError("the head of the response does not end")
        elif now - self._window > _WINDOW:
            if self._came < _LEAST:
                raise TimeoutError(f"only {self._came} bytes in {now - self._window:.0f} s")
            self._window, self._came = now, 0
        self._sock.settimeout(limit)
        count = self._raw.readinto(buffer)
        self._came += count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Source:
    """Looks like a socket to HTTPResponse, and gives it a paced reader."""

    def __init__(self, reader: _PacedReader) -> None:
        self._reader = reader

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader, 64 << 10)


class Connection:
    """One connection to an origin, perhaps through a proxy. Used by one thread at a time."""

    def __init__(
        self, origin: Origin, patience: Patience, tls: ssl.SSLContext | None, proxy: str | None
    ) -> None:
        self.origin = origin
        self.used = False
        self._patience = patience
        self._reader: _PacedReader | None = None
        host, port, headers = origin.host, origin.port, {}
        if proxy:
            address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            if address.scheme != "http" or not address.hostname:
                raise RegistryError(
                    f"use proxy {address.hostname or proxy!r}: only http:// proxies are supported"
                )
            host, port = address.hostname, address.port or 80
            headers = _proxy_headers(address.username, address.password)
        if origin.scheme == "https":
            self._http: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=patience.connect, context=tls
            )
        else:
            self._http = http.client.HTTPConnection(host, port, timeout=patience.connect)
        if proxy:
            self._http.set_tunnel(origin.host, origin.port, headers)
        self._http.response_class = self._response  # type: ignore[assignment]

    def _response(self, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        head = self._patience.store if kwargs.get("method") in ("PUT", "PATCH") else self._patience.head
        self._reader = _PacedReader(sock, self._patience, head)
        return http.client.HTTPResponse(cast(socket.socket, _Source(self._reader)), *args, **kwargs)

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str], payload: Payload | None
    ) -> http.client.HTTPResponse:
        """Send a request, return the response with its body still to be read.

        Raises OSError or http.client.HTTPException; the connection is to be closed then.
        """
        connection = self._http
        if connection.sock is None:
            connection.connect()
        sock: socket.socket = connection.sock
        sock.settimeout(self._patience.read)
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if payload is not None:
            size = len(payload) if isinstance(payload, bytes) else payload.size
            connection.putheader("Content-Length", str(size))
        elif method in ("POST", "PUT", "PATCH"):
            connection.putheader("Content-Length", "0")
        if isinstance(payload, bytes):
            connection.endheaders(payload)
        else:
            connection.endheaders()
            if payload is not None:
                try:
                    self._send_file(sock, payload)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the server stopped listening; it may have said why
        response = connection.getresponse()
        if self._reader:
            self._reader.start_body()
        self.used = True
        return response

    def _send_file(self, sock: socket.socket, payload: FilePayload) -> None:
        encrypted = isinstance(sock, ssl.SSLSocket)
        done = 0
        with open(payload.path, "rb") as file:
            while done < payload.size:
                if select.select([sock], [], [], 0)[0]:
                    return  # an answer before the end: a refusal, or the connection is closed
                count = min(payload.size - done, BLOCK)
                if encrypted:
                    file.seek(payload.offset + done)
                    data = file.read(count)
                    sock.sendall(data)
                    count = len(data)
                else:
                    count = sock.sendfile(file, payload.offset + done, count)
                if count == 0:
                    raise RegistryError(f"send {payload.path}: the file is shorter than it was")
                done += count
                payload.sent(done)

    def interrupt(self) -> None:
        """Make whoever uses the connection fail; any thread may call it."""
        sock = self._http.sock
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass  # it is not connected any more

    def close(self) -> None:
        self._http.close()


class Pool:
    """Connections by origin, kept alive between requests. For many threads."""

    def __init__(self, patience: Patience, environment: Mapping[str, str] = os.environ) -> None:
        self._patience = patience
        self._environment = environment
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._tls: ssl.SSLContext | None = None
        self.closed = False

    def take(self, origin: Origin, fresh: bool = False) -> Connection:
        """A connection to origin, not yet connected if it is a new one. Give it back, or drop it."""
        with self._lock:
            if self.closed:
                raise RegistryError(f"connect to {origin}: interrupted")
            idle = self._idle.get(origin)
            if idle and not fresh:
                connection = idle.pop()
            else:
                if origin.scheme == "https" and self._tls is None:
                    self._tls = ssl.create_default_context()
                tls = self._tls if origin.scheme == "https" else None
                connection = Connection(origin, self._patience, tls, self._proxy(origin))
            self._busy.add(connection)
            return connection

    def give(self, connection: Connection) -> None:
        """The response has been read to its end: the connection can take another request."""
        with self._lock:
            self._busy.discard(connection)
            if not self.closed:
                self._idle.setdefault(connection.origin, []).append(connection)
                return
        connection.close()

    def drop(self, connection: Connection) -> None:
        """The connection is of no more use."""
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close what is idle, interrupt what is in use."""
        with self._lock:
            self.closed = True
            idle = [connection for each in self._idle.values() for connection in each]
            self._idle.clear()
            busy = list(self._busy)
        for connection in idle:
            connection.close()
        for connection in busy:
            connection.interrupt()

    def _proxy(self, origin: Origin) -> str | None:
        """$HTTPS_PROXY where $NO_PROXY does not exempt the host; plain http is local and has no proxy."""
        get = self._environment.get
        proxy = get("https_proxy") or get("HTTPS_PROXY") or get("all_proxy") or get("ALL_PROXY")
        if not proxy or origin.scheme != "https":
            return None
        for name in (get("no_proxy") or get("NO_PROXY") or "").split(","):
            name = name.strip().lower().lstrip(".")
            if name == "*" or (name and (origin.host == name or origin.host.endswith(f".{name}"))):
                return None
        return proxy


def _proxy_headers(user: str | None, password: str | None) -> dict[str, str]:
    if not user:
        return {}
    import base64  # only for proxies with a password

    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}
