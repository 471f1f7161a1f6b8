from __future__ import annotations

import hashlib

import pytest

from pycontain.errors import DigestMismatch, ImageError
from pycontain.image import Verifier, digest_bytes, hasher, parse_digest
from pycontain.image.digest import is_digest


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_digests_of_both_algorithms(algorithm: str) -> None:
    digest = digest_bytes(b"content", algorithm)
    assert digest == f"{algorithm}:{hashlib.new(algorithm, b'content').hexdigest()}"
    assert parse_digest(digest) == digest
    assert is_digest(digest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        None,
        7,
        "md5:" + "a" * 32,
        "sha512:" + "a" * 64,
        "SHA256:" + "a" * 64,
        "sha256:../" + "a" * 61,
        "sha256:" + "a" * 65,
    ],
)
def test_what_is_no_digest_is_refused(text: object) -> None:
    with pytest.raises(ImageError, match="parse digest"):
        parse_digest(text)
    if isinstance(text, str):
        assert not is_digest(text)


def test_unknown_algorithm() -> None:
    with pytest.raises(ImageError, match="md5"):
        hasher("md5")


def test_a_verifier_takes_content_in_pieces() -> None:
    verifier = Verifier(digest_bytes(b"one two"))
    verifier.update(b"one ")
    with pytest.raises(DigestMismatch, match="digest is"):
        verifier.check()
    verifier.update(b"two")
    verifier.check(7)
    with pytest.raises(DigestMismatch, match="7 bytes came, 8 were promised"):
        verifier.check(8)
