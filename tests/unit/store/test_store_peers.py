"""skopeo reads and writes the store in place, and both kinds of archives; digests are equal both ways."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from store_world import put_image, tar_of

from pycontain.image import ImageConfig, Reference, RunConfig
from pycontain.store import Store
from pycontain.store.archive import load, save

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed"),
]


def _skopeo(*arguments: str) -> str:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _inspect(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(_skopeo("inspect", name))
    return value


def test_the_store_is_read_in_place(store: Store) -> None:
    image = put_image(store, "x", b"1", b"2")
    found = _inspect(f"oci:{store.root}:docker.io/library/x:latest")
    assert found["Digest"] == image.descriptor.digest
    assert found["Layers"] == [layer.digest for layer in image.manifest.layers]
    assert found["Architecture"] == "amd64"


@pytest.mark.parametrize("method", ["zstd", "gzip", "none"])
def test_layers_of_all_compressions_are_read(store: Store, tmp_path: Path, method: str) -> None:
    with store.layers.sink(method) as sink:
        sink.write(tar_of([("f", b"x" * 100_000)]))
        descriptor, layer = sink.finish()
    config = ImageConfig("amd64", diff_ids=(layer.diff_id,), config=RunConfig(cmd=("/f",)))
    store.add_image(config, [descriptor], Reference.parse("x"))
    _skopeo("copy", "-q", f"oci:{store.root}:docker.io/library/x:latest", f"dir:{tmp_path}/out")
    assert (tmp_path / "out" / descriptor.digest[7:]).stat().st_size == descriptor.size
    assert _inspect(f"dir:{tmp_path}/out")["Digest"] == store.image("x").descriptor.digest


def test_what_it_writes_into_the_store_is_an_image(store: Store, tmp_path: Path) -> None:
    image = put_image(store, "x", b"1")
    other = Store.open(str(tmp_path / "other"))
    _skopeo("copy", "-q", f"oci:{store.root}:docker.io/library/x:latest", f"oci:{other.root}:localhost/y:v1")
    found = other.image("localhost/y:v1")
    assert found.descriptor.digest == image.descriptor.digest
    assert found.layers[0].read(0) == b"1"
    put_image(other, "z", b"2")
    assert _inspect(f"oci:{other.root}:localhost/y:v1")["Digest"] == image.descriptor.digest


def test_what_we_save_is_read(store: Store, tmp_path: Path) -> None:
    image = put_image(store, "x", b"1")
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        save(store, ["x"], file.write)
    assert _inspect(f"oci-archive:{path}")["Digest"] == image.descriptor.digest
    _skopeo("copy", "-q", f"docker-archive:{path}", f"dir:{tmp_path}/out")
    assert (tmp_path / "out" / image.id[7:]).exists()


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_what_it_saves_is_loaded(store: Store, tmp_path: Path, kind: str) -> None:
    image = put_image(store, "x", b"1", b"2")
    path = tmp_path / "x.tar"
    _skopeo("copy", "-q", f"oci:{store.root}:docker.io/library/x:latest", f"{kind}:{path}:user/y:v1")
    other = Store.open(str(tmp_path / "other"))
    found = load(other, io.BytesIO(path.read_bytes()))[0]
    assert str(found.reference) == "docker.io/user/y:v1"
    assert found.id == image.id
    assert [layer.read(0) for layer in found.layers] == [b"1", b"2"]
    if kind == "oci-archive":
        assert found.descriptor.digest == image.descriptor.digest
