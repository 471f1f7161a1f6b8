"""Compressed streams in and out: gzip with any number of members, zstd with any number of frames.

A layer's bytes say how they are compressed, not its media type: there are images where the two differ,
and every other reader looks at the bytes too. xz and bzip2 are for archives that users bring.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Container, Iterable, Iterator
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol, cast

from pycontain.errors import LayerError
from pycontain.store.zstdframes import MAGIC, SKIPPABLE, ZstdFrames

if TYPE_CHECKING:
    import bz2
    import lzma

PIECE = 1 << 20
"""Bytes of output at a time."""
GZIP_PIECE = 64 << 10
"""Bytes of gzip input at a time: what follows a member's end is copied at each end."""
LZMA_MEMORY = 256 << 20
ZSTD_WINDOW = 1 << 27
"""128 MiB, what the zstd program accepts too: the decoder needs that much memory."""


class Limits(NamedTuple):
    """Against bombs. size: bytes of output; ratio: output to input, beyond `grace` bytes of output."""

    size: int = 64 << 30
    ratio: int = 1000
    grace: int = 64 << 20

    @classmethod
    def from_environment(cls) -> Limits:
        """$PYCONTAIN_LAYER_LIMIT (bytes) and $PYCONTAIN_LAYER_RATIO override the first two."""
        found = []
        for name, default in (("PYCONTAIN_LAYER_LIMIT", cls().size), ("PYCONTAIN_LAYER_RATIO", cls().ratio)):
            text = os.environ.get(name, "")
            if text and not text.isdecimal():
                raise LayerError(f"read {name}: {text[:40]!r} is not a number")
            found.append(int(text) if text else default)
        return cls(found[0], found[1])


def sniff(head: bytes) -> str:
    """ "gzip", "zstd", "xz", "bzip2" or "none", from a stream's first bytes."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(MAGIC) or (head[1:4] == SKIPPABLE and head[0] & 0xF0 == 0x50):
        return "zstd"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        return "bzip2"
    return "none"


def decompress(
    chunks: Iterable[bytes], limits: Limits, allowed: Container[str]
) -> tuple[str, Iterator[bytes]]:
    """The method, and the uncompressed bytes, in pieces of at most 1 MiB where they were compressed.

    LayerError, also while the pieces are taken: damaged, truncated, followed by something else, more than
    `limits` allow, or compressed by a method that is not in `allowed`.
    """
    counted = _Counted(chunks)
    head, source = _peek(counted)
    method = sniff(head)
    if method not in allowed:
        raise LayerError(f"decompress layer: {method} is not a layer's compression")
    if method == "none":
        pieces = source
    elif method == "zstd":
        pieces = _zstd(source)
    elif method == "gzip":
        pieces = _gzip(source)
    else:
        pieces = _other(source, method)
    return method, _limited(pieces, counted, limits)


def _limited(pieces: Iterator[bytes], counted: _Counted, limits: Limits) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limits.size:
            raise LayerError(
                f"decompress layer: more than {limits.size} bytes come out",
                hint="PYCONTAIN_LAYER_LIMIT=BYTES allows more",
            )
        if total > limits.grace and total > counted.total * limits.ratio:
            raise LayerError(
                f"decompress layer: {counted.total} bytes became {total}, over {limits.ratio} times as many",
                hint="a decompression bomb? PYCONTAIN_LAYER_RATIO=NUMBER allows more",
            )
        yield piece


class Compressor(Protocol):
    """What zlib's and zstandard's compression objects have in common."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def compressor(method: str) -> Compressor:
    """For "gzip" or "zstd". The same input gives the same bytes, whatever the number of processors."""
    if method == "gzip":
        return zlib.compressobj(6, zlib.DEFLATED, 31)
    import zstandard  # slow to load

    # With any number of threads above 0 the bytes are the same, and the caller's thread is free.
    found: Compressor = zstandard.ZstdCompressor(level=3, threads=2).compressobj()
    return found


class _Counted:
    """Pieces on their way, counted."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.total = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.total += len(chunk)
            if chunk:
                yield chunk


def _peek(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """At least ten bytes, if there are that many, and all pieces including these."""
    iterator = iter(chunks)
    head = b""
    for chunk in iterator:
        head += chunk
        if len(head) >= 10:
            break

    def all_of_them() -> Iterator[bytes]:
        if head:
            yield head
        yield from iterator

    return head, all_of_them()


class _Source:
    """What zstandard's reader reads from; watches the frames as they pass."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.frames = ZstdFrames()

    def read(self, size: int) -> bytes:
        chunk = next(self._chunks, b"")
        self.frames.feed(chunk)
        return chunk


def _zstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    import zstandard  # slow to load

    source = _Source(chunks)
    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    # Without read_across_frames it would stop, silently, after the first frame.
    reader = decoder.stream_reader(cast("IO[bytes]", source), read_size=PIECE, read_across_frames=True)
    try:
        while piece := reader.read(PIECE):
            yield piece
    except zstandard.ZstdError as error:
        raise LayerError(f"decompress layer: {error}") from error
    if not source.frames.whole:
        raise LayerError("decompress layer: the zstd data is truncated")


def _gzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(31)
    padding = False
    try:
        for chunk in _cut(chunks, GZIP_PIECE):
            data = chunk
            while data:
                if decoder.eof:
                    padding = padding or data[0] == 0
                    if padding and data.strip(b"\0"):
                        raise LayerError("decompress layer: zeros after a gzip member, and then more")
                    if padding:
                        break
                    decoder = zlib.decompressobj(31)
                piece = decoder.decompress(data, PIECE)
                if piece:
                    yield piece
                data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        while not decoder.eof:
            piece = decoder.decompress(b"", PIECE)
            if not piece:
                raise LayerError("decompress layer: the gzip data is truncated")
            yield piece
    except zlib.error as error:
        raise LayerError(f"decompress layer: gzip: {error}") from error


def _other(chunks: Iterator[bytes], method: str) -> Iterator[bytes]:
    import bz2
    import lzma  # both slow to load and rarely needed

    def fresh() -> lzma.LZMADecompressor | bz2.BZ2Decompressor:
        if method == "xz":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY)
        return bz2.BZ2Decompressor()

    decoder = fresh()
    try:
        for chunk in _cut(chunks, GZIP_PIECE):
            data = chunk
            while True:
                if decoder.eof:
                    data = data.lstrip(b"\0")  # xz pads its streams
                    if not data:
                        break
                    decoder = fresh()
                piece = decoder.decompress(data, PIECE)
                if piece:
                    yield piece
                data = decoder.unused_data if decoder.eof else b""
                if not data and (decoder.eof or decoder.needs_input):
                    break
    except (lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise LayerError(f"decompress archive: {method}: {error}") from error
    if not decoder.eof:
        raise LayerError(f"decompress archive: the {method} data is truncated")


def _cut(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        for at in range(0, len(chunk), size):
            yield chunk[at : at + size]
