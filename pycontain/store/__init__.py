"""The local store. On disk it is an OCI image layout (image-spec image-layout.md) with a few neighbours.

General layout:

    store.py        where everything is; locks, leases, temporary directories
    newfile.py      a file that appears whole or not at all
    blobs.py        content by digest: blobs/sha256/<hex>
    tags.py         names of images: index.json
    layers.py       layers/<hex of diff id>/: the tar, its index, files taken out of it
    intake.py       a layer on its way in: one pass that hashes, decompresses, spools and indexes
    compression.py  gzip, zstd and their like, with limits against bombs
    zstdframes.py   where zstd frames end
    relay.py        a thread that takes pieces of data in order
    images.py       images: found, listed, added, removed
    gc.py           removal of what nothing refers to
    archive.py      images as files: save, load, import
    docker_archive.py, oci_archive.py   the two formats of such files

Reading an image imports neither zstandard nor threads nor msgpack: `run` waits for these imports.
"""

from __future__ import annotations

from pycontain.store.images import Image
from pycontain.store.store import Store

__all__ = ["Image", "Store"]
