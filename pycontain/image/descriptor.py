"""Descriptors: typed, sized pointers to content (image-spec descriptor.md)."""

# Annotations are evaluated here: NamedTuple would compile each one again from a string.

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pycontain.errors import ImageError
from pycontain.image import document
from pycontain.image.digest import parse_digest
from pycontain.image.platform import Platform


class Descriptor(NamedTuple):
    """What some content is, its digest, and its size in bytes (as stored, that is compressed)."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] | None = None
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    artifact_type: str | None = None

    @classmethod
    def from_json(cls, value: object, what: str = "descriptor") -> Self:
        """From the parsed JSON; ImageError where it is not a descriptor."""
        if not isinstance(value, dict):
            raise ImageError(f"read {what}: a descriptor is not an object")
        media_type = document.string(value, "mediaType", what)
        if not media_type:
            raise ImageError(f"read {what}: a descriptor has no mediaType")
        if "size" not in value:
            raise ImageError(f"read {what}: a descriptor has no size")
        size = document.integer(value, "size", what)
        if size < 0:
            raise ImageError(f"read {what}: a descriptor's size is {size}")
        platform = document.table(value, "platform", what)
        return cls(
            media_type,
            parse_digest(value.get("digest")),
            size,
            document.string_map(value, "annotations", what) or None,
            Platform.from_json(platform) if platform else None,
            document.strings(value, "urls", what) or (),
            document.string(value, "artifactType", what) or None,
        )

    def to_json(self) -> dict[str, Any]:
        """In the order of the specification's fields; absent ones are left out."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.urls:
            value["urls"] = list(self.urls)
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.platform:
            value["platform"] = self.platform.to_json()
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        return value

    def annotate(self, name: str, text: str) -> Self:
        """The same with one annotation more."""
        return self._replace(annotations={**(self.annotations or {}), name: text})
