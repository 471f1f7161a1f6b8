"""Push: an image from the store to a registry, which gets only what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pycontain.client import progress as status
from pycontain.client.progress import Progress
from pycontain.client.repository import Repository
from pycontain.client.transport import Transport
from pycontain.client.upload import Upload
from pycontain.errors import ImageError, NotFound
from pycontain.image import media_types
from pycontain.image.descriptor import Descriptor
from pycontain.image.manifest import Index, Manifest, parse_manifest
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference

if TYPE_CHECKING:
    from pycontain.store import Store

PARALLEL = 4
_MAX_NESTING = 4


def push(
    store: Store, ref: Reference, progress: Progress, *, transport: Transport | None = None
) -> Descriptor:
    """Push what ref names in the store to the registry that ref names; returns what is there then.

    A blob that the registry has is not sent, one that it has in another repository is mounted. The bytes
    of the manifest go as they are, so the digest is the same on both sides. Of an unchanged image only
    HEAD requests are made. Raises NotFound, RegistryError, DigestMismatch.
    """
    descriptor = store.tags.get(ref)
    if descriptor is None:
        raise NotFound(
            f"push {ref.familiar}: there is no such image", hint="`pycontain images` lists what is there"
        )
    owned = transport is None
    transport = transport or Transport(ref.registry, ref.repository)
    try:
        repository = Repository(transport, ref.path, push=True)
        return _Push(store, repository, ref, progress).run(descriptor, ref.target)
    finally:
        if owned:
            transport.close()


class _Push:
    """One image on its way."""

    def __init__(self, store: Store, repository: Repository, ref: Reference, progress: Progress) -> None:
        self._store = store
        self._repository = repository
        self._ref = ref
        self._progress = progress
        self._origins: dict[str, str] | None = None

    def run(self, descriptor: Descriptor, target: str, depth: int = 0) -> Descriptor:
        """Push a manifest with all it names, children and blobs first; returns what was pushed.

        Of an index, whose other platforms may never have been pulled, only our platform's manifest goes,
        unless the registry has the others already.
        """
        data = self._store.blobs.read(descriptor.digest)
        manifest = parse_manifest(data, descriptor.media_type)
        if isinstance(manifest, Manifest):
            self._blobs(manifest)
        else:
            if depth == _MAX_NESTING:
                raise ImageError(f"push {self._ref.familiar}: too many indexes inside each other")
            here = [child for child in manifest.manifests if self._is_complete(child)]
            others = [child for child in manifest.manifests if child not in here]
            if not all(self._repository.manifest_digest(child.digest) for child in others):
                return self.run(self._one(manifest, here), target, depth + 1)
            for child in here:
                self.run(child, child.digest, depth + 1)
        if self._repository.manifest_digest(target) != descriptor.digest:
            self._repository.put_manifest(target, data, manifest.media_type)
        return descriptor

    def _one(self, index: Index, here: list[Descriptor]) -> Descriptor:
        """The manifest to push in place of an incomplete index: our platform's, else the only one."""
        try:
            chosen = index.select(Platform.host())
            if chosen in here:
                return chosen
        except ImageError:
            pass  # nothing for our platform in it
        if len(here) == 1:
            return here[0]
        raise NotFound(
            f"push {self._ref.familiar}: none of the index's platforms can be pushed in its place",
            hint="pull the image with --platform",
        )

    def _is_complete(self, child: Descriptor) -> bool:
        """Whether everything that a manifest of an index leads to is in the store."""
        blobs = self._store.blobs
        if not blobs.has(child.digest):
            return False
        manifest = parse_manifest(blobs.read(child.digest), child.media_type)
        if isinstance(manifest, Index):
            return all(self._is_complete(grandchild) for grandchild in manifest.manifests)
        return all(blobs.has(x.digest) or _is_foreign(x) for x in (manifest.config, *manifest.layers))

    def _blobs(self, manifest: Manifest) -> None:
        layers = list({layer.digest: layer for layer in manifest.layers}.values())
        for layer in layers:
            self._progress.layer(layer.digest, status.PREPARING, 0, layer.size)
        pool = ThreadPoolExecutor(PARALLEL, "push")
        try:
            futures = [pool.submit(self._layer, layer) for layer in layers]
            # The config goes in this thread, and is shown to nobody, as with docker.
            self._blob(manifest.config, lambda *_: None)
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self._repository.transport.close()  # wakes the threads that send
            raise
        finally:
            pool.shutdown(wait=True)

    def _layer(self, layer: Descriptor) -> None:
        def show(word: str, done: int) -> None:
            self._progress.layer(layer.digest, word, done, layer.size)

        if _is_foreign(layer):
            show(status.SKIPPED, 0)
            return
        self._blob(layer, show)

    def _blob(self, blob: Descriptor, show: Callable[[str, int], None]) -> None:
        if self._repository.has_blob(blob.digest):
            show(status.THERE, blob.size)
            return
        if not self._store.blobs.has(blob.digest):
            raise NotFound(
                f"push {self._ref.familiar}: the blob {blob.digest} is not in the store", hint="pull it again"
            )
        origin = self._origin(blob.digest)
        upload = Upload(
            self._repository,
            blob.digest,
            self._store.blobs.path(blob.digest),
            self._store.blobs.size(blob.digest),
            lambda done: show(status.PUSHING, done),
        )
        if upload.run(origin):
            show(f"{status.MOUNTED} {origin}", blob.size)
        else:
            show(status.PUSHED, blob.size)

    def _origin(self, digest: str) -> str | None:
        """Another repository of the same registry that should have the blob, for we have a tag of it."""
        if self._origins is None:
            self._origins = dict(_origins(self._store, self._ref))
        return self._origins.get(digest)


def _origins(store: Store, target: Reference) -> Iterator[tuple[str, str]]:
    """(digest, repository) of the blobs of images here that are named after the same registry."""
    for ref, descriptor in store.tags.items():
        if ref.registry != target.registry or ref.repository == target.repository:
            continue
        if descriptor.media_type not in media_types.MANIFESTS or not store.blobs.has(descriptor.digest):
            continue
        manifest = parse_manifest(store.blobs.read(descriptor.digest), descriptor.media_type)
        if isinstance(manifest, Manifest):
            for blob in (manifest.config, *manifest.layers):
                yield blob.digest, ref.repository


def _is_foreign(layer: Descriptor) -> bool:
    """Whether a layer's licence forbids to push it (image-spec, "Non-Distributable Layers")."""
    return bool(layer.urls) and ("nondistributable" in layer.media_type or ".foreign." in layer.media_type)
