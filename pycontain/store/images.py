"""Images in the store: found by name or id, listed, added, removed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pycontain.errors import Conflict, ImageError, NotFound, PycontainError
from pycontain.image import media_types
from pycontain.image.config import ImageConfig
from pycontain.image.descriptor import Descriptor
from pycontain.image.manifest import Index, Manifest, parse_manifest
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference

if TYPE_CHECKING:
    from pycontain.store.layers import Layer
    from pycontain.store.store import Store

_ID_HEX = frozenset("0123456789abcdef")


class Image:
    """One image: what its name means on one platform.

    descriptor: of the manifest (with Docker's names if it was made that way); `target` is what the tag
    points to, which differs if that is an index of several platforms.
    """

    __slots__ = ("_store", "config", "descriptor", "manifest", "reference", "target")

    def __init__(
        self,
        store: Store,
        reference: Reference | None,
        descriptor: Descriptor,
        manifest: Manifest,
        config: ImageConfig,
        target: Descriptor | None = None,
    ) -> None:
        self._store = store
        self.reference = reference
        self.descriptor = descriptor
        self.manifest = manifest
        self.config = config
        self.target = target or descriptor

    @property
    def id(self) -> str:
        """The digest of the config, as Docker names images."""
        return self.manifest.config.digest

    @property
    def layers(self) -> list[Layer]:
        """The layers, bottom first; those not indexed yet are now. NotFound, LayerError, DigestMismatch."""
        layers = self._store.layers
        return [
            layers.ensure(descriptor, diff_id)
            for descriptor, diff_id in zip(self.manifest.layers, self.config.diff_ids, strict=True)
        ]

    @property
    def size(self) -> int:
        """Bytes of the blobs, compressed as they are."""
        return self.manifest.config.size + sum(layer.size for layer in self.manifest.layers)

    def __repr__(self) -> str:
        return f"<Image {self.reference or self.id}>"


class Images:
    """The images of one store; the store's own methods lead here."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, name: str | Reference, platform: Platform | None = None) -> Image:
        """See Store.image."""
        wanted = platform or Platform.host()
        reference: Reference | None = None
        invalid: ImageError | None = None
        if isinstance(name, Reference):
            reference = name
        else:
            try:
                reference = Reference.parse(name)
            except ImageError as error:
                invalid = error
        if reference is not None:
            descriptor = self._store.tags.get(reference)
            if descriptor is not None:
                return self._load(reference, descriptor, wanted)
        found = self._by_id(str(name), wanted)
        if found is not None:
            return found
        if invalid is not None and not _is_id(str(name)):
            raise invalid
        raise NotFound(
            f"find image {reference.familiar if reference else name}: it is not in the store",
            hint="`pycontain images` lists what is there; `pycontain pull` fetches",
        )

    def all(self, problems: list[PycontainError] | None = None) -> list[Image]:
        """See Store.images."""
        found = []
        for reference, descriptor in self._descriptors():
            try:
                found.append(self._load(reference, descriptor, Platform.host(), fallback=True))
            except PycontainError as error:
                if problems is None:
                    raise
                problems.append(error)
        return found

    def add(self, config: ImageConfig, layers: Sequence[Descriptor], reference: Reference | None) -> Image:
        """See Store.add_image. Layers under Docker's names get OCI's: the bytes are the same."""
        if len(layers) != len(config.diff_ids):
            raise ImageError(f"add image: {len(layers)} layers, but {len(config.diff_ids)} diff ids")
        blobs = self._store.blobs
        data = config.to_bytes()
        parts = tuple(_plain(layer) for layer in layers)
        manifest = Manifest(Descriptor(media_types.OCI_CONFIG, blobs.write_bytes(data), len(data)), parts)
        raw = manifest.to_bytes()
        descriptor = Descriptor(media_types.OCI_MANIFEST, blobs.write_bytes(raw), len(raw))
        self._store.tags.set(reference, descriptor)
        return Image(self._store, reference, descriptor, manifest, config)

    def remove(self, name: str | Reference, *, force: bool) -> list[tuple[str, str]]:
        """See Store.remove."""
        from pycontain.store import gc  # not needed to start a container

        tags = self._store.tags
        with self._store.lock():
            reference = self._reference(name)
            target = tags.get(reference) if reference is not None else None
            image_id = ""
            if reference is not None and target is not None:
                names = [reference]
                digest = target.digest
            else:
                image = self.find(name)
                digest, image_id = image.target.digest, image.id
                names = [ref for ref, descriptor in tags.items() if descriptor.digest == digest]
                if len({ref.name for ref in names}) > 1 and not force:
                    raise Conflict(
                        f"remove image {name}: it has several names: {', '.join(x.familiar for x in names)}",
                        hint="--force removes all of them",
                    )
            others = [ref for ref, x in tags.items() if x.digest == digest and ref not in names]
            users = [] if others else self._users(digest, image_id)
            if users and not force:
                raise Conflict(
                    f"remove image {name}: container {users[0][:12]} uses it",
                    hint="remove the container, or --force",
                )
            done = [("Untagged", ref.familiar) for ref in names]
            image_id = image_id or self._id_of(digest)
            for ref in names:
                tags.delete(ref, keep=bool(users))
            if not others and not users:
                tags.drop(digest)
                gc.remove_manifest(self._store, digest)
                done.append(("Deleted", image_id))
            return done

    def _reference(self, name: str | Reference) -> Reference | None:
        if isinstance(name, Reference):
            return name
        try:
            return Reference.parse(name)
        except ImageError:
            return None

    def _descriptors(self) -> Iterator[tuple[Reference | None, Descriptor]]:
        tags = self._store.tags
        yield from tags.items()
        for descriptor in tags.nameless():
            yield None, descriptor

    def _load(
        self, reference: Reference | None, target: Descriptor, wanted: Platform, *, fallback: bool = False
    ) -> Image:
        """Read manifest and config. fallback: of an index any manifest will do that is here."""
        blobs = self._store.blobs
        what = reference.familiar if reference else target.digest
        descriptor = target
        # Not hashed again: a container's start waits for this, and all was verified on its way in.
        manifest = parse_manifest(blobs.read(target.digest, verify=False), target.media_type)
        for _ in range(4):
            if isinstance(manifest, Manifest):
                break
            descriptor = self._choose(manifest, wanted, what, fallback)
            manifest = parse_manifest(blobs.read(descriptor.digest, verify=False), descriptor.media_type)
        if isinstance(manifest, Index):
            raise ImageError(f"read image {what}: indexes within indexes, more than four deep")
        if not manifest.is_image:
            kind = manifest.artifact_type or manifest.config.media_type
            raise ImageError(f"read image {what}: it is no image that could run, but {kind[:200]!r}")
        config = ImageConfig.from_bytes(blobs.read(manifest.config.digest, verify=False))
        if len(config.diff_ids) != len(manifest.layers):
            raise ImageError(
                f"read image {what}: {len(manifest.layers)} layers, but {len(config.diff_ids)} diff ids"
            )
        return Image(self._store, reference, descriptor, manifest, config, target)

    def _choose(self, index: Index, wanted: Platform, what: str, fallback: bool) -> Descriptor:
        here = [x for x in index.manifests if os.path.exists(self._store.blobs.path(x.digest))]
        try:
            chosen = index.select(wanted, what)
            if chosen in here or not fallback:
                return chosen
        except ImageError:
            if not fallback or not here:
                raise
        return here[0] if here else chosen

    def _by_id(self, name: str, wanted: Platform) -> Image | None:
        """The image whose config or manifest has this digest, or one that begins so. ImageError if two do."""
        if not _is_id(name):
            return None
        text = name.removeprefix("sha256:")
        found: dict[str, Image] = {}
        for reference, descriptor in self._descriptors():
            try:
                image = self._load(reference, descriptor, wanted, fallback=True)
            except PycontainError:
                continue  # a damaged image does not hide the others; listing tells of it
            for digest in (image.id, image.descriptor.digest, image.target.digest):
                if digest.removeprefix("sha256:").startswith(text):
                    found.setdefault(image.id, image)
        if len(found) > 1:
            raise ImageError(f"find image {name}: {len(found)} images have ids that begin so")
        return next(iter(found.values()), None)

    def _id_of(self, digest: str) -> str:
        """The config's digest, or where that cannot be read the manifest's."""
        try:
            manifest = parse_manifest(self._store.blobs.read(digest))
            return manifest.config.digest if isinstance(manifest, Manifest) else digest
        except PycontainError:
            return digest

    def _users(self, digest: str, image_id: str) -> list[str]:
        """Ids of the containers that were made from this image."""
        from pycontain.store.gc import containers, mentioned  # as above

        wanted = {digest, image_id or self._id_of(digest)}
        return [name for name, path in containers(self._store) if wanted & mentioned(path)]


def _is_id(name: str) -> bool:
    text = name.removeprefix("sha256:")
    return 2 <= len(text) <= 64 and _ID_HEX.issuperset(text)


def _plain(layer: Descriptor) -> Descriptor:
    """A layer's descriptor as it goes into a manifest that we make."""
    media_types.compression_of(layer.media_type)
    return Descriptor(
        media_types.to_oci(layer.media_type), layer.digest, layer.size, layer.annotations, None, layer.urls
    )
