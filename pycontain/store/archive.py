"""Images as files: `save`, `load`, and `import_rootfs` for root file systems."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import IO, TYPE_CHECKING

from pycontain.errors import ImageError
from pycontain.image import media_types
from pycontain.image.config import History, ImageConfig, RunConfig
from pycontain.image.platform import Platform
from pycontain.store import docker_archive, oci_archive
from pycontain.store.archive_reader import ArchiveReader
from pycontain.store.archive_writer import write_archive
from pycontain.store.compression import Limits, decompress, sniff

if TYPE_CHECKING:
    from pycontain.image import Reference
    from pycontain.store.images import Image
    from pycontain.store.store import Store

CHUNK = 1 << 20
ANY_COMPRESSION = frozenset({"none", "gzip", "zstd", "xz", "bzip2"})


def save(store: Store, names: Sequence[str | Reference], write: Callable[[bytes], object]) -> list[Image]:
    """Write images as one tar that both `docker load` and readers of OCI archives take.

    NotFound, ImageError; DigestMismatch, LayerError if a blob is damaged.
    """
    with store.lease():
        images = [store.image(name) for name in names]
        write_archive(store, images, write)
        return images


def load(store: Store, file: IO[bytes]) -> list[Image]:
    """Take in the images of an archive: Docker's, old or new, or an OCI layout; compressed or not.

    `file` may be a pipe. ImageError if it is no such archive; LayerError, DigestMismatch if something in
    it is hostile or damaged. Images before the one that fails are in the store then.
    """
    with store.lease(), _seekable(store, file) as fd:
        archive = ArchiveReader(fd)
        if archive.has("index.json"):
            found = oci_archive.load(store, archive)
        elif archive.has("manifest.json"):
            found = docker_archive.load(store, archive)
        else:
            raise ImageError(
                "load archive: it has neither index.json nor manifest.json, so it holds no images",
                hint="`pycontain import` takes root file systems",
            )
        return found


def import_rootfs(
    store: Store,
    chunks: Iterable[bytes],
    reference: Reference | None = None,
    *,
    config: RunConfig | None = None,
    platform: Platform | None = None,
    message: str | None = None,
    created: str | None = None,
) -> Image:
    """Make an image of one layer out of a root file system's tar (gzip, zstd, xz, bzip2 or plain).

    gzip and zstd stay as they are, the rest becomes zstd. created: RFC 3339, default now.
    LayerError if it is no whole tar, or hostile.
    """
    iterator = iter(chunks)
    head = b""
    while len(head) < 16 and (chunk := next(iterator, b"")):
        head += chunk
    stream = chain([head], iterator)
    method = sniff(head)
    with store.lease():
        if method in ("gzip", "zstd"):
            descriptor, layer = store.layers.ingest(stream, media_types.layer_type(method))
        else:
            with store.layers.sink() as sink:
                for piece in decompress(stream, Limits.from_environment(), ANY_COMPRESSION)[1]:
                    sink.write(piece)
                descriptor, layer = sink.finish()
        created = created or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        target = platform or Platform.host()
        image_config = ImageConfig(
            target.architecture, target.os, target.variant, created, config=config or RunConfig()
        ).with_layer(layer.diff_id, History(created, comment=message or "Imported from -"))
        return store.add_image(image_config, [descriptor], reference)


@contextmanager
def _seekable(store: Store, file: IO[bytes]) -> Iterator[int]:
    """A descriptor of the uncompressed archive; a pipe or a compressed one is spooled first."""
    if file.seekable() and file.tell() == 0:
        head = file.read(16)
        file.seek(0)
        fd = _fileno(file)
        if fd is not None and sniff(head) == "none":
            yield fd
            return
    with store.tmp_dir("load-") as directory, open(os.path.join(directory, "archive"), "w+b") as spool:
        pieces = iter(lambda: file.read(CHUNK), b"")
        for piece in decompress(pieces, Limits.from_environment(), ANY_COMPRESSION)[1]:
            spool.write(piece)
        spool.flush()
        yield spool.fileno()


def _fileno(file: IO[bytes]) -> int | None:
    """The descriptor behind a file object; None where there is none (io.BytesIO)."""
    try:
        return file.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return None
