"""Content by digest: blobs/<algorithm>/<hex>, written once, never changed."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pycontain.errors import DigestMismatch, NotFound, StoreError
from pycontain.image.digest import LENGTHS, digest_bytes, hasher, parse_digest
from pycontain.image.document import MANIFEST_LIMIT
from pycontain.store.newfile import NewFile, storing, sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 20


class Blobs:
    """The blobs below one directory."""

    def __init__(self, root: str) -> None:
        self._root = root

    def path(self, digest: str) -> str:
        """Where the blob is, if it is there. ImageError for what is no digest."""
        algorithm, _, encoded = parse_digest(digest).partition(":")
        return f"{self._root}/{algorithm}/{encoded}"

    def has(self, digest: str, size: int | None = None) -> bool:
        """Whether the blob is there (and has this size). Marks it as used, which defers its collection."""
        path = self.path(digest)
        try:
            if size is not None and os.stat(path).st_size != size:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        except PermissionError:
            return os.path.exists(path)  # somebody else's store, which we only read
        return True

    def size(self, digest: str) -> int:
        """In bytes. NotFound."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, digest: str, limit: int = MANIFEST_LIMIT, *, verify: bool = True) -> bytes:
        """The content of a small blob. NotFound; StoreError if it is over `limit` bytes; DigestMismatch.

        verify=False leaves the hash out where the start of a container waits: what came into the store
        was verified then.
        """
        try:
            with open(self.path(digest), "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size > limit:
                    raise StoreError(f"read blob {digest}: {size} bytes are more than the limit of {limit}")
                data = file.read(size) if size else b""
        except FileNotFoundError:
            raise _missing(digest) from None
        if len(data) != size or (verify and digest_bytes(data, digest.partition(":")[0]) != digest):
            raise DigestMismatch(
                f"read blob {digest}: the file in the store is damaged",
                hint="remove the image and pull it again",
            )
        return data

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The content of a large blob in pieces, not verified. NotFound."""
        try:
            file = open(self.path(digest), "rb", buffering=0)  # noqa: SIM115 (closed below)
        except FileNotFoundError:
            raise _missing(digest) from None
        with file:
            while data := file.read(CHUNK):
                yield data

    def write_bytes(self, data: bytes) -> str:
        """Store `data`; returns its digest."""
        digest = digest_bytes(data)
        if not self.has(digest, len(data)):
            with self.writer() as writer:
                writer.write(data)
                writer.commit(digest, len(data))
        return digest

    def writer(self, algorithm: str = "sha256") -> BlobWriter:
        """A blob to be written in pieces; "sha512" for content that is known by such a digest."""
        return BlobWriter(self, algorithm)

    def list(self) -> Iterator[str]:
        """The digests of all blobs."""
        for algorithm, length in LENGTHS.items():
            try:
                names = os.listdir(f"{self._root}/{algorithm}")
            except FileNotFoundError:
                continue
            yield from (f"{algorithm}:{name}" for name in names if len(name) == length)

    def directory(self, algorithm: str) -> str:
        """Where blobs of this algorithm are; made if need be."""
        path = f"{self._root}/{algorithm}"
        if algorithm != "sha256":
            os.makedirs(path, exist_ok=True)
        return path

    def sync(self) -> None:
        """Bring the names of all blobs onto the disk (their contents are there before their names)."""
        for algorithm in LENGTHS:
            path = f"{self._root}/{algorithm}"
            if os.path.isdir(path):
                sync_directory(path)


class BlobWriter:
    """A blob on its way in. `write` pieces, then `commit`; leaving the context without that drops it."""

    def __init__(self, blobs: Blobs, algorithm: str = "sha256") -> None:
        self._blobs = blobs
        self._hash = hasher(algorithm)
        self._algorithm = algorithm
        with storing("store blob"):
            self._file = NewFile(blobs.directory(algorithm))

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._file.size

    @property
    def digest(self) -> str:
        """Of the bytes so far."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        """Append."""
        self._hash.update(data)
        with storing("store blob"):
            self._file.write(data)

    def verify(self, digest: str | None = None, size: int | None = None) -> None:
        """Raise DigestMismatch unless the content is as promised."""
        if size is not None and self.size != size:
            raise DigestMismatch(f"store blob {digest or ''}: {self.size} bytes came, {size} were promised")
        if digest is not None and self.digest != digest:
            raise DigestMismatch(f"store blob {digest}: the content's digest is {self.digest}")

    def commit(self, expected_digest: str | None = None, expected_size: int | None = None) -> tuple[str, int]:
        """Put the blob in its place; returns digest and size. DigestMismatch unless it is as expected.

        The content is on the disk afterwards. A blob that is there already stays, unless it is damaged.
        """
        try:
            self.verify(expected_digest, expected_size)
            digest, size = self.digest, self.size
            damaged = os.path.exists(self._blobs.path(digest)) and not self._blobs.has(digest, size)
            with storing(f"store blob {digest}"):
                self._file.commit(self._blobs.path(digest), replace=damaged)
            return digest, size
        finally:
            self.abort()

    def sync(self) -> None:
        """Start to bring to the disk what has come so far, so that `commit` has less to wait for."""
        os.fdatasync(self._file.fd)

    def abort(self) -> None:
        """Drop the blob unless it is committed. May be called again."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


def _missing(digest: str) -> NotFound:
    return NotFound(f"read blob {digest}: it is not in the store", hint="pull the image again")
