"""Pull: an image from a registry into the store, in one pass over its bytes."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from pycontain.client import progress as status
from pycontain.client.progress import Progress
from pycontain.client.repository import Fetched, Repository
from pycontain.client.transport import Transport
from pycontain.errors import ImageError, NotFound, RegistryError
from pycontain.image.config import ImageConfig
from pycontain.image.descriptor import Descriptor
from pycontain.image.manifest import Index, Manifest, parse_manifest
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference

if TYPE_CHECKING:
    from pycontain.store import Image, Store

PARALLEL = 4
_MAX_NESTING = 4  # indexes in indexes


class Pulled(NamedTuple):
    """An image, the digest that its name had at the registry, and whether anything was new."""

    image: Image
    digest: str
    fresh: bool


def pull(
    store: Store,
    ref: Reference,
    platform: Platform | None,
    progress: Progress,
    all_tags: bool = False,
    *,
    transport: Transport | None = None,
) -> Image:
    """Pull an image, or all tags of its repository; returns the (last) image.

    platform chooses from an index; None means this machine's, and accepts an image for another one if it
    is the only one there. What the store has already is not loaded again. Nothing is tagged before all of
    it is there and checked. Raises RegistryError, DigestMismatch, ImageError, LayerError.
    """
    image: Image | None = None
    for pulled in pull_all(store, ref, platform, progress, all_tags, transport=transport):
        image = pulled.image
    if image is None:
        raise RegistryError(f"pull {ref.familiar_name}: the repository has no tags")
    return image


def pull_all(
    store: Store,
    ref: Reference,
    platform: Platform | None,
    progress: Progress,
    all_tags: bool = False,
    *,
    transport: Transport | None = None,
) -> Iterator[Pulled]:
    """As pull, with what is to be told about each tag; an image is there when its Pulled comes."""
    owned = transport is None
    transport = transport or Transport(ref.registry, ref.repository)
    try:
        repository = Repository(transport, ref.path)
        refs = [ref.with_tag(tag) for tag in repository.tags()] if all_tags else [ref]
        for each in refs:
            yield _Pull(store, repository, each, platform, progress).run()
    finally:
        if owned:
            transport.close()


class _Pull:
    """One image on its way."""

    def __init__(
        self,
        store: Store,
        repository: Repository,
        ref: Reference,
        platform: Platform | None,
        progress: Progress,
    ) -> None:
        self._store = store
        self._repository = repository
        self._ref = ref
        self._platform = platform
        self._progress = progress
        self._stop = threading.Event()

    def run(self) -> Pulled:
        current = self._current()
        if current:
            return current
        with self._store.lease():
            return self._fetch()

    def _current(self) -> Pulled | None:
        """The image if the store has it and the registry's tag has not moved: one HEAD."""
        try:
            image = self._store.image(self._ref, self._platform)
            layers = _layers(image.manifest, image.config)
        except (NotFound, ImageError):
            return None
        if self._platform is not None and not _platform_of(image.config).matches(self._platform):
            return None
        if not all(self._has(*layer) for layer in layers):
            return None
        digest = self._repository.manifest_digest(self._ref.target)
        return Pulled(image, digest, False) if digest == image.target.digest else None

    def _fetch(self) -> Pulled:
        """The manifest, through indexes if need be, then everything that it names."""
        top = fetched = self._repository.manifest(self._ref.target)
        documents = [fetched]
        manifest = parse_manifest(fetched.data, fetched.media_type or None)
        target = Descriptor(manifest.media_type, fetched.digest, len(fetched.data))
        while isinstance(manifest, Index):
            if len(documents) > _MAX_NESTING:
                raise ImageError(
                    f"pull {self._ref.familiar}: more than {_MAX_NESTING} indexes inside each other"
                )
            fetched, manifest = self._choose(manifest)
            documents.append(fetched)
        if not manifest.is_image:
            kind = manifest.artifact_type or manifest.config.media_type
            raise ImageError(
                f"pull {self._ref.familiar}: it is an artifact of type {kind[:100]!r}, not an image"
            )
        before = self._store.tags.get(self._ref)
        config = self._bring(manifest)
        for document in reversed(documents):
            self._write(document.digest, document.data)
        self._store.tags.set(self._ref, target)
        image = self._store.image(self._ref, self._platform or _platform_of(config))
        return Pulled(image, top.digest, before is None or before.digest != target.digest)

    def _choose(self, index: Index) -> tuple[Fetched, Manifest | Index]:
        chosen = index.select(self._platform or Platform.host(), self._ref.familiar)
        fetched = self._repository.manifest(chosen.digest)
        if len(fetched.data) != chosen.size:
            raise ImageError(
                f"pull {self._ref.familiar}: the manifest {chosen.digest} has {len(fetched.data)} bytes, "
                f"the index says {chosen.size}"
            )
        return fetched, parse_manifest(fetched.data, chosen.media_type)

    def _bring(self, manifest: Manifest) -> ImageConfig:
        """Load config and layers, as far as they are missing; returns the config."""
        blobs = self._store.blobs
        if blobs.has(manifest.config.digest, manifest.config.size):
            data = blobs.read(manifest.config.digest)
        else:
            data = self._repository.read_blob(manifest.config)
        config = ImageConfig.from_bytes(data)
        if self._platform is not None and not _platform_of(config).matches(self._platform):
            raise ImageError(
                f"pull {self._ref.familiar}: it is for {_platform_of(config)}, not for {self._platform}"
            )
        layers = _layers(manifest, config)
        for layer, _ in layers:
            self._progress.layer(layer.digest, status.PULLING, 0, layer.size)
        self._load(layers)
        self._write(manifest.config.digest, data)
        return config

    def _write(self, digest: str, data: bytes) -> None:
        with self._store.blobs.writer(digest.partition(":")[0]) as writer:
            writer.write(data)
            writer.commit(digest, len(data))

    def _load(self, layers: Sequence[tuple[Descriptor, str]]) -> None:
        """Load the layers, several at a time; the first failure stops all."""
        unique = {(layer.digest, diff_id): (layer, diff_id) for layer, diff_id in layers}.values()
        pool = ThreadPoolExecutor(PARALLEL, "pull")
        futures: list[Future[None]] = []
        try:
            futures = [pool.submit(self._layer, layer, diff_id) for layer, diff_id in unique]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            # Also for Ctrl-C: threads that wait for bytes are woken, those that work look at _stop.
            self._stop.set()
            for future in futures:
                future.cancel()
            if any(not future.done() for future in futures):
                self._repository.transport.close()
            raise
        finally:
            pool.shutdown(wait=True)

    def _has(self, layer: Descriptor, diff_id: str) -> bool:
        if not self._store.blobs.has(layer.digest, layer.size):
            return False
        try:
            self._store.layers.get(diff_id)
        except NotFound:
            return False
        return True

    def _layer(self, layer: Descriptor, diff_id: str) -> None:
        if self._stop.is_set():
            return
        show = self._progress.layer
        if self._has(layer, diff_id):
            show(layer.digest, status.EXISTS, layer.size, layer.size)
            return
        if self._store.blobs.has(layer.digest, layer.size):
            show(layer.digest, status.EXTRACTING, 0, layer.size)
            self._store.layers.ensure(layer, diff_id)
        else:
            with closing(self._blocks(layer)) as blocks:  # a failure ends the download at once
                self._store.layers.ingest(blocks, layer.media_type, layer, diff_id)
        show(layer.digest, status.PULLED, layer.size, layer.size)

    def _blocks(self, layer: Descriptor) -> Generator[bytes, None, None]:
        """The layer's bytes as they come; what consumes them unpacks at the same time."""
        done = 0
        show = self._progress.layer
        show(layer.digest, status.DOWNLOADING, 0, layer.size)

        def retrying() -> None:
            show(layer.digest, status.RETRYING, done, layer.size)

        with closing(self._repository.blob(layer, retrying)) as blocks:
            for block in blocks:
                if self._stop.is_set():
                    raise RegistryError(f"pull blob {layer.digest}: stopped, because another layer failed")
                yield block
                done += len(block)
                show(layer.digest, status.DOWNLOADING, done, layer.size)
        show(layer.digest, status.EXTRACTING, done, layer.size)


def _layers(manifest: Manifest, config: ImageConfig) -> list[tuple[Descriptor, str]]:
    """Each layer with its diff_id. ImageError if manifest and config do not go together."""
    if len(manifest.layers) != len(config.diff_ids):
        raise ImageError(
            f"read image {manifest.config.digest}: {len(manifest.layers)} layers in the manifest, "
            f"{len(config.diff_ids)} in the config"
        )
    return list(zip(manifest.layers, config.diff_ids, strict=True))


def _platform_of(config: ImageConfig) -> Platform:
    return Platform(config.os, config.architecture, config.variant)
