from __future__ import annotations

import os

import pytest

from pycontain.errors import DigestMismatch, ImageError, NotFound, StoreError
from pycontain.image import digest_bytes
from pycontain.store import Store

DATA = b"some content"
DIGEST = digest_bytes(DATA)


def test_write_and_read(store: Store) -> None:
    assert not store.blobs.has(DIGEST)
    assert store.blobs.write_bytes(DATA) == DIGEST
    assert store.blobs.has(DIGEST)
    assert store.blobs.has(DIGEST, len(DATA))
    assert not store.blobs.has(DIGEST, 5)
    assert store.blobs.size(DIGEST) == len(DATA)
    assert store.blobs.read(DIGEST) == DATA
    assert b"".join(store.blobs.chunks(DIGEST)) == DATA
    assert list(store.blobs.list()) == [DIGEST]
    assert store.blobs.path(DIGEST) == f"{store.root}/blobs/sha256/{DIGEST[7:]}"
    assert os.stat(store.blobs.path(DIGEST)).st_mode & 0o777 == 0o644


def test_an_empty_blob(store: Store) -> None:
    digest = store.blobs.write_bytes(b"")
    assert store.blobs.read(digest) == b""


def test_writing_in_pieces(store: Store) -> None:
    with store.blobs.writer() as writer:
        writer.write(DATA[:5])
        writer.write(DATA[5:])
        assert (writer.digest, writer.size) == (DIGEST, len(DATA))
        assert not store.blobs.has(DIGEST)
        assert writer.commit(DIGEST, len(DATA)) == (DIGEST, len(DATA))
    assert store.blobs.read(DIGEST) == DATA


def test_sha512(store: Store) -> None:
    digest = digest_bytes(DATA, "sha512")
    with store.blobs.writer("sha512") as writer:
        writer.write(DATA)
        writer.commit(digest)
    assert store.blobs.read(digest) == DATA
    assert list(store.blobs.list()) == [digest]


def test_what_is_not_as_promised_does_not_appear(store: Store) -> None:
    for digest, size, message in ((digest_bytes(b"x"), None, "digest is"), (DIGEST, 3, "3 were promised")):
        with store.blobs.writer() as writer, pytest.raises(DigestMismatch, match=message):
            writer.write(DATA)
            writer.commit(digest, size)
    with store.blobs.writer() as writer:
        writer.write(DATA)
    assert list(store.blobs.list()) == []
    assert os.listdir(f"{store.root}/blobs/sha256") == []


def test_reading_what_is_missing_large_or_damaged(store: Store) -> None:
    with pytest.raises(NotFound, match="not in the store"):
        store.blobs.read(DIGEST)
    with pytest.raises(NotFound):
        store.blobs.size(DIGEST)
    with pytest.raises(NotFound):
        next(store.blobs.chunks(DIGEST))
    store.blobs.write_bytes(DATA)
    with pytest.raises(StoreError, match="limit of 5"):
        store.blobs.read(DIGEST, 5)
    with open(store.blobs.path(DIGEST), "r+b") as file:
        file.write(b"S")
    with pytest.raises(DigestMismatch, match="damaged"):
        store.blobs.read(DIGEST)
    assert store.blobs.read(DIGEST, verify=False) == b"S" + DATA[1:]


def test_a_blob_cut_off_by_a_crash_is_written_again(store: Store) -> None:
    store.blobs.write_bytes(DATA)
    os.truncate(store.blobs.path(DIGEST), 3)
    store.blobs.write_bytes(DATA)
    assert store.blobs.read(DIGEST) == DATA


def test_a_digest_is_never_a_path(store: Store) -> None:
    for digest in ("sha256:../../../etc/passwd", "../x", "sha256:" + "/" * 64):
        with pytest.raises(ImageError):
            store.blobs.path(digest)
