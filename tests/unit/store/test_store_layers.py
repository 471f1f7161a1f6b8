from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from store_world import compress, describe, disk, pieces, tar_of

from pycontain.errors import DigestMismatch, ImageError, LayerError, NotFound, StoreError
from pycontain.image import digest_bytes, media_types
from pycontain.store import Store
from pycontain.unionfs.tarwriter import TarWriter

FILES = [("a", b"content of a"), ("b/c", b"x" * 70_000), ("empty", b""), ("zeros", bytes(9 << 20) + b"end")]
TAR = tar_of(FILES)
METHODS = ["none", "gzip", "zstd"]


@pytest.mark.parametrize("method", METHODS)
def test_ingest(store: Store, method: str) -> None:
    data = compress(TAR, method)
    expected = describe(data, method)
    descriptor, layer = store.layers.ingest(
        pieces(data, 5000), expected.media_type, expected, digest_bytes(TAR)
    )
    assert descriptor == expected
    assert layer.diff_id == digest_bytes(TAR)
    assert store.blobs.read(descriptor.digest, 1 << 30) == data
    assert Path(layer.tar_path).read_bytes() == TAR
    assert layer.size == len(TAR)
    assert [(entry.path.decode(), entry.size) for entry in layer.entries()] == [(n, len(c)) for n, c in FILES]
    assert store.layers.list() == [layer.diff_id]
    assert store.layers.has(layer.diff_id)
    assert os.listdir(store.tmp) == []
    again = store.layers.ingest(pieces(data), expected.media_type)
    assert again[0] == descriptor
    assert store.layers.get(layer.diff_id).path == layer.path


def test_materialise(store: Store) -> None:
    _, layer = store.layers.ingest([TAR], media_types.OCI_LAYER)
    fresh = store.layers.get(layer.diff_id)
    for number, (_, content) in enumerate(FILES):
        path = fresh.materialise(number)
        assert Path(path).read_bytes() == content
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o444
        assert fresh.materialise(number) == path
        inode = os.stat(path).st_ino
        assert layer.materialise(number) == path
        assert os.stat(path).st_ino == inode
    assert os.stat(fresh.materialise(3)).st_blocks * 512 < 1 << 20, "holes stay holes"
    assert fresh.read(0) == FILES[0][1]
    with pytest.raises(LayerError, match="over 5"):
        fresh.read(0, 5)
    for number in (-1, 4):
        with pytest.raises(LayerError, match="no content"):
            fresh.materialise(number)


def test_a_file_cut_off_by_a_crash_is_made_again(store: Store) -> None:
    _, layer = store.layers.ingest([TAR], media_types.OCI_LAYER)
    path = layer.materialise(1)
    os.chmod(path, 0o644)
    os.truncate(path, 5)
    assert Path(layer.materialise(1)).read_bytes() == FILES[1][1]


def test_a_damaged_tar_is_noticed(store: Store) -> None:
    _, layer = store.layers.ingest([compress(TAR, "gzip")], media_types.OCI_LAYER_GZIP)
    os.truncate(layer.tar_path, 2000)
    with pytest.raises(LayerError, match="damaged"):
        layer.materialise(1)
    with pytest.raises(LayerError, match="damaged"):
        layer.materialise(3)
    with pytest.raises(LayerError, match="damaged"):
        layer.read(1)


@pytest.mark.parametrize("method", METHODS)
def test_ensure(store: Store, method: str) -> None:
    data = compress(TAR, method)
    descriptor = describe(data, method)
    diff_id = digest_bytes(TAR)
    with pytest.raises(NotFound, match="not in the store"):
        store.layers.get(diff_id)
    with pytest.raises(NotFound):
        store.layers.ensure(descriptor, diff_id)
    store.blobs.write_bytes(data)
    assert store.layers.ensure(descriptor, diff_id).entries()[0].path == b"a"
    assert store.layers.ensure(descriptor, diff_id).diff_id == diff_id
    with pytest.raises(DigestMismatch, match="its tar has the digest"):
        store.layers.ensure(descriptor, "sha256:" + "0" * 64)
    assert os.listdir(store.tmp) == []


def test_ensure_notices_a_blob_that_was_damaged(store: Store) -> None:
    data = compress(TAR, "none")
    store.blobs.write_bytes(data)
    path = Path(store.blobs.path(digest_bytes(data)))
    path.write_bytes(data[:600] + b"?" + data[601:])
    with pytest.raises(DigestMismatch):
        store.layers.ensure(describe(data, "none"), digest_bytes(TAR))
    path.write_bytes(data[:600])
    with pytest.raises(DigestMismatch, match="bytes came"):
        store.layers.ensure(describe(data, "none"), digest_bytes(TAR))
    assert store.layers.list() == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [10, 100_000, 1 << 30])
def test_sink(store: Store, method: str, size: int) -> None:
    with store.layers.sink(method) as sink:
        for piece in pieces(TAR, max(size, 4000)):
            assert sink.write(piece) == len(piece)
        descriptor, layer = sink.finish()
    assert descriptor.media_type == media_types.layer_type(method)
    assert layer.diff_id == digest_bytes(TAR)
    assert store.blobs.size(descriptor.digest) == descriptor.size
    again, _ = Store.open(store.root + "2").layers.ingest(
        store.blobs.chunks(descriptor.digest), descriptor.media_type, descriptor, layer.diff_id
    )
    assert again == descriptor
    assert os.listdir(store.tmp) == []


def test_a_tar_writer_may_write_to_a_sink(store: Store) -> None:
    with store.layers.sink() as sink:
        tar = TarWriter(sink.write)
        tar.add(b"x", mode=stat.S_IFREG | 0o600, size=1, content=[b"1"])
        tar.close()
        _, layer = sink.finish()
    assert layer.read(0) == b"1"


def test_a_sink_that_is_left_leaves_nothing(store: Store) -> None:
    before = disk(store)
    with store.layers.sink() as sink:
        sink.write(TAR)
    sink.abort()
    with pytest.raises(RuntimeError), store.layers.sink() as sink:
        sink.write(TAR)
        raise RuntimeError
    with pytest.raises(LayerError), store.layers.sink() as sink:
        sink.write(b"rubbish" * 1000)
        sink.finish()
    with pytest.raises(LayerError, match="truncated"), store.layers.sink() as sink:
        sink.write(TAR[:-1024])
        sink.finish()
    with pytest.raises(ImageError, match="lz4"):
        store.layers.sink("lz4")
    assert disk(store) == before
    assert os.listdir(store.tmp) == []


def test_an_empty_layer(store: Store) -> None:
    for data in (b"", bytes(1024)):
        _, layer = store.layers.ingest([data], media_types.OCI_LAYER)
        assert layer.entries() == []


def test_the_bytes_decide_how_they_are_compressed(store: Store) -> None:
    _, layer = store.layers.ingest([compress(TAR, "zstd")], media_types.OCI_LAYER_GZIP)
    assert layer.diff_id == digest_bytes(TAR)


def test_an_uncompressed_layer_is_stored_once(store: Store) -> None:
    descriptor, layer = store.layers.ingest([TAR], media_types.OCI_LAYER)
    assert os.path.samefile(layer.tar_path, store.blobs.path(descriptor.digest))


def test_sha512_blobs(store: Store) -> None:
    for method in METHODS:
        data = compress(TAR, method)
        expected = describe(data, method)._replace(digest=digest_bytes(data, "sha512"))
        descriptor, layer = store.layers.ingest([data], expected.media_type, expected)
        assert descriptor.digest.startswith("sha512:")
        assert layer.diff_id == digest_bytes(TAR)
    with pytest.raises(StoreError, match="only sha256"):
        store.layers.get("sha512:" + "0" * 128)


def test_after_another_boot_the_tar_is_hashed_before_it_is_believed(store: Store) -> None:
    descriptor, layer = store.layers.ingest([compress(TAR, "zstd")], media_types.OCI_LAYER_ZSTD)
    kept = layer.materialise(0)
    Path(layer.path, "boot").write_bytes(b"another boot")
    assert store.layers.get(layer.diff_id).materialise(0) == kept
    assert Path(layer.path, "boot").read_bytes() == store.layers.boot_id()
    Path(layer.path, "boot").write_bytes(b"another boot")
    with open(layer.tar_path, "r+b") as file:
        file.seek(600)
        file.write(b"?")
    with pytest.raises(NotFound, match="damaged"):
        store.layers.get(layer.diff_id)
    assert store.layers.ensure(descriptor, layer.diff_id).read(0) == FILES[0][1]
    assert os.listdir(store.tmp) == []
