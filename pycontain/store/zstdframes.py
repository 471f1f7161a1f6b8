"""Where zstd frames end (RFC 8878, section 3).

The decoder takes a blob that stops in the middle of a frame for one that ends there. This follows the
frames' and blocks' headers only, some ten bytes in 128 KiB, to tell the two apart.
"""

from __future__ import annotations

from pycontain.errors import LayerError

MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x2a\x4d\x18"
"""The last three bytes of a skippable frame's magic; the first is 0x50 to 0x5f."""

_BETWEEN, _LENGTH, _DESCRIPTOR, _BLOCK = range(4)
_NEED = (4, 4, 1, 3)


class ZstdFrames:
    """Feed it the compressed bytes; `whole` then says whether they end with the end of a frame."""

    def __init__(self) -> None:
        self._state = _BETWEEN
        self._skip = 0
        self._head = b""
        self._checksum = 0

    @property
    def whole(self) -> bool:
        """Whether what has come so far is a number of complete frames."""
        return self._state == _BETWEEN and not self._skip and not self._head

    def feed(self, data: bytes) -> None:
        """Take the next piece. LayerError for what is no frame."""
        at, end = 0, len(data)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
                continue
            step = _NEED[self._state] - len(self._head)
            self._head += data[at : at + step]
            at += step
            if len(self._head) == _NEED[self._state]:
                head, self._head = self._head, b""
                self._take(head)

    def _take(self, head: bytes) -> None:
        if self._state == _BETWEEN:
            if head == MAGIC:
                self._state = _DESCRIPTOR
            elif head[1:] == SKIPPABLE and head[0] & 0xF0 == 0x50:
                self._state = _LENGTH
            else:
                raise LayerError("decompress layer: between zstd frames there is something else")
        elif self._state == _LENGTH:
            self._skip = int.from_bytes(head, "little")
            self._state = _BETWEEN
        elif self._state == _DESCRIPTOR:
            flags = head[0]
            single = flags >> 5 & 1
            content_size = (single, 2, 4, 8)[flags >> 6]
            self._skip = (1 - single) + (0, 1, 2, 4)[flags & 3] + content_size
            self._checksum = 4 if flags & 4 else 0
            self._state = _BLOCK
        else:
            block = int.from_bytes(head, "little")
            self._skip = 1 if block >> 1 & 3 == 1 else block >> 3  # a run-length block is one byte long
            if block & 1:
                self._skip += self._checksum
                self._state = _BETWEEN
