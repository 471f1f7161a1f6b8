"""Push and pull against our own registry."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from client_world import QUICK, Recorder, World, make_image

from pycontain.client import Silent, pull, push
from pycontain.client.pull import pull_all
from pycontain.errors import DigestMismatch, ImageError, NotFound, PycontainError, RegistryError
from pycontain.image import media_types
from pycontain.image.descriptor import Descriptor
from pycontain.image.manifest import Index
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference
from pycontain.store import Store
from registry.http.body import Body
from registry.http.request import Request
from registry.http.response import Response

WHOLE_PULL = ["Pulling fs layer", "Downloading", "Extracting", "Pull complete"]
BASE = {"etc/passwd": b"root:x:0:0::/root:/bin/sh\n", "bin/sh": os.urandom(300_000)}


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_there_and_back(world: World, store: Store, other: Store, compression: str) -> None:
    ref = Reference.parse(f"{world.address}/team/app:1")
    image = make_image(store, str(ref), BASE, {"app": b"hello"}, compression=compression)
    recorder = Recorder()
    pushed = push(store, ref, recorder, transport=world.transport())
    assert pushed.digest == image.descriptor.digest
    for layer in image.manifest.layers:
        assert recorder.words(layer.digest) == ["Preparing", "Pushing", "Pushed"]

    recorder = Recorder()
    [pulled] = pull_all(other, ref, None, recorder, transport=world.transport())
    assert (pulled.digest, pulled.fresh) == (image.descriptor.digest, True)
    assert (pulled.image.id, pulled.image.descriptor.digest) == (image.id, image.descriptor.digest)
    assert [layer.diff_id for layer in pulled.image.layers] == list(image.config.diff_ids)
    for layer in image.manifest.layers:
        assert recorder.words(layer.digest) == [
            "Pulling fs layer",
            "Downloading",
            "Extracting",
            "Pull complete",
        ]


def test_a_push_of_an_unchanged_image_is_head_requests_only(world: World, store: Store) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    image = make_image(store, str(ref), BASE)
    push(store, ref, Silent(), transport=world.transport())
    world.requests.clear()
    recorder = Recorder()
    push(store, ref, recorder, transport=world.transport())
    assert world.methods() == {"HEAD"}
    assert recorder.words(image.manifest.layers[0].digest)[-1] == "Layer already exists"


def test_a_pull_of_an_unchanged_image_is_one_head_request(world: World, store: Store, other: Store) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    make_image(store, str(ref), BASE)
    push(store, ref, Silent(), transport=world.transport())
    pull(other, ref, None, Silent(), transport=world.transport())
    world.requests.clear()
    [pulled] = pull_all(other, ref, None, Silent(), transport=world.transport())
    assert not pulled.fresh and world.requests == ["HEAD /v2/app/manifests/1"]


def test_a_moved_tag_loads_only_what_is_new(world: World, store: Store, other: Store) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    make_image(store, str(ref), BASE)
    push(store, ref, Silent(), transport=world.transport())
    pull(other, ref, None, Silent(), transport=world.transport())
    image = make_image(store, str(ref), BASE, {"new": b"1"})
    push(store, ref, Silent(), transport=world.transport())
    recorder = Recorder()
    world.requests.clear()
    [pulled] = pull_all(other, ref, None, recorder, transport=world.transport())
    assert pulled.fresh and pulled.image.id == image.id
    assert recorder.words(image.manifest.layers[0].digest) == ["Pulling fs layer", "Already exists"]
    assert not any(image.manifest.layers[0].digest in line for line in world.requests)


def test_blobs_are_mounted_from_a_neighbour(world: World, store: Store) -> None:
    base = Reference.parse(f"{world.address}/base:1")
    image = make_image(store, str(base), BASE)
    push(store, base, Silent(), transport=world.transport())
    ref = Reference.parse(f"{world.address}/app:1")
    make_image(store, str(ref), BASE, {"app": b"x"})
    recorder = Recorder()
    push(store, ref, recorder, transport=world.transport())
    assert recorder.words(image.manifest.layers[0].digest) == ["Preparing", "Mounted from base"]


def test_an_image_that_is_not_there(world: World, store: Store) -> None:
    ref = Reference.parse(f"{world.address}/app:3.99")
    with pytest.raises(NotFound, match=r"push .*app:3\.99: there is no such image"):
        push(store, ref, Silent(), transport=world.transport())
    make_image(store, str(ref.with_tag("3.18")), BASE)
    push(store, ref.with_tag("3.18"), Silent(), transport=world.transport())
    with pytest.raises(RegistryError) as caught:
        pull(store, ref, None, Silent(), transport=world.transport())
    assert caught.value.code == "MANIFEST_UNKNOWN"
    assert "app:3.99" in str(caught.value) and "(tags: 3.18)" in str(caught.value)


def test_all_tags(world: World, store: Store, other: Store) -> None:
    for tag in ("1", "2", "x"):
        ref = Reference.parse(f"{world.address}/app:{tag}")
        make_image(store, str(ref), BASE, {"tag": tag.encode()})
        push(store, ref, Silent(), transport=world.transport())
    pull(other, ref, None, Silent(), all_tags=True, transport=world.transport())
    assert {each.tag for each, _ in other.tags.items()} == {"1", "2", "x"}


def put_index(world: World, store: Store, *platforms: str) -> tuple[Reference, str]:
    """Push an image per platform and an index of them; its reference and digest."""
    ref = Reference.parse(f"{world.address}/multi:1")
    children = []
    for text in platforms:
        platform = Platform.parse(text)
        image = make_image(store, f"{world.address}/multi:{text.replace('/', '-')}", {"arch": text.encode()})
        config = image.config._replace(architecture=platform.architecture, variant=platform.variant)
        image = store.add_image(config, image.manifest.layers, image.reference)
        assert image.reference
        push(store, image.reference, Silent(), transport=world.transport())
        children.append(image.descriptor._replace(platform=platform, annotations=None))
    data = Index(tuple(children)).to_bytes()
    with world.transport() as transport:
        from pycontain.client.repository import Repository

        Repository(transport, "multi", push=True).put_manifest("1", data, media_types.OCI_INDEX)
    return ref, "sha256:" + hashlib.sha256(data).hexdigest()


def test_an_index_is_resolved_by_platform(world: World, store: Store, other: Store) -> None:
    ref, digest = put_index(world, store, "linux/amd64", "linux/arm64", "linux/arm/v7")
    [pulled] = pull_all(other, ref, Platform.parse("linux/arm64"), Silent(), transport=world.transport())
    assert pulled.digest == digest and pulled.image.config.architecture == "arm64"
    [pulled] = pull_all(other, ref, Platform.parse("linux/amd64"), Silent(), transport=world.transport())
    assert pulled.image.config.architecture == "amd64"
    world.requests.clear()
    [pulled] = pull_all(other, ref, Platform.parse("linux/arm64"), Silent(), transport=world.transport())
    assert not pulled.fresh and world.methods() == {"HEAD"}
    pinned = Reference.parse(f"{world.address}/multi@{digest}")
    assert pull(other, pinned, Platform.parse("linux/amd64"), Silent(), transport=world.transport())
    with pytest.raises(ImageError, match="no manifest for linux/riscv64"):
        pull(other, ref, Platform.parse("linux/riscv64"), Silent(), transport=world.transport())


def test_an_index_goes_back_unchanged_where_the_registry_has_the_rest(
    world: World, store: Store, other: Store
) -> None:
    ref, digest = put_index(world, store, "linux/amd64", "linux/arm64")
    image = pull(other, ref, Platform.parse("linux/amd64"), Silent(), transport=world.transport())
    again = ref.with_tag("again")
    other.tags.set(again, image.target)
    assert push(other, again, Silent(), transport=world.transport()).digest == digest
    elsewhere = Reference.parse(f"{world.address}/elsewhere:1")
    other.tags.set(elsewhere, image.target)
    assert push(other, elsewhere, Silent(), transport=world.transport()).digest == image.descriptor.digest


def test_the_platform_of_a_single_manifest_is_checked_if_asked_for(
    world: World, store: Store, other: Store
) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    make_image(store, str(ref), BASE)
    push(store, ref, Silent(), transport=world.transport())
    with pytest.raises(ImageError, match="it is for linux/amd64, not for linux/arm64"):
        pull(other, ref, Platform.parse("linux/arm64"), Silent(), transport=world.transport())


def test_an_artifact_is_no_image(world: World, store: Store) -> None:
    with world.transport() as transport:
        from pycontain.client.repository import Repository
        from pycontain.client.upload import Upload

        path = os.path.join(store.root, "oci-layout")
        data = Path(path).read_bytes()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        repository = Repository(transport, "art", push=True)
        Upload(repository, digest, path, len(data)).run()
        blob = Descriptor("application/x", digest, len(data)).to_json()
        manifest = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST,
                    "artifactType": "application/x.sig", "config": blob, "layers": []}  # fmt: skip
        repository.put_manifest("1", json.dumps(manifest).encode(), media_types.OCI_MANIFEST)
    with pytest.raises(ImageError, match=r"artifact of type 'application/x.sig'"):
        pull(store, Reference.parse(f"{world.address}/art:1"), None, Silent(), transport=world.transport())


def test_a_broken_download_goes_on_where_it_was(world: World, store: Store, other: Store) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    image = make_image(store, str(ref), {"big": os.urandom(3_000_000)})
    push(store, ref, Silent(), transport=world.transport())
    layer = image.manifest.layers[0]
    content = store.blobs.path(layer.digest)
    ranges = []

    def cut(request: Request, body: Body) -> Response | None:
        if request.method != "GET" or layer.digest not in request.path:
            return None
        ranges.append(request.header("range"))
        if len(ranges) == 3:
            return None
        start = int((request.header("range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        with open(content, "rb") as file:
            file.seek(start)
            data = file.read(1_100_000)
        headers = [("Content-Range", f"bytes {start}-{layer.size - 1}/{layer.size}")] if start else []
        return Response(206 if start else 200, headers, data, length=layer.size - start)

    world.intercept = cut
    recorder = Recorder()
    patience = QUICK._replace(read=0.3)  # the registry promises more than it sends, and waits
    pull(other, ref, None, recorder, transport=world.transport(patience=patience))
    starts = [int(text.removeprefix("bytes=").partition("-")[0]) for text in ranges if text]
    assert ranges[0] is None and 1_000_000 < starts[0] < starts[1] - 1_000_000
    assert "Retrying" in recorder.words(layer.digest)


def test_a_registry_without_ranges(world: World, store: Store, other: Store) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    image = make_image(store, str(ref), {"big": os.urandom(1_000_000)})
    push(store, ref, Silent(), transport=world.transport())
    layer = image.manifest.layers[0]
    content = Path(store.blobs.path(layer.digest)).read_bytes()
    count = []

    def whole(request: Request, body: Body) -> Response | None:
        if request.method != "GET" or layer.digest not in request.path:
            return None
        count.append(1)
        return Response(200, [], content if len(count) > 1 else content[:400_000], length=len(content))

    world.intercept = whole
    pull(other, ref, None, Silent(), transport=world.transport(patience=QUICK._replace(read=0.3)))
    assert len(count) == 2


def test_a_failed_layer_leaves_the_store_clean(world: World, store: Store, other: Store) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    image = make_image(store, str(ref), *({f"f{n}": os.urandom(200_000)} for n in range(6)))
    push(store, ref, Silent(), transport=world.transport())
    bad = image.manifest.layers[3]

    def corrupt(request: Request, body: Body) -> Response | None:
        if request.method == "GET" and bad.digest in request.path:
            return Response(200, [], os.urandom(bad.size))
        return None

    world.intercept = corrupt
    with pytest.raises(PycontainError):
        pull(other, ref, None, Silent(), transport=world.transport())
    assert other.tags.items() == [] and os.listdir(other.tmp) == []
    world.intercept = lambda request, body: None
    assert pull(other, ref, None, Silent(), transport=world.transport()).id == image.id


def test_a_refused_upload_falls_back_to_chunks(world: World, store: Store) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    image = make_image(store, str(ref), {"big": os.urandom(5_000_000)})

    def small_only(request: Request, body: Body) -> Response | None:
        return Response(413) if (request.length or 0) > 3_000_000 else None

    world.intercept = small_only
    import pycontain.client.upload as upload

    assert upload._CHUNK == 32 << 20
    push(store, ref, Silent(), transport=world.transport())
    assert [line for line in world.requests if line.startswith("PATCH")]
    world.intercept = lambda request, body: None
    assert push(store, ref, Silent(), transport=world.transport()).digest == image.descriptor.digest


def test_an_upload_that_breaks_begins_anew(world: World, store: Store) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    make_image(store, str(ref), {"big": os.urandom(2_000_000)})
    failures = iter([503, 500])

    def flaky(request: Request, body: Body) -> Response | None:
        if request.method == "PUT" and "/uploads/" in request.path:
            status = next(failures, None)
            return Response(status) if status else None
        return None

    world.intercept = flaky
    push(store, ref, Silent(), transport=world.transport())
    assert len(world.pauses) == 2


def test_a_registry_that_stores_something_else(world: World, store: Store) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    make_image(store, str(ref), BASE)

    def rewrite(request: Request, body: Body) -> Response | None:
        if request.method == "PUT" and "/manifests/" in request.path:
            return Response(201, [("Docker-Content-Digest", "sha256:" + "0" * 64)])
        return None

    world.intercept = rewrite
    with pytest.raises(DigestMismatch, match="has stored sha256:0000"):
        push(store, ref, Silent(), transport=world.transport())
