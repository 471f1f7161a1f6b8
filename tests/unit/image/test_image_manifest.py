from __future__ import annotations

import json
from typing import Any

import pytest

from pycontain.errors import ImageError
from pycontain.image import Descriptor, Index, Manifest, Platform, media_types, parse_manifest

DIGEST = "sha256:" + "a" * 64


def _descriptor(media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": DIGEST, "size": 3, **more}


def _manifest(**more: Any) -> dict[str, Any]:
    value = {
        "schemaVersion": 2,
        "config": _descriptor(media_types.OCI_CONFIG),
        "layers": [_descriptor(media_types.OCI_LAYER_ZSTD)],
        **more,
    }
    return {key: item for key, item in value.items() if item is not ...}


def _parse(value: Any, media_type: str | None = None) -> Manifest | Index:
    return parse_manifest(json.dumps(value).encode(), media_type)


def test_a_manifest_with_everything_survives() -> None:
    manifest = Manifest(
        Descriptor(media_types.OCI_CONFIG, DIGEST, 1, {"a": "b"}),
        (Descriptor(media_types.OCI_LAYER_GZIP, DIGEST, 2, urls=("https://example.invalid/x",)),),
        {"note": "\u00fc"},
        Descriptor(media_types.OCI_MANIFEST, DIGEST, 3),
        "application/x",
    )
    data = manifest.to_bytes()
    assert parse_manifest(data, media_types.OCI_MANIFEST) == manifest
    assert data == manifest.to_bytes()
    assert manifest.is_image


def test_an_index_with_everything_survives() -> None:
    index = Index(
        (Descriptor(media_types.OCI_MANIFEST, DIGEST, 1, None, Platform("linux", "arm", "v7")),),
        {"a": "b"},
        Descriptor(media_types.OCI_MANIFEST, DIGEST, 3),
        "application/x",
    )
    assert parse_manifest(index.to_bytes()) == index


def test_the_kind_is_told_by_itself_its_descriptor_or_its_shape() -> None:
    assert isinstance(_parse(_manifest()), Manifest)
    assert isinstance(_parse({"schemaVersion": 2, "manifests": []}), Index)
    docker = _parse(_manifest(), media_types.DOCKER_MANIFEST + "; charset=utf-8")
    assert docker.media_type == media_types.DOCKER_MANIFEST
    assert _parse(_manifest(mediaType=media_types.OCI_MANIFEST)).media_type == media_types.OCI_MANIFEST


def test_schema_2_becomes_oci_with_the_same_blobs() -> None:
    docker = _parse(
        _manifest(
            mediaType=media_types.DOCKER_MANIFEST,
            config=_descriptor(media_types.DOCKER_CONFIG),
            layers=[_descriptor(media_types.DOCKER_LAYER_GZIP), _descriptor(media_types.DOCKER_FOREIGN_GZIP)],
        )
    )
    assert isinstance(docker, Manifest)
    assert docker.is_image
    oci = docker.to_oci()
    assert oci.media_type == media_types.OCI_MANIFEST
    assert oci.config.media_type == media_types.OCI_CONFIG
    assert oci.layers[0].media_type == media_types.OCI_LAYER_GZIP
    assert [x.digest for x in oci.layers] == [x.digest for x in docker.layers]
    assert oci.to_oci() == oci


@pytest.mark.parametrize(
    ("value", "media_type", "message"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, None, "schema 1"),
        (_manifest(mediaType=media_types.DOCKER_SCHEMA1_SIGNED), None, "schema 1"),
        (_manifest(), media_types.DOCKER_SCHEMA1, "schema 1"),
        (_manifest(schemaVersion=3), None, "schemaVersion is 3"),
        (_manifest(schemaVersion=...), None, "schemaVersion is 0"),
        (_manifest(mediaType="text/html"), None, "text/html.*not a manifest"),
        (_manifest(), "application/octet-stream", "octet-stream"),
        (_manifest(mediaType=media_types.OCI_MANIFEST), media_types.OCI_INDEX, "calls itself"),
        (_manifest(manifests=[], mediaType=media_types.OCI_MANIFEST), None, "ambiguous"),
        (_manifest(manifests=[], mediaType=media_types.OCI_INDEX), None, "ambiguous"),
        (_manifest(fsLayers=[], mediaType=media_types.OCI_MANIFEST), None, "ambiguous"),
        (_manifest(config=...), None, "no config"),
        (_manifest(config=None), None, "no config"),
        (_manifest(config=[]), None, "not an object"),
        (_manifest(layers={}), None, "layers is not an array"),
        (_manifest(layers=["x"]), None, "not an object"),
        (_manifest(layers=[{"digest": DIGEST, "size": 1}]), None, "no mediaType"),
        (_manifest(layers=[{"digest": DIGEST, "mediaType": "x"}]), None, "no size"),
        (_manifest(layers=[_descriptor("x", size=-1)]), None, "size is -1"),
        (_manifest(layers=[_descriptor("x", size=True)]), None, "not a whole number"),
        (_manifest(layers=[_descriptor("x", size=1.5)]), None, "not a whole number"),
        (_manifest(layers=[_descriptor("x", size=1 << 64)]), None, "64 bits"),
        (_manifest(layers=[_descriptor("x", digest="sha256:../../etc/passwd")]), None, "parse digest"),
        (_manifest(layers=[_descriptor("x", digest=None)]), None, "parse digest"),
        (_manifest(annotations={"a": 1}), None, "not a string"),
        (_manifest(annotations=[]), None, "not an object"),
        (_manifest(subject="x"), None, "subject is not an object"),
        ([], None, "not a JSON object"),
        ("x", None, "not a JSON object"),
    ],
)
def test_what_is_no_manifest_is_refused(value: Any, media_type: str | None, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        _parse(value, media_type)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100000,
        b'{"a":' * 50000,
        b'{"schemaVersion":' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b'{"schemaVersion":2,"mediaType":"\\ud800"}',
        b"null",
    ],
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        parse_manifest(data)


def test_a_manifest_over_4_mib_is_refused() -> None:
    data = json.dumps(_manifest(annotations={"a": "x" * (4 << 20)})).encode()
    with pytest.raises(ImageError, match="more than the limit of 4194304"):
        parse_manifest(data)


def _platform(text: str) -> Platform:
    return Platform.parse(text)


def test_selecting_by_platform() -> None:
    def child(number: int, platform: str | None) -> Descriptor:
        digest = "sha256:" + f"{number:064x}"
        return Descriptor(
            media_types.OCI_MANIFEST, digest, 1, None, _platform(platform) if platform else None
        )

    index = Index((child(1, "linux/arm64"), child(2, "linux/amd64"), child(3, "linux/arm/v6")))
    assert index.select(_platform("linux/amd64")) == index.manifests[1]
    assert index.select(_platform("linux/arm/v7")) == index.manifests[2]
    with pytest.raises(ImageError, match=r"select x: no manifest for linux/s390x \(there is: linux/amd64, "):
        index.select(_platform("linux/s390x"), "x")
    lonely = Index((child(1, None),))
    assert lonely.select(_platform("linux/amd64")) == lonely.manifests[0]
    with pytest.raises(ImageError, match="names no platform"):
        Index(()).select(_platform("linux/amd64"))


def test_what_a_layer_may_be() -> None:
    assert media_types.compression_of(media_types.OCI_LAYER_ZSTD) == "zstd"
    assert media_types.compression_of(media_types.DOCKER_LAYER_GZIP) == "gzip"
    assert media_types.compression_of(media_types.OCI_LAYER) == "none"
    for name in ("zstd", "gzip", "none"):
        assert media_types.compression_of(media_types.layer_type(name)) == name
    for name in ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "text/plain", ""):
        assert not media_types.is_layer(name)
        with pytest.raises(ImageError, match="not a file system layer"):
            media_types.compression_of(name)
    with pytest.raises(ImageError, match="lz4"):
        media_types.layer_type("lz4")
    assert media_types.to_oci("anything/else") == "anything/else"
