"""One client's byte stream, plain or under TLS, with limits on how long and how slowly it may move."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time

_SLICE = 4 << 20  # bytes per sendfile call, so that pace and interruption are looked at in between
_GRACE = 30.0  # seconds before the pace of a client counts


class Disconnected(Exception):
    """The client went away, or moved so slowly that it was cut off."""


class Channel:
    """A connected stream socket.

    Calls block for at most `timeout` seconds without progress; over a whole request the client must
    also move `pace` bytes per second on average, so that nobody holds a worker with a byte a minute.
    Any failure is a Disconnected.
    """

    def __init__(self, sock: socket.socket, timeout: float, pace: int = 128) -> None:
        self.sock = sock
        self._pace = pace
        self._moved = 0
        self._started = time.monotonic()
        self._set_timeout(timeout)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _set_timeout(self, timeout: float) -> None:
        # Kernel timeouts on a blocking socket: one system call per transfer, where Python's own
        # timeouts put a poll() before each.
        self.sock.setblocking(True)
        limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def fileno(self) -> int:
        return self.sock.fileno()

    def ready(self) -> bool:
        """Go on with what comes before the first request, without waiting; whether that is done."""
        return True

    def begin(self) -> None:
        """A request begins: its pace is measured from now."""
        self._moved = 0
        self._started = time.monotonic()

    def _progress(self, count: int) -> None:
        self._moved += count
        elapsed = time.monotonic() - self._started
        if elapsed > _GRACE and self._moved < (elapsed - _GRACE) * self._pace:
            raise Disconnected(f"{self._moved} bytes in {elapsed:.0f} s is too slow")

    def receive_into(self, view: memoryview) -> int:
        """Read at least one byte into view; 0 at the end of the stream."""
        try:
            count = self.sock.recv_into(view)
        except OSError as error:
            raise Disconnected(f"receive: {error}") from error
        self._progress(count)
        return count

    def receive_now(self, size: int) -> bytes | None:
        """What is there already, at most size bytes; None if there is nothing yet, b"" at the end."""
        try:
            return self.sock.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Disconnected(f"receive: {error}") from error

    def send(self, data: bytes | memoryview, more: bool = False) -> None:
        """Send all of data. more: other data follows at once, so the kernel may wait for it."""
        view = memoryview(data)
        try:
            while view:
                count = self.sock.send(view, socket.MSG_MORE if more else 0)
                self._progress(count)
                view = view[count:]
        except OSError as error:
            raise Disconnected(f"send: {error}") from error

    def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send count bytes of a file from offset. The file must have them."""
        out = self.sock.fileno()
        try:
            while count:
                sent = os.sendfile(out, fd, offset, min(count, _SLICE))
                if sent == 0:
                    raise Disconnected("a file on disk is shorter than it was")
                self._progress(sent)
                offset += sent
                count -= sent
        except OSError as error:
            raise Disconnected(f"send: {error}") from error

    def finish(self) -> None:
        """Nothing more will be sent; the client may still be sending."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Disconnected(f"shutdown: {error}") from error

    def interrupt(self) -> None:
        """Make every call that blocks in this channel fail; may be called by any thread."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is already disconnected

    def close(self) -> None:
        self.sock.close()


class TLSChannel(Channel):
    """A channel under TLS. The kernel cannot encrypt for us, so files pass through user space."""

    sock: ssl.SSLSocket  # the narrower type of the attribute

    def __init__(self, sock: socket.socket, timeout: float, context: ssl.SSLContext) -> None:
        self._timeout = timeout
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        super().__init__(wrapped, timeout)

    def _set_timeout(self, timeout: float) -> None:
        # OpenSSL turns EAGAIN into "want read", so here the timeout has to be Python's.
        self.sock.settimeout(timeout)

    def ready(self) -> bool:
        try:
            self.sock.settimeout(0)
            try:
                self.sock.do_handshake()
            finally:
                self.sock.settimeout(self._timeout)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except (OSError, ValueError) as error:
            if isinstance(error, ssl.SSLError) and error.reason == "HTTP_REQUEST":
                self._explain()
            raise Disconnected(f"handshake: {error}") from error
        return True

    def _explain(self) -> None:
        """Tell a client that speaks plain HTTP, in plain HTTP."""
        text = b"this registry speaks TLS: use https\n"
        head = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(text)
        try:
            os.write(self.sock.fileno(), head + text)
            # What it sent is read before we close, for a reset would destroy the answer.
            socket.socket.recv(self.sock, 64 << 10, socket.MSG_DONTWAIT)
        except OSError:
            pass  # it did not wait, or had sent nothing more

    def receive_now(self, size: int) -> bytes | None:
        try:
            self.sock.settimeout(0)
            try:
                return self.sock.recv(size)
            finally:
                self.sock.settimeout(self._timeout)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (OSError, ValueError) as error:
            raise Disconnected(f"receive: {error}") from error

    def send(self, data: bytes | memoryview, more: bool = False) -> None:
        view = memoryview(data)
        try:
            while view:
                count = self.sock.send(view)
                self._progress(count)
                view = view[count:]
        except (OSError, ValueError) as error:
            raise Disconnected(f"send: {error}") from error

    def send_file(self, fd: int, offset: int, count: int) -> None:
        while count:
            data = os.pread(fd, min(count, 1 << 18), offset)
            if not data:
                raise Disconnected("a file on disk is shorter than it was")
            self.send(data)
            offset += len(data)
            count -= len(data)

    def finish(self) -> None:
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
        except OSError as error:
            raise Disconnected(f"shutdown: {error}") from error

    def interrupt(self) -> None:
        try:
            # Not SSLSocket.shutdown, which drops the TLS object under the thread that uses it.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:
            pass  # it is already disconnected
