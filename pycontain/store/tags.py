"""Names of images: index.json, an OCI image index whose descriptors carry the name as an annotation.

A descriptor without the annotation keeps an image that has no name (any more). What other tools write
into index.json survives.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pycontain.errors import ImageError, NotFound, StoreError
from pycontain.image import document, media_types
from pycontain.image.descriptor import Descriptor
from pycontain.image.manifest import Index, parse_manifest
from pycontain.image.reference import Reference
from pycontain.store.newfile import storing, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.store.store import Store

LIMIT = 64 << 20
"""Bytes of index.json."""
NAME = media_types.ANNOTATION_REF_NAME


class Tags:
    """The names in one store. Reading takes no lock: index.json is replaced as a whole."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = os.path.join(store.root, "index.json")

    def get(self, reference: Reference) -> Descriptor | None:
        """What the name means, None if it means nothing here. With a digest only that manifest will do."""
        if reference.tag is None and reference.digest is None:
            reference = reference.with_tag("latest")
        wanted = str(reference._replace(digest=None)) if reference.tag else None
        for row in self._rows():
            name = _name(row)
            if reference.digest is not None:
                if row.get("digest") == reference.digest and name is not None:
                    found = _parse(name)
                    if found is not None and found.name == reference.name:
                        return Descriptor.from_json(row)
            elif name == wanted or (name is not None and "/" not in name and _canonical(row) == wanted):
                return Descriptor.from_json(row)
        return None

    def set(self, reference: Reference | None, descriptor: Descriptor) -> None:
        """Let the name mean this; None keeps the image without a name.

        Everything the descriptor leads to must be in the store, else NotFound: checked under the lock, so
        that no collection can come between. Afterwards the name survives a loss of power. An image that
        loses its last name stays, nameless.
        """
        name = None if reference is None else str(_tag_of(reference))
        with self._store.lock():
            self._check(descriptor, name or descriptor.digest)
            self._store.blobs.sync()
            rows = self._rows()
            old = [row for row in rows if name is not None and _canonical(row) == name]
            rows = [row for row in rows if row not in old]
            kept = {row.get("digest") for row in rows} | {descriptor.digest}
            for row in old:
                if row.get("digest") not in kept:
                    rows.append(_nameless(row))
            if name is not None:
                rows = [x for x in rows if x.get("digest") != descriptor.digest or _name(x) is not None]
                descriptor = descriptor.annotate(NAME, name)
            elif any(row.get("digest") == descriptor.digest for row in rows):
                return
            self._write([*rows, descriptor.to_json()])

    def delete(self, reference: Reference, *, keep: bool = False) -> bool:
        """Take the name away; whether there was one. keep: an image stays, nameless, without its last."""
        name = str(_tag_of(reference))
        with self._store.lock():
            rows = self._rows()
            old = [row for row in rows if _canonical(row) == name]
            if not old:
                return False
            rows = [row for row in rows if row not in old]
            digests = {row.get("digest") for row in rows}
            if keep:
                rows += [_nameless(row) for row in old if row.get("digest") not in digests]
            self._write(rows)
            return True

    def drop(self, digest: str) -> bool:
        """Forget a manifest under all its names; whether there was one."""
        return self._change(lambda row: row.get("digest") != digest)

    def items(self) -> list[tuple[Reference, Descriptor]]:
        """All names, in the order in which they were given."""
        found = []
        for row in self._rows():
            name = _name(row)
            reference = _parse(name) if name is not None else None
            if reference is not None:
                found.append((reference, Descriptor.from_json(row)))
        return found

    def nameless(self) -> list[Descriptor]:
        """Images that are kept without a name, or under one that is no reference."""
        rows = self._rows()
        return [Descriptor.from_json(x) for x in rows if (name := _name(x)) is None or _parse(name) is None]

    def _change(self, keep: Callable[[dict[str, Any]], bool]) -> bool:
        with self._store.lock():
            rows = self._rows()
            kept = [row for row in rows if keep(row)]
            if len(kept) != len(rows):
                self._write(kept)
            return len(kept) != len(rows)

    def _rows(self) -> list[dict[str, Any]]:
        """The descriptors as they are written."""
        return document.tables(self._read(), "manifests", "index.json")

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._path, "rb", buffering=0) as file:
                return document.parse(file.readall(), "index.json", LIMIT)
        except FileNotFoundError:
            return {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": []}
        except ImageError as error:
            raise StoreError(f"open store {self._store.root}: {error.message}") from error

    def _write(self, rows: list[dict[str, Any]]) -> None:
        """Replace index.json; it is on the disk afterwards. The lock is held, so one name will do."""
        value = self._read()
        value["manifests"] = rows
        new = self._path + ".new"
        with storing("write the store's index.json"):
            with open(new, "wb") as file:
                file.write(document.write(value))
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._path)
            sync_directory(self._store.root)

    def _check(self, descriptor: Descriptor, name: str) -> None:
        """NotFound unless everything that a manifest leads to is here; of an index, what is here of it."""
        blobs = self._store.blobs
        manifest = parse_manifest(blobs.read(descriptor.digest), descriptor.media_type)
        if isinstance(manifest, Index):
            for child in manifest.manifests:
                if child.media_type in media_types.MANIFESTS | media_types.INDEXES and blobs.has(
                    child.digest
                ):
                    self._check(child, name)
            return
        for part in (manifest.config, *manifest.layers):
            if not blobs.has(part.digest, part.size) and not part.urls:
                raise NotFound(
                    f"tag {name}: blob {part.digest} of {part.size} bytes is not in the store",
                    hint="it may just have been removed; try again",
                )


def _name(row: dict[str, Any]) -> str | None:
    annotations = row.get("annotations")
    name = annotations.get(NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None


def _parse(name: str) -> Reference | None:
    """The reference, or None for a name that some other tool gave and that is none."""
    try:
        return Reference.parse(name)
    except ImageError:
        return None


def _canonical(row: dict[str, Any]) -> str | None:
    name = _name(row)
    reference = _parse(name) if name is not None else None
    return str(reference) if reference is not None else None


def _tag_of(reference: Reference) -> Reference:
    """The reference under which an image is kept: by its tag; by its digest only if it has no tag."""
    return reference._replace(digest=None) if reference.tag else reference


def _nameless(row: dict[str, Any]) -> dict[str, Any]:
    annotations = {key: value for key, value in row.get("annotations", {}).items() if key != NAME}
    row = {key: value for key, value in row.items() if key != "annotations"}
    return {**row, "annotations": annotations} if annotations else row
