"""Compressed files of a build, read as a stream with limits: gzip, bzip2, xz, zstd or none."""

from __future__ import annotations

import os
from typing import IO, Any

MAGICS = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
MAX_RATIO = 2000  # of unpacked to packed bytes, once over SMALL; deflate cannot do more than 1032
SMALL = 256 << 20


class DamagedStream(ValueError):
    """The compressed bytes are not what they claim to be, or unpack to far too much."""


def compression_of(head: bytes) -> str:
    """The compression that a file's first bytes show: "gz", "bz2", "xz", "zstd" or "" for none."""
    for magic, name in MAGICS.items():
        if head.startswith(magic):
            return name
    return ""


class Decompressed:
    """The unpacked bytes of a host file; `read` raises DamagedStream, or OSError where the host fails."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115, closed by close()
        self.compression = compression_of(self._file.read(8))
        self._file.seek(0)
        self._limit = max(SMALL, os.fstat(self._file.fileno()).st_size * MAX_RATIO)
        self._stream, self._errors = unpacking(self._file, self.compression)
        self._total = 0

    def read(self, size: int = -1) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except self._errors as error:
            raise DamagedStream(f"damaged {self.compression or 'file'}: {error}") from None
        self._total += len(data)
        if self.compression and self._total > self._limit:
            raise DamagedStream("a bomb: it unpacks to far more than its size")
        return data

    def close(self) -> None:
        if self._stream is not self._file:
            self._stream.close()
        self._file.close()

    def __enter__(self) -> Decompressed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unpacking(file: IO[bytes], compression: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """A readable stream and what it may raise. Imports only what the compression needs."""
    if compression == "gz":
        import gzip
        import zlib

        return gzip.GzipFile(fileobj=file), (gzip.BadGzipFile, EOFError, zlib.error)
    if compression == "bz2":
        import bz2

        return bz2.BZ2File(file), (OSError, EOFError, ValueError)
    if compression == "xz":
        import lzma

        return lzma.LZMAFile(file), (lzma.LZMAError, EOFError)
    if compression == "zstd":
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        return decompressor.stream_reader(file, read_across_frames=True), (zstandard.ZstdError,)
    return file, ()
