"""Image manifests and indexes (image-spec manifest.md, image-index.md; Docker schema 2).

A manifest's own bytes are what its digest is of: whoever has them stores and sends those, never a
re-encoding. `to_bytes` is for manifests that we make.
"""

# Annotations are evaluated here: NamedTuple would compile each one again from a string.

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pycontain.errors import ImageError
from pycontain.image import document, media_types
from pycontain.image.descriptor import Descriptor
from pycontain.image.platform import Platform, best


class Manifest(NamedTuple):
    """One image: its config and its layers, bottom first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] | None = None
    subject: Descriptor | None = None
    artifact_type: str | None = None
    media_type: str = media_types.OCI_MANIFEST

    def to_bytes(self) -> bytes:
        """The canonical JSON: the specification's field order, no spaces."""
        value: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        value["config"] = self.config.to_json()
        value["layers"] = [layer.to_json() for layer in self.layers]
        if self.subject:
            value["subject"] = self.subject.to_json()
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return document.write(value)

    def to_oci(self) -> Self:
        """The same content under OCI names; the blobs stay as they are, the manifest's digest changes."""
        return self._replace(
            config=self.config._replace(media_type=media_types.to_oci(self.config.media_type)),
            layers=tuple(x._replace(media_type=media_types.to_oci(x.media_type)) for x in self.layers),
            media_type=media_types.OCI_MANIFEST,
        )

    @property
    def is_image(self) -> bool:
        """Whether a container can be made of it: an image's config and nothing but file system layers."""
        return self.config.media_type in media_types.CONFIGS and all(
            media_types.is_layer(layer.media_type) for layer in self.layers
        )


class Index(NamedTuple):
    """Several manifests, usually one per platform."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] | None = None
    subject: Descriptor | None = None
    artifact_type: str | None = None
    media_type: str = media_types.OCI_INDEX

    def to_bytes(self) -> bytes:
        """The canonical JSON: the specification's field order, no spaces."""
        value: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        value["manifests"] = [manifest.to_json() for manifest in self.manifests]
        if self.subject:
            value["subject"] = self.subject.to_json()
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return document.write(value)

    def select(self, platform: Platform, what: str = "image") -> Descriptor:
        """The manifest that serves `platform` best; ImageError, naming what there is, if none does.

        An index of a single manifest without a platform stands for that manifest.
        """
        candidates = [
            x for x in self.manifests if x.media_type in media_types.MANIFESTS | media_types.INDEXES
        ]
        position = best((x.platform for x in candidates), platform)
        if position is None and len(candidates) == 1 and candidates[0].platform is None:
            position = 0
        if position is None:
            there = sorted({str(x.platform) for x in candidates if x.platform and x.platform.os != "unknown"})
            raise ImageError(
                f"select {what}: no manifest for {platform}",
                hint=f"there is: {', '.join(there)[:500]}" if there else "the index names no platform",
            )
        return candidates[position]


def parse_manifest(data: bytes, media_type: str | None = None) -> Manifest | Index:
    """The manifest or index in `data`. `media_type` is what the registry or a descriptor called it, if known.

    ImageError: not JSON, over 4 MiB, schema 1, a type that is no manifest, a field that does not fit, or
    a document that two readers could take for different things (both layers and manifests, or a
    mediaType that contradicts its descriptor; image-spec GHSA-77vh-xpmg-72qh).
    """
    value = document.parse(data, "manifest")
    outer = (media_type or "").partition(";")[0].strip()
    if outer and outer not in media_types.MANIFESTS | media_types.INDEXES:
        raise _unsupported(outer)
    inner = document.string(value, "mediaType", "manifest")
    version = document.integer(value, "schemaVersion", "manifest")
    if version == 1 or inner in (media_types.DOCKER_SCHEMA1, media_types.DOCKER_SCHEMA1_SIGNED):
        raise _unsupported(media_types.DOCKER_SCHEMA1)
    if version != 2:
        raise ImageError(f"read manifest: schemaVersion is {version}, not 2")
    if inner and outer and inner != outer:
        raise ImageError(f"read manifest: it calls itself {inner[:200]!r}, its descriptor {outer[:200]!r}")
    kind = inner or outer
    if not kind:
        kind = media_types.OCI_INDEX if "manifests" in value else media_types.OCI_MANIFEST
    if kind in media_types.INDEXES:
        if "layers" in value or "config" in value:
            raise ImageError("read manifest: an index that also has layers or a config is ambiguous")
        return _index(value, kind)
    if kind in media_types.MANIFESTS:
        if "manifests" in value or "fsLayers" in value:
            raise ImageError("read manifest: an image manifest that also has manifests is ambiguous")
        return _manifest(value, kind)
    raise _unsupported(kind)


def _manifest(value: dict[str, Any], kind: str) -> Manifest:
    what = "manifest"
    if value.get("config") is None:
        raise ImageError("read manifest: it has no config")
    return Manifest(
        Descriptor.from_json(value["config"], what),
        tuple(Descriptor.from_json(x, what) for x in document.tables(value, "layers", what)),
        document.string_map(value, "annotations", what) or None,
        _subject(value, what),
        document.string(value, "artifactType", what) or None,
        kind,
    )


def _index(value: dict[str, Any], kind: str) -> Index:
    what = "image index"
    return Index(
        tuple(Descriptor.from_json(x, what) for x in document.tables(value, "manifests", what)),
        document.string_map(value, "annotations", what) or None,
        _subject(value, what),
        document.string(value, "artifactType", what) or None,
        kind,
    )


def _subject(value: dict[str, Any], what: str) -> Descriptor | None:
    subject = document.table(value, "subject", what)
    return Descriptor.from_json(subject, what) if subject is not None else None


def _unsupported(media_type: str) -> ImageError:
    if media_type in (media_types.DOCKER_SCHEMA1, media_types.DOCKER_SCHEMA1_SIGNED):
        return ImageError(
            "read manifest: Docker's schema 1 is not supported",
            hint="it was withdrawn in 2020; copy the image with a tool that converts it",
        )
    return ImageError(f"read manifest: the media type {media_type[:200]!r} is not a manifest")
