"""Platforms: "os/architecture[/variant]" with Go's names (image-spec, image-index.md, "platform")."""

# Annotations are evaluated here: NamedTuple would compile each one again from a string.

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from pycontain.errors import ImageError
from pycontain.image import document

_ARCHITECTURES = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "i386": ("386", None),
    "i486": ("386", None),
    "i586": ("386", None),
    "i686": ("386", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv8l": ("arm", "v8"),
    "loongarch64": ("loong64", None),
}
"""uname's and Debian's names -> Go's architecture and variant."""

_DEFAULT_VARIANTS = {("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")}
"""Variants that say nothing more than the architecture alone."""


class Platform(NamedTuple):
    """What an image runs on. variant: "v7" of arm, "v3" of amd64; None where the architecture says it all."""

    os: str
    architecture: str
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """ "linux/arm/v7", "linux/amd64", or one of the two parts alone. ImageError if it is none of that."""
        parts = text.strip().lower().split("/")
        if not 1 <= len(parts) <= 3 or not all(
            part and part.isascii() and part.replace("-", "").replace("_", "").replace(".", "").isalnum()
            for part in parts
        ):
            raise ImageError(
                f"parse platform {text[:80]!r}: not os/architecture", hint="for example linux/amd64"
            )
        if len(parts) == 1:
            if parts[0] in ("linux", "windows", "darwin", "freebsd", "wasi"):
                return cls(parts[0], cls.host().architecture)._normal()
            parts.insert(0, "linux")
        return cls(parts[0], parts[1], parts[2] if len(parts) == 3 else None)._normal()

    @classmethod
    def host(cls) -> Self:
        """The platform of this machine."""
        return cls("linux", os.uname().machine.lower())._normal()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From a descriptor's "platform"; the values are kept as they are written."""
        what = "platform"
        return cls(
            document.string(value, "os", what),
            document.string(value, "architecture", what),
            document.string(value, "variant", what) or None,
            document.string(value, "os.version", what) or None,
            document.strings(value, "os.features", what) or (),
        )

    def to_json(self) -> dict[str, Any]:
        """As in a descriptor's "platform"."""
        value: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            value["os.version"] = self.os_version
        if self.os_features:
            value["os.features"] = list(self.os_features)
        if self.variant:
            value["variant"] = self.variant
        return value

    def rank(self, wanted: Self) -> int | None:
        """How well content for this platform serves `wanted`: 0 is best, None is not at all.

        An arm of version 7 also runs what is for 6 and 5; amd64/v3 also v2 and v1.
        """
        have, want = self._normal(), wanted._normal()
        if (have.os, have.architecture) != (want.os, want.architecture):
            return None
        if have.variant == want.variant:
            return 0
        have_level, want_level = have._level(), want._level()
        if have_level is None or want_level is None or have_level > want_level:
            return None
        return want_level - have_level

    def matches(self, wanted: Self) -> bool:
        """Whether content for this platform runs on `wanted`."""
        return self.rank(wanted) is not None

    def _level(self) -> int | None:
        if self.variant is None:
            return {"arm": 7, "arm64": 8, "amd64": 1}.get(self.architecture)
        number = self.variant.removeprefix("v")
        return int(number) if number.isascii() and number.isdigit() and len(number) < 4 else None

    def _normal(self) -> Self:
        architecture, variant = _ARCHITECTURES.get(self.architecture, (self.architecture, None))
        variant = self.variant or variant
        if (architecture, variant) in _DEFAULT_VARIANTS:
            variant = None
        return type(self)(self.os, architecture, variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def best(platforms: Iterable[Platform | None], wanted: Platform) -> int | None:
    """The position of the platform that serves `wanted` best, None if none does. The first of equals wins."""
    found: tuple[int, int] | None = None
    for position, platform in enumerate(platforms):
        rank = platform.rank(wanted) if platform is not None else None
        if rank is not None and (found is None or rank < found[0]):
            found = (rank, position)
    return found[1] if found else None
