"""A layer on its way into the store: one pass hashes, decompresses, spools and indexes it.

Three threads share the work, since hashing, compressing and decompressing release Python's lock:
the caller's (decompress, parse), one that hashes and spools the uncompressed bytes, and one that hashes
and writes the blob. All is in a temporary directory until a rename puts it in its place. The tar of a layer
that is not compressed is its blob, under a second name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pycontain.errors import DigestMismatch, LayerError
from pycontain.image import media_types
from pycontain.image.descriptor import Descriptor
from pycontain.image.digest import Verifier, hasher
from pycontain.store.compression import Limits, compressor, decompress
from pycontain.store.layers import Layer
from pycontain.store.newfile import storing, write_at
from pycontain.store.relay import Relay
from pycontain.unionfs.index import write_index
from pycontain.unionfs.tarstream import TarParser

if TYPE_CHECKING:
    from pycontain.store.blobs import BlobWriter
    from pycontain.store.store import Store

LAYER_COMPRESSIONS = frozenset({"none", "gzip", "zstd"})
SYNC_EVERY = 64 << 20
"""Bytes of a blob after which it is brought to the disk, so that the end does not wait for all of it."""
GATHER = 256 << 10
"""Bytes that a LayerSink gathers from small writes before it works on them."""


def ingest(
    store: Store,
    chunks: Iterable[bytes],
    media_type: str,
    expected: Descriptor | None = None,
    diff_id: str | None = None,
) -> tuple[Descriptor, Layer]:
    """Store a layer's blob and its index while the blob streams past.

    expected: digest and size that the blob must have; diff_id: the digest that its tar must have. Neither
    blob nor layer appear unless all of it is right. Returns the blob's descriptor and the layer.

    ImageError: media_type is no layer's. DigestMismatch. LayerError: hostile, damaged or truncated.
    """
    media_types.compression_of(media_type)
    algorithm = expected.digest.partition(":")[0] if expected is not None else "sha256"
    with store.lease(), store.blobs.writer(algorithm) as blob, _Intake(store) as intake:
        promised = (expected.digest, expected.size) if expected is not None else (None, None)
        _pass(chunks, _writer(blob), intake, expected, lambda: blob.verify(*promised))
        intake.check(blob.digest, diff_id, whole=expected is None)
        digest, size = blob.commit()
        descriptor = Descriptor(media_type, digest, size) if expected is None else expected
        return descriptor, intake.commit(store.blobs.path(digest))


def index_blob(store: Store, descriptor: Descriptor, diff_id: str) -> Layer:
    """Make the layer of a blob that is in the store. As ingest; NotFound if the blob is not there."""
    media_types.compression_of(descriptor.media_type)
    verifier = Verifier(descriptor.digest)
    with store.lease(), _Intake(store) as intake:
        chunks = store.blobs.chunks(descriptor.digest)
        _pass(chunks, verifier.update, intake, descriptor, lambda: verifier.check(descriptor.size, "layer"))
        intake.check(descriptor.digest, diff_id, whole=False)
        return intake.commit(store.blobs.path(descriptor.digest))


class LayerSink:
    """A file-like object that makes a layer of an uncompressed tar written to it.

    `write` the tar, then `finish`; leaving the context without that drops it. compression: "zstd", "gzip"
    or "none".
    """

    def __init__(self, store: Store, compression: str = "zstd") -> None:
        self._store = store
        self._media_type = media_types.layer_type(compression)
        self._gathered: list[bytes] = []
        self._waiting = 0
        self._stack = ExitStack()
        with ExitStack() as stack:
            stack.enter_context(store.lease())
            self._blob = stack.enter_context(store.blobs.writer())
            self._intake = stack.enter_context(_Intake(store, shared=compression == "none"))
            self._compressor = None if compression == "none" else compressor(compression)
            self._relay = Relay(self._compress)
            stack.callback(self._relay.stop)
            self._stack = stack.pop_all()

    def write(self, data: bytes) -> int:
        """Take the next bytes of the tar. LayerError where they are malformed."""
        self._gathered.append(data)
        self._waiting += len(data)
        if self._waiting >= GATHER:
            self._flush()
        return len(data)

    def finish(self) -> tuple[Descriptor, Layer]:
        """The layer is in the store: its descriptor, and the layer."""
        with self._stack:
            self._flush()
            self._relay.close()
            if self._compressor is not None:
                self._blob.write(self._compressor.flush())
            self._intake.check(self._blob.digest, None, whole=True)
            digest, size = self._blob.commit()
            layer = self._intake.commit(self._store.blobs.path(digest))
            return Descriptor(self._media_type, digest, size), layer

    def abort(self) -> None:
        """Drop everything unless it is finished. May be called again."""
        self._stack.close()

    def _flush(self) -> None:
        if self._waiting:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._waiting = 0
            self._relay.put(data)
            self._intake.take(data)

    def _compress(self, data: bytes) -> None:
        self._blob.write(data if self._compressor is None else self._compressor.compress(data))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


class _Intake:
    """The uncompressed side: hash, spool and index, in a temporary directory.

    shared: the blob is the tar itself, so it is neither hashed nor written twice.
    """

    def __init__(self, store: Store, *, shared: bool = False) -> None:
        self.shared = shared
        self._store = store
        self._parser = TarParser()
        self._hash = hasher()
        self._relay = Relay(self._spool)
        self._size = 0
        self._spooled = 0
        self._diff_id = ""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with storing("store layer"), ExitStack() as stack:
            self._directory = stack.enter_context(self._store.tmp_dir("layer-")) + "/layer"
            os.makedirs(f"{self._directory}/files")
            self._fd = os.open(
                f"{self._directory}/tar", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644
            )
            stack.callback(os.close, self._fd)
            stack.callback(self._relay.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def take(self, data: bytes) -> None:
        """The next piece of the tar."""
        if not self.shared:
            self._relay.put(data)
        self._size += len(data)
        self._parser.feed(data)

    def _spool(self, data: bytes) -> None:
        self._hash.update(data)
        with storing("store layer"):
            write_at(self._fd, data, self._spooled)
        self._spooled += len(data)

    def check(self, blob_digest: str, diff_id: str | None, *, whole: bool) -> None:
        """All has come: write the index. DigestMismatch unless the tar is as promised; LayerError.

        whole: the tar must have its end mark; nothing else tells whether it is all there.
        """
        self._relay.close()
        self._diff_id = blob_digest if self.shared else f"sha256:{self._hash.hexdigest()}"
        if diff_id is not None and diff_id != self._diff_id:
            raise DigestMismatch(
                f"store layer {blob_digest}: its tar has the digest {self._diff_id}, not {diff_id}"
            )
        entries = self._parser.finish()
        if whole and self._size and not self._parser.ended:
            raise LayerError("read tar: it is truncated; its end mark is missing")
        with storing("store layer"):
            os.ftruncate(self._fd, self._size)  # it may end in a hole
            write_index(f"{self._directory}/index", entries)

    def commit(self, blob_path: str) -> Layer:
        """Put the layer in its place, unless it has got there meanwhile."""
        path = self._store.layers.path(self._diff_id)
        with storing("store layer"):
            if self.shared:
                os.unlink(f"{self._directory}/tar")
                os.link(blob_path, f"{self._directory}/tar")
            with open(f"{self._directory}/boot", "wb") as file:
                file.write(self._store.layers.boot_id())
            try:
                os.rename(self._directory, path)
            except OSError:
                if not os.path.exists(f"{path}/boot"):
                    raise
        return self._store.layers.get(self._diff_id)


def _pass(
    chunks: Iterable[bytes],
    take: Callable[[bytes], object],
    intake: _Intake,
    expected: Descriptor | None,
    verify: Callable[[], None],
) -> None:
    """Lead the compressed bytes to `take` and the uncompressed ones to `intake`, then `verify` the former."""
    relay = Relay(take)
    all_came = False

    def passing() -> Iterator[bytes]:
        nonlocal all_came
        came = 0
        for chunk in chunks:
            came += len(chunk)
            if expected is not None and came > expected.size:
                raise DigestMismatch(
                    f"store layer {expected.digest}: more bytes came than the {expected.size} promised"
                )
            relay.put(chunk)
            yield chunk
        all_came = True

    try:
        method, pieces = decompress(passing(), Limits.from_environment(), LAYER_COMPRESSIONS)
        intake.shared = method == "none" and (expected is None or expected.digest.startswith("sha256:"))
        for piece in pieces:
            intake.take(piece)
        relay.close()
        verify()
    except LayerError:
        if all_came:  # then a wrong digest or size says more than "truncated"
            relay.close()
            verify()
        raise
    finally:
        relay.stop()


def _writer(blob: BlobWriter) -> Callable[[bytes], None]:
    """Writes to a blob, and now and then brings it to the disk."""
    unsynced = 0

    def write(data: bytes) -> None:
        nonlocal unsynced
        blob.write(data)
        unsynced += len(data)
        if unsynced >= SYNC_EVERY:
            blob.sync()
            unsynced = 0

    return write
