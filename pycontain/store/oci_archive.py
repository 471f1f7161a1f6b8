"""OCI image layouts as an archive (image-spec image-layout.md): index.json and blobs/."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontain.errors import DigestMismatch, ImageError
from pycontain.image import document, media_types
from pycontain.image.config import ImageConfig
from pycontain.image.descriptor import Descriptor
from pycontain.image.digest import digest_bytes, parse_digest
from pycontain.image.manifest import Index, Manifest, parse_manifest
from pycontain.image.reference import Reference
from pycontain.store.archive_writer import CONTAINERD_NAME

if TYPE_CHECKING:
    from pycontain.store.archive_reader import ArchiveReader
    from pycontain.store.images import Image
    from pycontain.store.store import Store

DEPTH = 4


def load(store: Store, archive: ArchiveReader) -> list[Image]:
    """Take in all images of the layout. See archive.load."""
    what = "index.json of the archive"
    index = document.parse(archive.read("index.json"), what)
    found: list[Image] = []
    rows = document.tables(index, "manifests", what)
    if not rows:
        raise ImageError("load archive: its index.json names no images")
    for row in rows:
        descriptor = Descriptor.from_json(row, what)
        _take(store, archive, descriptor, DEPTH)
        reference = _name(descriptor)
        store.tags.set(reference, descriptor._replace(annotations=None))
        found.append(store.image(reference or descriptor.digest))
    return found


def _name(descriptor: Descriptor) -> Reference | None:
    """docker and containerd write the whole name into an annotation of theirs, skopeo into ref.name."""
    annotations = descriptor.annotations or {}
    name = annotations.get(CONTAINERD_NAME) or annotations.get(media_types.ANNOTATION_REF_NAME)
    return Reference.parse(name) if name else None


def _take(store: Store, archive: ArchiveReader, descriptor: Descriptor, depth: int) -> None:
    """Take in a manifest, after all that it leads to. Of an index, the manifests that are in the archive."""
    data = archive.read(_path(descriptor.digest))
    if (
        len(data) != descriptor.size
        or digest_bytes(data, descriptor.digest.partition(":")[0]) != descriptor.digest
    ):
        raise DigestMismatch(f"load archive: manifest {descriptor.digest} is damaged")
    manifest = parse_manifest(data, descriptor.media_type)
    if isinstance(manifest, Manifest):
        _take_image(store, archive, manifest)
    elif depth == 0:
        raise ImageError(f"load archive: indexes within indexes, more than {DEPTH} deep")
    else:
        _take_children(store, archive, manifest, depth)
    _copy(store, archive, descriptor)


def _take_children(store: Store, archive: ArchiveReader, index: Index, depth: int) -> None:
    here = [child for child in index.manifests if archive.has(_path(child.digest))]
    if index.manifests and not here:
        raise ImageError("load archive: none of the manifests that its index names are in it")
    for child in here:
        _take(store, archive, child, depth - 1)


def _take_image(store: Store, archive: ArchiveReader, manifest: Manifest) -> None:
    _copy(store, archive, manifest.config)
    if not manifest.is_image:
        for part in manifest.layers:
            _copy(store, archive, part)
        return
    diff_ids = ImageConfig.from_bytes(store.blobs.read(manifest.config.digest)).diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise ImageError(f"load archive: {len(manifest.layers)} layers, but {len(diff_ids)} diff ids")
    for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
        if store.blobs.has(layer.digest, layer.size):
            store.layers.ensure(layer, diff_id)
        else:
            store.layers.ingest(archive.chunks(_path(layer.digest)), layer.media_type, layer, diff_id)


def _copy(store: Store, archive: ArchiveReader, descriptor: Descriptor) -> None:
    """Take in a blob that is not a layer."""
    if store.blobs.has(descriptor.digest, descriptor.size):
        return
    with store.blobs.writer(descriptor.digest.partition(":")[0]) as writer:
        for chunk in archive.chunks(_path(descriptor.digest)):
            writer.write(chunk)
        writer.commit(descriptor.digest, descriptor.size)


def _path(digest: str) -> str:
    algorithm, _, encoded = parse_digest(digest).partition(":")
    return f"blobs/{algorithm}/{encoded}"
