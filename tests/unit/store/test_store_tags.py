from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from store_world import put_image

from pycontain.errors import NotFound, StoreError
from pycontain.image import Descriptor, Reference, media_types
from pycontain.store import Store


def _index(store: Store) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(Path(store.root, "index.json").read_bytes())
    return value


def test_set_get_delete(store: Store) -> None:
    image = put_image(store, None, b"x")
    name = Reference.parse("hello")
    assert store.tags.get(name) is None
    store.tags.set(name, image.descriptor)
    found = store.tags.get(name)
    assert found is not None and found.digest == image.descriptor.digest
    assert [str(ref) for ref, _ in store.tags.items()] == ["docker.io/library/hello:latest"]
    assert store.tags.nameless() == []
    assert store.tags.get(Reference.parse("hello:other")) is None
    assert store.tags.delete(name)
    assert not store.tags.delete(name)
    assert _index(store)["manifests"] == []


def test_by_digest(store: Store) -> None:
    image = put_image(store, "hello:v1", b"x")
    digest = image.descriptor.digest
    for text in (f"hello@{digest}", f"hello:v1@{digest}", f"hello:other@{digest}"):
        assert store.tags.get(Reference.parse(text)) is not None
    assert store.tags.get(Reference.parse(f"else@{digest}")) is None
    assert store.tags.get(Reference.parse("hello:v1@sha256:" + "0" * 64)) is None
    store.tags.set(Reference.parse(f"pinned@{digest}"), image.descriptor)
    assert store.tags.get(Reference.parse(f"pinned@{digest}")) is not None
    assert store.tags.get(Reference.parse("pinned")) is None


def test_an_image_that_loses_its_name_stays(store: Store) -> None:
    first = put_image(store, "hello", b"1")
    second = put_image(store, "hello", b"2")
    assert [x.digest for x in store.tags.nameless()] == [first.descriptor.digest]
    store.tags.set(Reference.parse("again"), first.descriptor)
    assert store.tags.nameless() == []
    assert {x.digest for _, x in store.tags.items()} == {first.descriptor.digest, second.descriptor.digest}
    store.tags.delete(Reference.parse("again"), keep=True)
    assert len(store.tags.nameless()) == 1
    assert store.tags.drop(first.descriptor.digest)
    assert not store.tags.drop(first.descriptor.digest)
    assert store.tags.nameless() == []


def test_what_is_not_all_there_gets_no_name(store: Store) -> None:
    image = put_image(store, "hello", b"x")
    Path(store.blobs.path(image.manifest.layers[0].digest)).unlink()
    with pytest.raises(NotFound, match=r"tag docker\.io/library/other:latest: blob .* not in the store"):
        store.tags.set(Reference.parse("other"), image.descriptor)
    with pytest.raises(NotFound):
        store.tags.set(Reference.parse("x"), Descriptor(media_types.OCI_MANIFEST, "sha256:" + "0" * 64, 1))


def test_what_other_tools_write_survives(store: Store) -> None:
    image = put_image(store, None, b"x")
    row = {
        **image.descriptor.to_json(),
        "annotations": {media_types.ANNOTATION_REF_NAME: "v1"},
        "data": "e30=",
    }
    odd = {**row, "annotations": {media_types.ANNOTATION_REF_NAME: "Not A Reference", "k": "v"}}
    value = {"schemaVersion": 2, "manifests": [row, odd], "annotations": {"a": "b"}}
    Path(store.root, "index.json").write_text(json.dumps(value))
    assert store.tags.get(Reference.parse("v1")) is not None
    assert [str(ref) for ref, _ in store.tags.items()] == ["docker.io/library/v1:latest"]
    assert len(store.tags.nameless()) == 1
    store.tags.set(Reference.parse("mine"), image.descriptor)
    after = _index(store)
    assert after["annotations"] == {"a": "b"}
    assert after["manifests"][:2] == [row, odd]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"manifests": 3}', '{"manifests": [1]}', '{"manifests": [{}]}', "{"]
)
def test_a_damaged_index_is_an_error(store: Store, text: str) -> None:
    Path(store.root, "index.json").write_text(text)
    with pytest.raises(Exception, match=r"index\.json|descriptor") as caught:
        store.tags.items()
        store.tags.nameless()
    assert caught.value.__class__.__module__ == "pycontain.errors"


def test_a_store_of_another_version(store: Store) -> None:
    Path(store.root, "oci-layout").write_text('{"imageLayoutVersion":"9.0"}')
    with pytest.raises(StoreError, match="not of version 1"):
        Store.open(store.root)
