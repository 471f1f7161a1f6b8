"""Docker's archives without an OCI index: manifest.json, and the files it names (moby image/spec v1.2)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pycontain.errors import ImageError
from pycontain.image import document, media_types
from pycontain.image.config import ImageConfig
from pycontain.image.descriptor import Descriptor
from pycontain.image.manifest import Manifest
from pycontain.image.reference import Reference
from pycontain.store.compression import sniff

if TYPE_CHECKING:
    from typing import Any

    from pycontain.store.archive_reader import ArchiveReader
    from pycontain.store.images import Image
    from pycontain.store.store import Store

_WHAT = "manifest.json of the archive"


def load(store: Store, archive: ArchiveReader) -> list[Image]:
    """Take in all images of the archive. See archive.load."""
    found: list[Image] = []
    rows = document.parse_list(archive.read("manifest.json"), _WHAT)
    if not rows:
        raise ImageError("load archive: its manifest.json names no images")
    for row in rows:
        descriptor = _take(store, archive, row)
        references: list[Reference | None] = [
            Reference.parse(tag) for tag in document.strings(row, "RepoTags", _WHAT) or ()
        ]
        for reference in references or [None]:
            store.tags.set(reference, descriptor)
            found.append(store.image(reference or descriptor.digest))
    return found


def _take(store: Store, archive: ArchiveReader, row: dict[str, Any]) -> Descriptor:
    """Take in config and layers, and make the manifest that such an archive lacks."""
    raw = archive.read(document.string(row, "Config", _WHAT))
    config = ImageConfig.from_bytes(raw)
    names = document.strings(row, "Layers", _WHAT) or ()
    if len(names) != len(config.diff_ids):
        raise ImageError(f"load archive: {len(names)} layers, but {len(config.diff_ids)} diff ids")
    layers = []
    for name, diff_id in zip(names, config.diff_ids, strict=True):
        head = next(islice(archive.chunks(name), 1), b"")
        media_type = media_types.layer_type(sniff(head[:16]))
        layers.append(store.layers.ingest(archive.chunks(name), media_type, None, diff_id)[0])
    manifest = Manifest(
        Descriptor(media_types.OCI_CONFIG, store.blobs.write_bytes(raw), len(raw)), tuple(layers)
    )
    data = manifest.to_bytes()
    return Descriptor(media_types.OCI_MANIFEST, store.blobs.write_bytes(data), len(data))
