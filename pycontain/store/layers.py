"""What is derived from a layer's blob: layers/<hex of diff id>/

    tar      the uncompressed tar, zeros left out
    index    what is in it, and where (unionfs.index)
    files/   contents that have been opened, by the entry's number, each its own file of mode 0444
    boot     the id of the boot of this machine during which all that was written

Nothing of this is synced to the disk when it is written: it can be made again. So in another boot the
tar is hashed once before it is believed, and files/ starts empty.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pycontain.errors import LayerError, NotFound, StoreError
from pycontain.image.digest import parse_digest
from pycontain.store.newfile import NewFile, write_at

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable

    from pycontain.image import Descriptor
    from pycontain.store.intake import LayerSink
    from pycontain.store.store import Store
    from pycontain.unionfs.index import Entry

COPY = 1 << 20
SPARSE_FROM = 4 << 20
"""Bytes. Contents of this size and more are searched for holes when they are copied."""


class Layer:
    """One layer in the store, known by the digest of its uncompressed tar."""

    def __init__(self, diff_id: str, path: str) -> None:
        self.diff_id = diff_id
        self.path = path
        """Its directory."""
        self._offsets: array[int] | None = None
        self._sizes: array[int] | None = None

    @property
    def tar_path(self) -> str:
        """The uncompressed tar."""
        return f"{self.path}/tar"

    @property
    def size(self) -> int:
        """Of the uncompressed tar, in bytes."""
        return os.stat(self.tar_path).st_size

    def entries(self) -> list[Entry]:
        """What is in the layer, in the order of the tar. Each call reads the index anew. LayerError."""
        # A client never reads an index, so it need not load these.
        from array import array

        from pycontain.unionfs.index import read_index

        entries = read_index(f"{self.path}/index")
        self._offsets = array("q", [entry.offset for entry in entries])
        self._sizes = array("q", [entry.size for entry in entries])
        return entries

    def materialise(self, number: int) -> str:
        """The path of a file with the content of entry `number`; made the first time. Never write to it.

        LayerError if the entry has no content or the tar is damaged; OSError (ENOSPC and the
        like), since it is often a program's system call that waits for this.
        """
        path = f"{self.path}/files/{number}"
        try:
            if os.stat(path).st_size == self._place(number)[1]:
                return path
        except FileNotFoundError:
            pass
        new = NewFile(f"{self.path}/files", 0o444, hidden=True)
        try:
            self.copy(number, new.fd)
            new.commit(path, sync=False, replace=True)
        finally:
            new.close()
        return path

    def copy(self, number: int, target: int) -> None:
        """Write the content of entry `number` to an empty file. Raises as materialise() does."""
        offset, size = self._place(number)
        source = os.open(self.tar_path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _copy(source, offset, size, target)
        finally:
            os.close(source)
        if os.fstat(target).st_size != size:
            raise LayerError(f"read layer {self.diff_id}: entry {number} is cut off; the tar is damaged")

    def read(self, number: int, limit: int = 1 << 20) -> bytes:
        """The content of entry `number`, if it is at most `limit` bytes. LayerError."""
        offset, size = self._place(number)
        if size > limit:
            raise LayerError(f"read layer {self.diff_id}: entry {number} has {size} bytes, over {limit}")
        source = os.open(self.tar_path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(source, size, offset)
        finally:
            os.close(source)
        if len(data) != size:
            raise LayerError(f"read layer {self.diff_id}: entry {number} is cut off; the tar is damaged")
        return data

    def _place(self, number: int) -> tuple[int, int]:
        if self._offsets is None or self._sizes is None:
            self.entries()
        assert self._offsets is not None and self._sizes is not None
        if not 0 <= number < len(self._offsets) or self._offsets[number] < 0:
            raise LayerError(f"read layer {self.diff_id}: entry {number} has no content")
        return self._offsets[number], self._sizes[number]


class Layers:
    """The layers of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._root = os.path.join(store.root, "layers")
        self._boot: str | None = None

    def path(self, diff_id: str) -> str:
        """The directory of the layer, whether it is there or not. ImageError for what is no digest."""
        algorithm, _, encoded = parse_digest(diff_id).partition(":")
        if algorithm != "sha256":
            raise StoreError(f"find layer {diff_id}: only sha256 diff ids are supported")
        return f"{self._root}/{encoded}"

    def get(self, diff_id: str) -> Layer:
        """The layer; NotFound if it is not indexed here."""
        path = self.path(diff_id)
        try:
            with open(f"{path}/boot", "rb", buffering=0) as file:
                boot = file.read(64)
        except FileNotFoundError:
            raise NotFound(f"find layer {diff_id}: it is not in the store") from None
        if boot != self.boot_id() and not self._believe(diff_id, path):
            raise NotFound(f"find layer {diff_id}: it was damaged when this machine went down")
        return Layer(diff_id, path)

    def has(self, diff_id: str) -> bool:
        """Whether the layer is indexed here."""
        return os.path.exists(f"{self.path(diff_id)}/boot")

    def ensure(self, descriptor: Descriptor, diff_id: str) -> Layer:
        """The layer of a blob that is in the store; indexed now if it is not yet.

        NotFound without the blob; DigestMismatch, LayerError, ImageError if it is not what is promised.
        """
        try:
            return self.get(diff_id)
        except NotFound:
            from pycontain.store.intake import index_blob  # zstandard and threads; a warm start needs neither

            return index_blob(self._store, descriptor, diff_id)

    def ingest(
        self,
        chunks: Iterable[bytes],
        media_type: str,
        expected: Descriptor | None = None,
        diff_id: str | None = None,
    ) -> tuple[Descriptor, Layer]:
        """Take in a layer's blob while it streams past, in one pass. See intake.ingest."""
        from pycontain.store.intake import ingest  # as above

        return ingest(self._store, chunks, media_type, expected, diff_id)

    def sink(self, compression: str = "zstd") -> LayerSink:
        """Make a layer: a file-like object for an uncompressed tar. See intake.LayerSink."""
        from pycontain.store.intake import LayerSink  # as above

        return LayerSink(self._store, compression)

    def list(self) -> list[str]:
        """The diff ids of all layers that are indexed."""
        return [f"sha256:{name}" for name in os.listdir(self._root) if len(name) == 64]

    def boot_id(self) -> bytes:
        """Names this boot of the machine; empty where the kernel does not tell."""
        if self._boot is None:
            try:
                with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                    self._boot = file.read().strip()
            except OSError:
                self._boot = ""
        return self._boot.encode()

    def _believe(self, diff_id: str, path: str) -> bool:
        """After another boot: hash the tar, throw the files away. Not believed, the layer is removed."""
        import shutil

        from pycontain.image.digest import Verifier  # both are slow to load and rarely needed

        with self._store.lock(), self._store.tmp_dir("damaged-") as aside:
            verifier = Verifier(diff_id)
            try:
                with open(f"{path}/tar", "rb", buffering=0) as file:
                    while chunk := file.read(COPY):
                        verifier.update(chunk)
            except FileNotFoundError:
                return False
            if verifier.digest != diff_id:
                os.rename(path, f"{aside}/layer")
                return False
            shutil.rmtree(f"{path}/files", ignore_errors=True)
            os.makedirs(f"{path}/files", exist_ok=True)
            new = NewFile(path)
            new.write(self.boot_id())
            new.commit(f"{path}/boot", replace=True)
            return True


def _copy(source: int, offset: int, size: int, target: int) -> None:
    """Copy a range to the start of an empty file; holes stay holes where that is worth a search."""
    if size < SPARSE_FROM:
        _copy_range(source, offset, size, target, 0)
        return
    at, end = offset, offset + size
    while at < end:
        try:
            data = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end of the file
            break
        if data >= end:
            break
        hole = min(os.lseek(source, data, os.SEEK_HOLE), end)
        _copy_range(source, data, hole - data, target, data - offset)
        at = hole
    if os.fstat(source).st_size >= end:
        os.ftruncate(target, size)


def _copy_range(source: int, offset: int, size: int, target: int, position: int) -> None:
    while size:
        try:
            copied = os.copy_file_range(source, target, size, offset, position)
        except OSError:  # a file system that cannot; plain reading tells what is really wrong
            chunk = os.pread(source, min(size, COPY), offset)
            write_at(target, chunk, position)
            copied = len(chunk)
        if copied == 0:
            return
        offset += copied
        position += copied
        size -= copied
