"""Manifests, tags, referrers, lists."""

from __future__ import annotations

import hashlib
import json

import pytest
from registry_caller import OCI_MANIFEST, Caller, image_manifest, sha256

INDEX = "application/vnd.oci.image.index.v1+json"


def test_the_bytes_come_back_unchanged(call: Caller) -> None:
    manifest = image_manifest(call, "a/b").replace(b'"layers"', b'\n \t"layers"')
    assert call("PUT", "/v2/a/b/manifests/v1", manifest, Content_Type=OCI_MANIFEST).status == 201
    for target in ("v1", sha256(manifest)):
        answer = call("GET", f"/v2/a/b/manifests/{target}")
        assert answer.body == manifest and answer.headers["Content-Type"] == OCI_MANIFEST
        head = call("HEAD", f"/v2/a/b/manifests/{target}")
        assert head.headers["Content-Length"] == str(len(manifest)) and head.body == b""
        assert head.headers["Docker-Content-Digest"] == sha256(manifest)


def test_unknown_names_and_manifests(call: Caller) -> None:
    assert call("GET", "/v2/a/b/manifests/v1").code == "NAME_UNKNOWN"
    call.push_image("a/b", "v1")
    answer = call("GET", "/v2/a/b/manifests/v2")
    assert answer.status == 404 and answer.code == "MANIFEST_UNKNOWN"
    assert call("GET", "/v2/A/b/manifests/v2").code == "NAME_INVALID"
    assert call("GET", "/v2/a/../manifests/v2").code == "NAME_INVALID"


def test_a_manifest_with_missing_blobs(call: Caller) -> None:
    manifest = image_manifest(call, "other")
    answer = call("PUT", "/v2/a/b/manifests/v1", manifest, Content_Type=OCI_MANIFEST)
    assert answer.status == 404 and answer.code == "MANIFEST_BLOB_UNKNOWN"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"schemaVersion":1}', b'{"schemaVersion":2}', b"\xff"])
def test_what_is_no_manifest(call: Caller, body: bytes) -> None:
    answer = call("PUT", "/v2/a/b/manifests/v1", body, Content_Type=OCI_MANIFEST)
    assert answer.status == 400 and answer.code == "MANIFEST_INVALID"


def test_a_manifest_by_a_digest_that_is_not_its_own(call: Caller) -> None:
    manifest = image_manifest(call, "a/b")
    answer = call("PUT", f"/v2/a/b/manifests/{sha256(b'x')}", manifest, Content_Type=OCI_MANIFEST)
    assert answer.status == 400 and answer.code == "DIGEST_INVALID"


def test_sha512_and_tags_by_query(call: Caller) -> None:
    manifest = image_manifest(call, "a/b")
    digest = "sha512:" + hashlib.sha512(manifest).hexdigest()
    tags = [f"t{n}" for n in range(12)]
    target = f"/v2/a/b/manifests/{digest}?" + "&".join(f"tag={tag}" for tag in tags)
    answer = call("PUT", target, manifest, Content_Type=OCI_MANIFEST)
    assert answer.status == 201 and answer.headers.get_all("OCI-Tag") == tags
    got = call("GET", "/v2/a/b/manifests/t7")
    assert got.body == manifest and got.headers["Docker-Content-Digest"] == digest


def test_the_size_limit(call: Caller) -> None:
    manifest = image_manifest(call, "a/b")
    padded = manifest[:-1] + b" " * ((4 << 20) - len(manifest)) + b"}"
    assert len(padded) == 4 << 20
    assert call("PUT", "/v2/a/b/manifests/big", padded, Content_Type=OCI_MANIFEST).status == 201
    answer = call("PUT", "/v2/a/b/manifests/bigger", padded + b" ", Content_Type=OCI_MANIFEST)
    assert answer.status == 413 and answer.code == "MANIFEST_INVALID"


def test_an_index_may_be_sparse(call: Caller) -> None:
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": sha256(b"elsewhere"), "size": 9}]}  # fmt: skip
    assert call("PUT", "/v2/a/b/manifests/v1", json.dumps(index), Content_Type=INDEX).status == 201


def test_delete_a_tag_and_a_manifest(call: Caller) -> None:
    digest, _ = call.push_image("a/b", "v1")
    call.push_image("a/b", "v2")
    assert call("DELETE", "/v2/a/b/manifests/v1").status == 202
    assert call("HEAD", "/v2/a/b/manifests/v1").status == 404
    assert call("HEAD", f"/v2/a/b/manifests/{digest}").status == 200
    assert call("DELETE", f"/v2/a/b/manifests/{digest}").status == 202
    assert call("HEAD", "/v2/a/b/manifests/v2").status == 404
    assert json.loads(call("GET", "/v2/a/b/tags/list").body)["tags"] == []
    assert call("DELETE", f"/v2/a/b/manifests/{digest}").status == 404


def test_tags_in_pages(call: Caller) -> None:
    manifest = image_manifest(call, "a/b")
    tags = sorted(["B", "a", "b", "v1", "v10", "v2", "_x"])
    for tag in reversed(tags):
        call("PUT", f"/v2/a/b/manifests/{tag}", manifest, Content_Type=OCI_MANIFEST)
    assert json.loads(call("GET", "/v2/a/b/tags/list").body) == {"name": "a/b", "tags": tags}
    seen, target = [], "/v2/a/b/tags/list?n=3"
    while target:
        answer = call("GET", target)
        seen.append(json.loads(answer.body)["tags"])
        link = answer.headers["Link"]
        target = link[1 : link.index(">")] if link else ""
    assert seen == [tags[:3], tags[3:6], tags[6:]]
    assert json.loads(call("GET", "/v2/a/b/tags/list?n=0").body)["tags"] == []
    assert json.loads(call("GET", "/v2/a/b/tags/list?last=v1").body)["tags"] == ["v10", "v2"]
    assert call("GET", "/v2/a/b/tags/list?n=x").status == 400
    assert call("GET", "/v2/none/tags/list").code == "NAME_UNKNOWN"


def test_catalog(call: Caller) -> None:
    for name in ("b", "a/b/c", "a", "a/manifests/x"):
        call.push_image(name, "v1")
    assert json.loads(call("GET", "/v2/_catalog").body) == {
        "repositories": ["a", "a/b/c", "a/manifests/x", "b"]
    }
    answer = call("GET", "/v2/_catalog?n=2")
    assert json.loads(answer.body) == {"repositories": ["a", "a/b/c"]}
    assert answer.headers["Link"] == '</v2/_catalog?n=2&last=a%2Fb%2Fc>; rel="next"'


def test_referrers(call: Caller) -> None:
    subject_digest, subject = call.push_image("a/b", "v1")
    descriptor = {"mediaType": OCI_MANIFEST, "digest": subject_digest, "size": len(subject)}
    manifest = image_manifest(
        call, "a/b", subject=descriptor, artifactType="application/x.sig", annotations={"k": "v"}
    )
    answer = call("PUT", f"/v2/a/b/manifests/{sha256(manifest)}", manifest, Content_Type=OCI_MANIFEST)
    assert answer.headers["OCI-Subject"] == subject_digest
    plain, _ = call.push_image("a/b", "plain", subject=descriptor)

    listed = call("GET", f"/v2/a/b/referrers/{subject_digest}")
    assert listed.status == 200 and listed.headers["Content-Type"] == INDEX
    found = {each["digest"]: each for each in json.loads(listed.body)["manifests"]}
    assert found[sha256(manifest)] == {
        "mediaType": OCI_MANIFEST, "digest": sha256(manifest), "size": len(manifest),
        "artifactType": "application/x.sig", "annotations": {"k": "v"},
    }  # fmt: skip
    assert found[plain]["artifactType"] == "application/vnd.oci.image.config.v1+json"

    one = call("GET", f"/v2/a/b/referrers/{subject_digest}?artifactType=application/x.sig")
    assert one.headers["OCI-Filters-Applied"] == "artifactType"
    assert [each["digest"] for each in json.loads(one.body)["manifests"]] == [sha256(manifest)]

    call("DELETE", f"/v2/a/b/manifests/{sha256(manifest)}")
    left = json.loads(call("GET", f"/v2/a/b/referrers/{subject_digest}").body)["manifests"]
    assert [each["digest"] for each in left] == [plain]


def test_referrers_of_what_is_not_there(call: Caller) -> None:
    answer = call("GET", f"/v2/a/b/referrers/{sha256(b'x')}")
    assert answer.status == 200 and json.loads(answer.body)["manifests"] == []
    assert call("GET", "/v2/a/b/referrers/nothing").status == 400


def test_a_long_list_of_referrers_comes_in_pages(call: Caller) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": sha256(b"x"), "size": 1}
    for n in range(3):
        call.push_image("a/b", f"t{n}", subject=subject, annotations={"k": str(n) * (2 << 20)})
    seen, target = 0, f"/v2/a/b/referrers/{sha256(b'x')}"
    while target:
        answer = call("GET", target)
        assert len(answer.body) <= 4 << 20
        seen += len(json.loads(answer.body)["manifests"])
        link = answer.headers["Link"]
        target = link[1 : link.index(">")] if link else ""
    assert seen == 3
