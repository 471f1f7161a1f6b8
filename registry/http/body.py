"""The body of a request, read on demand: of a known length, or chunked (RFC 9112 section 7.1)."""

from __future__ import annotations

import re

from registry.http.channel import Channel, Disconnected
from registry.problem import Problem, bad_request

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e]*)?")
_MAX_LINE = 4096
_MAX_TRAILERS = 32


class Body:
    """Reads a body and stops at its end, whatever follows in the stream.

    buffer holds bytes that came together with the head; what is left of it afterwards belongs to the
    next request. A stream that ends early is a Disconnected, a malformed chunk a Problem.
    """

    def __init__(
        self, channel: Channel, buffer: bytearray, length: int | None, expects_continue: bool
    ) -> None:
        self._channel = channel
        self._buffer = buffer
        self._chunked = length is None
        self._left = length or 0  # of the body, or of the current chunk
        self._first = True
        self.length = length
        self.done = length == 0
        self.awaited = expects_continue and not self.done  # the client waits for our "100 Continue"

    def read_into(self, view: memoryview) -> int:
        """Read at least one byte, at most len(view); 0 at the end of the body."""
        if self.done:
            return 0
        if self.awaited:
            self.awaited = False
            self._channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._chunked and self._left == 0:
            self._next_chunk()
            if self.done:
                return 0
        count = min(len(view), self._left)
        if self._buffer:
            count = min(count, len(self._buffer))
            view[:count] = self._buffer[:count]
            del self._buffer[:count]
        else:
            count = self._channel.receive_into(view[:count])
            if count == 0:
                raise Disconnected("the request's body ended early")
        self._left -= count
        if self._left == 0 and not self._chunked:
            self.done = True
        return count

    def read(self, limit: int, too_large: Problem) -> bytes:
        """All of the body; raises too_large if it is longer than limit bytes."""
        if self.length is not None and self.length > limit:
            raise too_large
        data = bytearray()
        block = memoryview(bytearray(min(limit + 1, 64 << 10)))
        while count := self.read_into(block):
            data += block[:count]
            if len(data) > limit:
                raise too_large
        return bytes(data)

    def skip(self, limit: int) -> bool:
        """Throw away the rest if it is at most limit bytes; False if it is more or malformed."""
        if self.awaited or (not self._chunked and self._left > limit):
            return self.done
        block = memoryview(bytearray(64 << 10))
        try:
            while limit > 0 and (count := self.read_into(block)):
                limit -= count
        except Problem:
            return False
        return self.done

    def _next_chunk(self) -> None:
        if not self._first and self._line() != b"":
            raise bad_request("a chunk is longer than its size")
        self._first = False
        match = _CHUNK_SIZE.fullmatch(self._line())
        if not match:
            raise bad_request("a chunk's size is not valid")
        self._left = int(match[1], 16)
        if self._left == 0:
            for _ in range(_MAX_TRAILERS):
                if self._line() == b"":
                    self.done = True
                    return
            raise bad_request("too many trailers")

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_LINE:
                raise bad_request("a line in a chunked body is too long")
            block = memoryview(bytearray(_MAX_LINE))
            count = self._channel.receive_into(block)
            if count == 0:
                raise Disconnected("the request's body ended early")
            self._buffer += block[:count]
        if end > _MAX_LINE:
            raise bad_request("a line in a chunked body is too long")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line
