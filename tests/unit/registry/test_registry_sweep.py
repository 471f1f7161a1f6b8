"""Garbage collection."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_caller import OCI_MANIFEST, Caller, sha256

import registry
from pycontain.errors import RegistryError
from registry.storage.content import Content
from registry.storage.sweep import sweep


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Two images that share a layer, an orphan, an abandoned upload; and a server that has ended."""
    root = str(tmp_path / "registry")
    with registry.serve(root, durable=False) as server:
        call = Caller(server)
        call.push_image("a", "v1", b"layer one")
        call.push_image("b", "v1", b"layer one")
        call.push_image("b", "v2", b"layer two")
        call.push_blob("a", b"orphan")
        call("PATCH", call("POST", "/v2/a/blobs/uploads/").headers["Location"], b"half")
        call("DELETE", "/v2/b/manifests/v2")
        call.connection.close()
    return root


def test_what_is_young_stays(root: str) -> None:
    swept = sweep(Content(root))
    assert (swept.blobs, swept.uploads, swept.manifests) == (0, 0, 0)


def test_orphans_go(root: str) -> None:
    content = Content(root)
    assert sweep(content, grace=0, dry_run=True).blobs == 1
    assert content.has(sha256(b"orphan"))
    swept = sweep(content, grace=0)
    assert (swept.blobs, swept.size, swept.uploads, swept.manifests) == (1, len(b"orphan"), 1, 0)
    assert not content.has(sha256(b"orphan")) and content.has(sha256(b"layer two"))
    assert sweep(content, grace=0).blobs == 0


def test_untagged_manifests_go_if_asked(root: str) -> None:
    content = Content(root)
    swept = sweep(content, grace=0, untagged=True)
    assert swept.manifests == 1 and not content.has(sha256(b"layer two"))
    with registry.serve(root) as server:
        call = Caller(server)
        for name in ("a", "b"):
            assert call("GET", f"/v2/{name}/manifests/v1").status == 200
            assert call("GET", f"/v2/{name}/blobs/{sha256(b'layer one')}").body == b"layer one"
        call.connection.close()


def test_referrers_of_what_is_tagged_stay(tmp_path: Path) -> None:
    root = str(tmp_path / "registry")
    with registry.serve(root) as server:
        call = Caller(server)
        digest, data = call.push_image("a", "v1")
        subject = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(data)}
        signature, _ = call.push_image("a", "sig", b"signature", subject=subject)
        call("DELETE", "/v2/a/manifests/sig")
        call.connection.close()
    content = Content(root)
    assert sweep(content, grace=0, untagged=True).manifests == 0
    assert content.has(signature)


def test_not_while_a_server_runs(root: str) -> None:
    with registry.serve(root), pytest.raises(RegistryError, match="serves it"):
        sweep(Content(root))
