"""A collection becomes one layer and an image."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from pycontain.engine.bootstrap.collection import Collection, Item
from pycontain.engine.clock import rfc3339
from pycontain.engine.environment import DEFAULT_PATH
from pycontain.errors import StoreError
from pycontain.image.config import History, ImageConfig, RunConfig
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference
from pycontain.store import Store
from pycontain.store.images import Image
from pycontain.unionfs.tarwriter import TarWriter


def write_image(store: Store, reference: Reference, collection: Collection, programs: Sequence[str]) -> Image:
    """Write the layer and the image, and tag it. Its times are those of its files."""
    with store.lease():
        return _write_image(store, reference, collection, programs)


def _write_image(
    store: Store, reference: Reference, collection: Collection, programs: Sequence[str]
) -> Image:
    entries = collection.sorted()
    with store.layers.sink() as sink:
        tar = TarWriter(sink.write)
        names: dict[tuple[int, int], bytes] = {}  # a file of the host -> its first name here, for hard links
        for path, item in entries:
            _write(tar, os.fsencode(path[1:]), item, names)
        tar.close()
        descriptor, layer = sink.finish()
    platform = Platform.host()
    created = rfc3339(collection.newest)
    shell = "bash" if "/usr/bin/bash" in collection or "/bin/bash" in collection else "sh"
    has_shell = any(f"{place}/{shell}" in collection for place in ("/bin", "/usr/bin"))
    command = " ".join(["pycontain bootstrap", reference.familiar, *programs])
    config = ImageConfig(
        platform.architecture,
        platform.os,
        platform.variant,
        created=created,
        config=RunConfig(env=(f"PATH={DEFAULT_PATH}",), cmd=(f"/bin/{shell}",) if has_shell else None),
        diff_ids=(layer.diff_id,),
        history=(History(created, command),),
    )
    return store.add_image(config, [descriptor], reference)


def _write(tar: TarWriter, path: bytes, item: Item, names: dict[tuple[int, int], bytes]) -> None:
    if not stat.S_ISREG(item.mode):
        tar.add(path, mode=item.mode, mtime_ns=item.mtime, link=os.fsencode(item.target) or None)
        return
    if not item.source:
        tar.add(path, mode=item.mode, mtime_ns=item.mtime, size=len(item.data), content=[item.data])
        return
    try:
        fd = os.open(item.source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"bootstrap: read {item.source}: {error.strerror}") from None
    try:
        info = os.fstat(fd)
        key = info.st_dev, info.st_ino
        first = names.get(key) if info.st_nlink > 1 else None
        if first is not None:
            tar.add(path, mode=item.mode, mtime_ns=item.mtime, link=first, hardlink=True)
            return
        names[key] = path
        tar.add(path, mode=item.mode, mtime_ns=item.mtime, size=info.st_size, content=fd)
    finally:
        os.close(fd)
