"""Small layers and images to put into a store."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable
from pathlib import Path

import zstandard

from pycontain.image import Descriptor, History, ImageConfig, Reference, digest_bytes, media_types
from pycontain.store import Image, Store
from pycontain.unionfs.tarwriter import TarWriter


def tar_of(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar of regular files."""
    out = bytearray()
    tar = TarWriter(out.extend)
    for name, content in files:
        tar.add(name.encode(), mode=stat.S_IFREG | 0o644, size=len(content), content=[content])
    tar.close()
    return bytes(out)


def compress(data: bytes, method: str) -> bytes:
    """The same bytes compressed."""
    if method == "gzip":
        return gzip.compress(data, mtime=0)
    return zstandard.ZstdCompressor().compress(data) if method == "zstd" else data


def pieces(data: bytes, size: int = 1000) -> list[bytes]:
    """As they might come from a network."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def describe(data: bytes, method: str) -> Descriptor:
    """The descriptor of a layer's blob."""
    return Descriptor(media_types.layer_type(method), digest_bytes(data), len(data))


def put_image(store: Store, name: str | None, *contents: bytes) -> Image:
    """An image of one layer per content, each with a file "file"."""
    config = ImageConfig("amd64", created="2024-01-01T00:00:00Z")
    layers = []
    for content in contents:
        with store.layers.sink("gzip") as sink:
            sink.write(tar_of([("file", content)]))
            descriptor, layer = sink.finish()
        layers.append(descriptor)
        config = config.with_layer(layer.diff_id, History(created_by="test"))
    return store.add_image(config, layers, Reference.parse(name) if name else None)


def disk(store: Store) -> set[str]:
    """The relative paths of all files in a store, except the locks."""
    root = Path(store.root)
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and path.name not in ("lock", "lease")
    }


TAR_FOR_CRASHES = tar_of([("a", b"x" * 3000), ("b", bytes(100_000)), ("c", b"y")])
