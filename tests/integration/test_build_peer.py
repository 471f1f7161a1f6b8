"""Layers that we write against those that buildah writes of the same context: the same bytes."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pycontain.build.builder import build
from pycontain.build.progress import Quiet
from pycontain.image.digest import digest_bytes
from pycontain.store import Store

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="buildah's chroot isolation needs root here"),
]

DOCKERFILE = """FROM scratch
COPY a /a
COPY dir /d/e/
COPY --chown=5:6 --chmod=755 a dir/f /q/
COPY [".", "/whole/"]
COPY deep/{name} /{name}
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    name = "n" * 120
    for path, text in {
        "a": "hi\n",
        "dir/f": "x",
        "dir/sub/t": "t" * 5000,
        "z é/q": "",
        f"deep/{name}": "long",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "dir/f").chmod(0o600)
    (root / "dir/sub").chmod(0o750)
    (root / "dir/link").symlink_to("f")
    (root / "dir/long").symlink_to("/t/" + "l" * 120)
    (root / "Dockerfile").write_text(DOCKERFILE.format(name=name))
    return root


def buildahs_layers(context: Path, work: Path) -> list[bytes]:
    """The uncompressed layer tars of buildah's image."""
    common = [
        "buildah",
        "--storage-driver",
        "vfs",
        "--root",
        str(work / "root"),
        "--runroot",
        str(work / "run"),
    ]
    subprocess.run(
        [
            *common,
            "bud",
            "-q",
            "--isolation",
            "chroot",
            "--timestamp",
            "0",
            "--layers",
            "-t",
            "peer",
            str(context),
        ],
        check=True,
        capture_output=True,
    )
    try:
        subprocess.run(
            [*common, "push", "-q", "peer", f"oci:{work}/oci:peer"], check=True, capture_output=True
        )
    finally:
        subprocess.run([*common, "rmi", "-a", "-f"], check=False, capture_output=True)

    def blob(descriptor: dict[str, str]) -> bytes:
        return (work / "oci" / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()

    index = json.loads((work / "oci" / "index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]))
    return [gzip.decompress(blob(layer)) for layer in manifest["layers"]]


def without_type_bits(tar: bytes) -> bytes:
    """A tar whose modes have no file type bits.

    containers/storage keeps those bits for the sake of old digests; BuildKit and we do not write them.
    """
    out = bytearray(tar)
    at = 0
    while at < len(out) and out[at]:
        mode, size = int(out[at + 100 : at + 107], 8), int(out[at + 124 : at + 135], 8)
        out[at + 100 : at + 108] = b"%07o\0" % (mode & 0o7777)
        out[at + 148 : at + 156] = b" " * 8
        out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
        at += 512 + (size + 511) // 512 * 512
    return bytes(out)


def test_layers_are_buildahs(context: Path, tmp_path: Path) -> None:
    theirs = [without_type_bits(tar) for tar in buildahs_layers(context, tmp_path / "peer")]
    store = Store.open(str(tmp_path / "store"))
    with open(os.devnull, "w") as nowhere:
        image = build(
            store, str(context), build_args={"SOURCE_DATE_EPOCH": "0"}, progress=Quiet(nowhere), tags=["peer"]
        )
    for number, (diff_id, tar) in enumerate(zip(image.config.diff_ids, theirs, strict=True)):
        ours = Path(store.layers.get(diff_id).tar_path).read_bytes()
        assert digest_bytes(ours) == diff_id
        assert ours == tar, f"layer {number}"
