"""Images as one tar: an OCI image layout (index.json), and with manifest.json a Docker archive as well.

Both name the same blobs, which are the store's own bytes, so digests do not change. docker does the same
since version 25. Equal images give equal bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pycontain.errors import DigestMismatch
from pycontain.image import document, media_types
from pycontain.image.manifest import Index, parse_manifest
from pycontain.unionfs.tarwriter import TarWriter

if TYPE_CHECKING:
    from pycontain.image import Descriptor
    from pycontain.store.images import Image
    from pycontain.store.store import Store

CONTAINERD_NAME = "io.containerd.image.name"
"""The annotation in which docker and containerd keep the whole reference; ref.name then has the tag only."""


def write_archive(store: Store, images: Sequence[Image], write: Callable[[bytes], object]) -> None:
    """Write the images. DigestMismatch if a blob has not the size that its descriptor promises."""
    rows: list[dict[str, Any]] = []
    docker: dict[str, dict[str, Any]] = {}
    blobs: dict[str, int] = {}
    for image in images:
        top = _top(store, image)
        blobs.update((blob.digest, blob.size) for blob in _tree(store, top))
        listed = docker.setdefault(
            image.descriptor.digest,
            {
                "Config": _path(image.id),
                "RepoTags": [],
                "Layers": [_path(layer.digest) for layer in image.manifest.layers],
            },
        )
        top = top._replace(annotations=None)
        if image.reference is not None and image.reference.tag:
            reference = image.reference._replace(digest=None)
            listed["RepoTags"].append(reference.familiar)
            top = top.annotate(CONTAINERD_NAME, str(reference))
            top = top.annotate(media_types.ANNOTATION_REF_NAME, image.reference.tag)
        rows.append(top.to_json())
    tar = TarWriter(write)
    for directory in sorted({"blobs", *(os.path.dirname(_path(digest)) for digest in blobs)}):
        tar.add(directory.encode(), mode=stat.S_IFDIR | 0o755)
    for digest in sorted(blobs):
        _add_blob(tar, store, digest, blobs[digest])
    index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": rows}
    _add(tar, "index.json", document.write(index))
    _add(tar, "manifest.json", document.write(list(docker.values())))
    _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    tar.close()


def _top(store: Store, image: Image) -> Descriptor:
    """What the tag points to; of an index that is not all here, only the manifest for this platform."""
    if image.target.digest != image.descriptor.digest:
        index = parse_manifest(store.blobs.read(image.target.digest), image.target.media_type)
        if isinstance(index, Index) and all(store.blobs.has(x.digest, x.size) for x in index.manifests):
            return image.target
    return image.descriptor


def _tree(store: Store, descriptor: Descriptor) -> Iterator[Descriptor]:
    """The manifest, and all that it leads to."""
    yield descriptor
    manifest = parse_manifest(store.blobs.read(descriptor.digest), descriptor.media_type)
    if isinstance(manifest, Index):
        for child in manifest.manifests:
            yield from _tree(store, child)
    else:
        yield manifest.config
        yield from manifest.layers


def _add_blob(tar: TarWriter, store: Store, digest: str, size: int) -> None:
    if store.blobs.size(digest) != size:
        raise DigestMismatch(
            f"save image: blob {digest} has {store.blobs.size(digest)} bytes, not {size}",
            hint="the store is damaged; pull the image again",
        )
    fd = os.open(store.blobs.path(digest), os.O_RDONLY | os.O_CLOEXEC)
    try:
        tar.add(_path(digest).encode(), mode=stat.S_IFREG | 0o444, size=size, content=fd)
    finally:
        os.close(fd)


def _add(tar: TarWriter, name: str, data: bytes) -> None:
    tar.add(name.encode(), mode=stat.S_IFREG | 0o644, size=len(data), content=[data])


def _path(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"
