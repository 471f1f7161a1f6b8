from __future__ import annotations

import os
from pathlib import Path

import pytest
from store_world import disk, put_image, tar_of

from pycontain.errors import Conflict, ImageError, NotFound, PycontainError
from pycontain.image import (
    Descriptor,
    History,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    Reference,
    digest_bytes,
    media_types,
    parse_manifest,
)
from pycontain.store import Store
from pycontain.store.gc import collect


def _container(store: Store, image_id: str, name: str = "c" * 64) -> None:
    directory = Path(store.root, "containers", name)
    directory.mkdir()
    (directory / "config.json").write_text(f'{{"Image":"{image_id}"}}')


def test_finding(store: Store) -> None:
    image = put_image(store, "hello", b"1", b"2")
    other = put_image(store, "user/other:v1", b"3")
    assert store.image("hello").id == image.id
    assert store.image(Reference.parse("hello")).id == image.id
    assert store.image("docker.io/user/other:v1").id == other.id
    hexadecimal = image.id[7:]
    for name in (
        image.id,
        hexadecimal,
        hexadecimal[:12],
        f"sha256:{hexadecimal[:12]}",
        image.descriptor.digest,
    ):
        assert store.image(name).id == image.id
    assert store.image(f"hello@{image.descriptor.digest}").id == image.id
    found = store.image("hello")
    assert [layer.read(0) for layer in found.layers] == [b"1", b"2"]
    assert str(found.reference) == "docker.io/library/hello:latest"
    assert found.size == found.manifest.config.size + sum(layer.size for layer in found.manifest.layers)
    assert found.target == found.descriptor._replace(annotations=found.target.annotations)
    for name in ("none", "hello:v2", "ffffffffffff"):
        with pytest.raises(NotFound, match=r"find image .*not in the store"):
            store.image(name)
    with pytest.raises(ImageError, match="parse reference"):
        store.image("Not a name")


def test_an_id_that_two_images_begin_with(store: Store) -> None:
    ids: dict[str, str] = {}
    for number in range(40):
        image = put_image(store, f"x{number}", str(number).encode())
        if image.id[7:9] in ids:
            with pytest.raises(ImageError, match=r"\d images have ids that begin so"):
                store.image(image.id[7:9])
            return
        ids[image.id[7:9]] = image.id
    pytest.fail("no two ids begin alike")


def test_listing(store: Store) -> None:
    put_image(store, "b", b"1")
    put_image(store, "a", b"2")
    put_image(store, None, b"3")
    assert [str(image.reference) if image.reference else None for image in store.images()] == [
        "docker.io/library/b:latest",
        "docker.io/library/a:latest",
        None,
    ]


def test_a_damaged_image_does_not_hide_the_others(store: Store) -> None:
    broken = put_image(store, "broken", b"1")
    good = put_image(store, "good", b"2")
    Path(store.blobs.path(broken.descriptor.digest)).write_bytes(b"{")
    with pytest.raises(PycontainError):
        store.images()
    problems: list[PycontainError] = []
    assert [image.id for image in store.images(problems)] == [good.id]
    assert len(problems) == 1
    assert store.image(good.id[7:19]).id == good.id
    store.remove("broken")
    assert len(store.images()) == 1


def test_adding_needs_as_many_layers_as_diff_ids(store: Store) -> None:
    with pytest.raises(ImageError, match="0 layers, but 1 diff ids"):
        store.add_image(ImageConfig("amd64", diff_ids=("sha256:" + "0" * 64,)), [])


def test_an_image_without_layers(store: Store) -> None:
    image = store.add_image(ImageConfig("amd64"), [], Reference.parse("scratch-like"))
    assert store.image("scratch-like").layers == []
    assert image.id == store.image("scratch-like").id


def test_docker_s_layers_become_oci_s_in_a_new_image(store: Store) -> None:
    base = put_image(store, None, b"1")
    layer = base.manifest.layers[0]._replace(media_type=media_types.DOCKER_LAYER_GZIP)
    config = ImageConfig("amd64", diff_ids=base.config.diff_ids)
    image = store.add_image(config, [layer], Reference.parse("x"))
    assert image.manifest.layers[0].media_type == media_types.OCI_LAYER_GZIP
    assert image.manifest.layers[0].digest == layer.digest


def test_a_manifest_is_kept_as_it_came(store: Store) -> None:
    """Docker's schema 2, indented and with unknown fields: its digest is of these very bytes."""
    base = put_image(store, None, b"1")
    config = base.manifest.config._replace(media_type=media_types.DOCKER_CONFIG)
    layer = base.manifest.layers[0]._replace(media_type=media_types.DOCKER_LAYER_GZIP)
    manifest = Manifest(config, (layer,), media_type=media_types.DOCKER_MANIFEST)
    raw = (
        manifest.to_bytes()
        .replace(b"{", b"{\n   ")
        .replace(b'"schemaVersion"', b'"unknown": 1, "schemaVersion"')
    )
    digest = store.blobs.write_bytes(raw)
    store.tags.set(Reference.parse("d"), Descriptor(media_types.DOCKER_MANIFEST, digest, len(raw)))
    image = store.image("d")
    assert image.descriptor.digest == digest_bytes(raw)
    assert store.blobs.read(image.descriptor.digest) == raw
    assert image.layers[0].read(0) == b"1"


def _put_index(store: Store, name: str) -> tuple[Index, dict[str, Descriptor]]:
    children = {}
    for platform in ("linux/amd64", "linux/arm64", "linux/arm/v7"):
        image = put_image(store, None, platform.encode())
        store.tags.drop(image.descriptor.digest)
        children[platform] = image.descriptor._replace(platform=Platform.parse(platform))
    attestation = Descriptor(
        media_types.OCI_MANIFEST, "sha256:" + "0" * 64, 9, None, Platform("unknown", "unknown")
    )
    index = Index((*children.values(), attestation))
    raw = index.to_bytes()
    store.tags.set(
        Reference.parse(name), Descriptor(media_types.OCI_INDEX, store.blobs.write_bytes(raw), len(raw))
    )
    return index, children


def test_an_index_is_chosen_from_by_platform(store: Store) -> None:
    _, children = _put_index(store, "multi")
    for platform, child in children.items():
        image = store.image("multi", Platform.parse(platform))
        assert image.descriptor.digest == child.digest
        assert image.target.media_type == media_types.OCI_INDEX
    with pytest.raises(ImageError, match="no manifest for linux/s390x"):
        store.image("multi", Platform.parse("linux/s390x"))
    os.unlink(store.blobs.path(children["linux/arm64"].digest))
    with pytest.raises(NotFound):
        store.image("multi", Platform.parse("linux/arm64"))
    assert len(store.images()) == 1
    store.remove("multi")
    collect(store, grace=0)  # nobody knows any more what the missing manifest led to
    assert [x for x in disk(store) if x.startswith(("blobs", "layers"))] == []


def test_indexes_within_indexes_end(store: Store) -> None:
    _put_index(store, "multi")
    descriptor = store.image("multi").target._replace(annotations=None, platform=Platform.host())
    for _ in range(5):
        raw = Index((descriptor,)).to_bytes()
        digest = store.blobs.write_bytes(raw)
        descriptor = Descriptor(media_types.OCI_INDEX, digest, len(raw), None, Platform.host())
    store.tags.set(Reference.parse("deep"), descriptor)
    with pytest.raises(ImageError, match="more than four deep"):
        store.image("deep")


def test_an_artifact_is_no_image(store: Store) -> None:
    config = store.blobs.write_bytes(b"{}")
    raw = Manifest(Descriptor("application/vnd.example+json", config, 2), ()).to_bytes()
    digest = store.blobs.write_bytes(raw)
    store.tags.set(Reference.parse("chart"), Descriptor(media_types.OCI_MANIFEST, digest, len(raw)))
    with pytest.raises(ImageError, match=r"no image that could run, but 'application/vnd\.example"):
        store.image("chart")


def test_removing(store: Store) -> None:
    empty = disk(store)
    image = put_image(store, "a", b"1", b"2")
    store.tags.set(Reference.parse("b"), image.descriptor)
    assert store.remove("a") == [("Untagged", "a:latest")]
    assert store.image("b").id == image.id
    assert store.remove("b") == [("Untagged", "b:latest"), ("Deleted", image.id)]
    assert disk(store) == empty
    assert os.listdir(store.tmp) == []
    with pytest.raises(NotFound):
        store.remove("a")


def test_removing_by_id(store: Store) -> None:
    image = put_image(store, "a:1", b"1")
    store.tags.set(Reference.parse("a:2"), image.descriptor)
    nameless = put_image(store, None, b"2")
    assert store.remove(nameless.id[7:19]) == [("Deleted", nameless.id)]
    store.tags.set(Reference.parse("b"), image.descriptor)
    with pytest.raises(Conflict, match=r"several names: a:1, a:2, b:latest"):
        store.remove(image.id)
    done = store.remove(image.id, force=True)
    assert [what for what, _ in done] == ["Untagged", "Untagged", "Untagged", "Deleted"]
    assert store.images() == []


def test_what_others_share_stays(store: Store) -> None:
    put_image(store, "a", b"shared", b"1")
    put_image(store, "b", b"shared", b"2")
    store.remove("a")
    assert [layer.read(0) for layer in store.image("b").layers] == [b"shared", b"2"]
    assert len(store.layers.list()) == 2


def test_what_a_container_uses_stays(store: Store) -> None:
    image = put_image(store, "a", b"1")
    _container(store, image.id)
    with pytest.raises(Conflict, match="container cccccccccccc uses it"):
        store.remove("a")
    store.tags.set(Reference.parse("b"), image.descriptor)
    assert store.remove("a") == [("Untagged", "a:latest")]
    assert store.remove("b", force=True) == [("Untagged", "b:latest")]
    assert store.image(image.id).layers[0].read(0) == b"1"


def test_the_same_config_and_layers_give_the_same_image(store: Store, tmp_path: Path) -> None:
    other = Store.open(str(tmp_path / "other"))
    assert put_image(store, "a", b"1").descriptor == put_image(other, "a", b"1").descriptor


def test_layers_not_indexed_yet_are_indexed(store: Store) -> None:
    data = tar_of([("f", b"later")])
    digest = store.blobs.write_bytes(data)
    config = ImageConfig("amd64").with_layer(digest, History())
    store.add_image(config, [Descriptor(media_types.OCI_LAYER, digest, len(data))], Reference.parse("x"))
    assert store.layers.list() == []
    assert store.image("x").layers[0].read(0) == b"later"
    manifest = parse_manifest(store.blobs.read(store.image("x").descriptor.digest))
    assert isinstance(manifest, Manifest)
