"""Content digests: "algorithm:hex" (image-spec, descriptor.md, "Digests").

sha256 and sha512 are registered; both are read, sha256 is what we write.
hashlib is imported inside functions: loading OpenSSL costs 3 ms, and a start of a container hashes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontain.errors import DigestMismatch, ImageError

if TYPE_CHECKING:
    from hashlib import _Hash

LENGTHS = {"sha256": 64, "sha512": 128}
"""Algorithm -> number of hex digits."""

_HEX = frozenset("0123456789abcdef")


def parse_digest(text: object) -> str:
    """`text` itself if it is a valid digest, else ImageError. Upper-case hex is not valid."""
    if not isinstance(text, str):
        raise ImageError(f"parse digest: {str(text)[:80]!r} is not a string")
    algorithm, colon, encoded = text.partition(":")
    if not colon or algorithm not in LENGTHS:
        raise ImageError(
            f"parse digest: {text[:80]!r} has no known algorithm",
            hint="sha256:<64 hex digits> is the usual form",
        )
    if len(encoded) != LENGTHS[algorithm] or not _HEX.issuperset(encoded):
        raise ImageError(f"parse digest: {text[:160]!r} is not {LENGTHS[algorithm]} lower-case hex digits")
    return text


def is_digest(text: str) -> bool:
    """Whether `text` is a valid digest."""
    algorithm, _, encoded = text.partition(":")
    return LENGTHS.get(algorithm) == len(encoded) and _HEX.issuperset(encoded)


def hasher(algorithm: str = "sha256") -> _Hash:
    """A fresh hash object for "sha256" or "sha512"; ImageError for others."""
    import hashlib  # slow to load: see above

    if algorithm not in LENGTHS:
        raise ImageError(
            f"hash content: the algorithm {algorithm[:40]!r} is not known", hint="sha256 or sha512"
        )
    return hashlib.new(algorithm, usedforsecurity=False)


def digest_bytes(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of `data`."""
    digest = hasher(algorithm)
    digest.update(data)
    return f"{algorithm}:{digest.hexdigest()}"


class Verifier:
    """Checks content that comes in pieces against the digest it was promised to have."""

    def __init__(self, expected: str) -> None:
        self.expected = parse_digest(expected)
        self.size = 0
        self._hash = hasher(expected.partition(":")[0])

    def update(self, data: bytes) -> None:
        """Take the next piece."""
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """The digest of what has come so far."""
        return f"{self._hash.name}:{self._hash.hexdigest()}"

    def check(self, size: int | None = None, what: str = "blob") -> None:
        """Raise DigestMismatch unless digest, and size where it is given, are as promised."""
        if size is not None and self.size != size:
            raise DigestMismatch(
                f"verify {what} {self.expected}: {self.size} bytes came, {size} were promised"
            )
        if self.digest != self.expected:
            raise DigestMismatch(f"verify {what} {self.expected}: the content's digest is {self.digest}")
