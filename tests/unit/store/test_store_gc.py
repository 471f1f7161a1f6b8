from __future__ import annotations

import os
from pathlib import Path

import pytest
from store_world import disk, put_image, tar_of

from pycontain.errors import PycontainError
from pycontain.image import Reference, media_types
from pycontain.store import Store
from pycontain.store.gc import collect


def test_what_is_referred_to_stays(store: Store) -> None:
    put_image(store, "a", b"1", b"2")
    put_image(store, None, b"3")
    before = disk(store)
    assert collect(store, grace=0) == ([], [], 0)
    assert disk(store) == before


def test_what_nothing_refers_to_goes(store: Store) -> None:
    image = put_image(store, "a", b"1")
    before = disk(store)
    loose = put_image(store, None, b"2")
    store.tags.drop(loose.descriptor.digest)
    assert collect(store).blobs == [], "young objects stay"
    removed = collect(store, grace=0)
    assert set(removed.blobs) == {loose.descriptor.digest, loose.id, loose.manifest.layers[0].digest}
    assert removed.layers == list(loose.config.diff_ids)
    assert removed.bytes > 0
    assert disk(store) == before
    assert store.image("a").id == image.id


def test_containers_and_the_build_cache_keep_what_they_mention(store: Store) -> None:
    used = put_image(store, None, b"1")
    cached = put_image(store, None, b"2")
    for image in (used, cached):
        store.tags.drop(image.descriptor.digest)
    container = Path(store.root, "containers", "c" * 64)
    container.mkdir()
    (container / "config.json").write_text(f'{{"layers":["{used.config.diff_ids[0]}"],"Image":"{used.id}"}}')
    cache = Path(store.root, "cache", "ab")
    cache.mkdir()
    (cache / "record").write_bytes(b"\x81\xa4" + cached.descriptor.digest.encode())
    collect(store, grace=0)
    assert store.layers.has(used.config.diff_ids[0])
    assert store.blobs.has(used.id)
    assert store.blobs.has(cached.manifest.layers[0].digest)
    collect(store, grace=0, cache=False)
    assert not store.blobs.has(cached.manifest.layers[0].digest)


def test_nothing_goes_while_somebody_works(store: Store) -> None:
    other = Store.open(store.root)
    with other.lease():
        descriptor, _ = other.layers.ingest([tar_of([("f", b"x")])], media_types.OCI_LAYER)
        assert collect(store, grace=0).blobs == []
        put_image(store, "a", b"1")
        assert store.remove("a")[-1][0] == "Deleted"
        assert other.blobs.has(descriptor.digest)
    assert len(collect(store, grace=0).blobs) == 4


def test_an_image_that_cannot_be_read_stops_the_collection(store: Store) -> None:
    image = put_image(store, "a", b"1")
    Path(store.blobs.path(image.descriptor.digest)).write_bytes(b"rubbish")
    with pytest.raises(PycontainError):
        collect(store, grace=0)
    assert store.blobs.has(image.manifest.layers[0].digest)


def test_tmp(store: Store) -> None:
    with store.tmp_dir() as held:
        Path(held, "file").touch()
        dead = Path(store.tmp, "layer-0123.held")
        dead.mkdir()
        (dead / "file").touch()
        Path(store.tmp, "not ours").mkdir()
        assert Store.open(store.root).sweep() == 1
        assert sorted(os.listdir(store.tmp)) == sorted([os.path.basename(held), "not ours"])
    assert os.listdir(store.tmp) == ["not ours"]


def test_a_new_tag_for_what_is_being_removed_is_refused(store: Store) -> None:
    image = put_image(store, "a", b"1")
    store.remove("a")
    with pytest.raises(PycontainError, match="not in the store"):
        store.tags.set(Reference.parse("b"), image.descriptor)
