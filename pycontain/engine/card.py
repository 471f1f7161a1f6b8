"""A launch card: what a start needs to know of an image, in one small file.

Reading an image properly means the index, the manifest, the config and the modules for them: some 15 ms.
The card of a name is cards/<name>, msgpack, and is good for as long as index.json is the file that
it was made from. It is a cache: whatever is wrong with it, it is made again.
"""

from __future__ import annotations

import os

import msgpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.store.images import Image

_VERSION = 1


class Card:
    """image_id: the config's digest; manifest: its digest; name: canonical, "" for an image without one;
    layers: diff_ids, bottom first; config: the image config's "config" object."""

    __slots__ = ("architecture", "config", "image_id", "layers", "manifest", "name")

    def __init__(
        self,
        image_id: str,
        manifest: str,
        name: str,
        architecture: str,
        layers: list[str],
        config: dict[str, Any],
    ) -> None:
        self.image_id = image_id
        self.manifest = manifest
        self.name = name
        self.architecture = architecture
        self.layers = layers
        self.config = config

    @classmethod
    def of(cls, image: Image) -> Card:
        """The card of an image of the store."""
        return cls(
            image.id,
            image.descriptor.digest,
            str(image.reference) if image.reference is not None else "",
            image.config.architecture,
            list(image.config.diff_ids),
            image.config.config.to_json(),
        )


def read(root: str, name: str) -> Card | None:
    """The card of what the user calls `name`, None where there is none that is still good."""
    path = _path(root, name)
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            version, stamp, fields = msgpack.unpackb(file.read())
        if version != _VERSION or stamp != _stamp(root):
            return None
        return Card(*fields)
    except (OSError, ValueError, TypeError):  # msgpack's own errors are ValueErrors
        return None


def write(root: str, name: str, card: Card) -> None:
    """Keep the card for the next start; failing is no harm."""
    path = _path(root, name)
    if path is None:
        return
    fields = [card.image_id, card.manifest, card.name, card.architecture, card.layers, card.config]
    temporary = f"{path}.{os.getpid()}~"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(msgpack.packb([_VERSION, _stamp(root), fields]))
        os.replace(temporary, path)
    except (OSError, ValueError, TypeError):
        pass


def _path(root: str, name: str) -> str | None:
    plain = os.fsencode(name).hex() if len(name) < 100 else ""
    return os.path.join(root, "cards", plain) if plain else None


def _stamp(root: str) -> list[int]:
    info = os.stat(os.path.join(root, "index.json"))
    return [info.st_mtime_ns, info.st_size, info.st_ino]
