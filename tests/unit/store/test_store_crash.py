"""SIGKILL at every point where something on the disk changes: the store is clean, and the next one goes on.

A child process works in the store; before its n-th call that changes the disk it kills itself. n goes up
until the child gets through.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from store_world import TAR_FOR_CRASHES as TAR
from store_world import compress, describe, disk, put_image

from pycontain.image import digest_bytes
from pycontain.store import Store
from pycontain.store.gc import collect

CONTENTS = [b"x" * 3000, bytes(100_000), b"y"]

CHILD = """
import os, signal, sys
root, work, kill_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, os.path.dirname(sys.argv[4]))
count = 0
def counted(real):
    def call(*args, **more):
        global count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)
    return call
from pycontain.store import Store
import pycontain.store.intake, pycontain.store.gc
from store_world import TAR_FOR_CRASHES as TAR, describe, put_image
from pycontain.image import Reference, media_types
NAMES = "rename replace link unlink mkdir rmdir pwrite fdatasync fsync ftruncate copy_file_range"
for name in NAMES.split():
    setattr(os, name, counted(getattr(os, name)))
os.makedirs = counted(os.makedirs)
store = Store.open(root)
if work == "ingest":
    store.layers.ingest([TAR[:999], TAR[999:]], media_types.OCI_LAYER)
elif work == "sink":
    with store.layers.sink() as sink:
        sink.write(TAR)
        sink.finish()
elif work == "materialise":
    for number in range(3):
        store.layers.get(sys.argv[5]).materialise(number)
elif work == "image":
    put_image(store, "new", b"content of new")
elif work == "remove":
    store.remove("old")
else:
    pycontain.store.gc.collect(store, grace=0)
"""


def _die_at_each_step(root: Path, work: str, *more: str) -> int:
    """Run the child to its end, through all its deaths; returns how often it died."""
    for step in range(1, 500):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(root), work, str(step), __file__, *more],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return step - 1
        assert done.returncode == -signal.SIGKILL, done.stderr
        _is_sound(Store.open(str(root)))
    pytest.fail("the child never got through")


def _is_sound(store: Store) -> None:
    """Everything that is there under its name is right, and nothing that is named is missing."""
    json.loads(Path(store.root, "index.json").read_bytes())
    for digest in store.blobs.list():
        assert digest_bytes(store.blobs.read(digest, 1 << 30)) == digest
    for diff_id in store.layers.list():
        layer = store.layers.get(diff_id)
        assert digest_bytes(Path(layer.tar_path).read_bytes()) == diff_id
        entries = layer.entries()
        for name in os.listdir(f"{layer.path}/files"):
            if not name.startswith("."):
                assert os.stat(f"{layer.path}/files/{name}").st_size == entries[int(name)].size
    for image in store.images():
        assert len(image.layers) == len(image.config.diff_ids)


@pytest.mark.parametrize("work", ["ingest", "sink"])
def test_taking_in_a_layer(tmp_path: Path, work: str) -> None:
    assert _die_at_each_step(tmp_path / "store", work) > 8
    store = Store.open(str(tmp_path / "store"))
    assert [entry.path for entry in store.layers.get(store.layers.list()[0]).entries()] == [b"a", b"b", b"c"]
    assert os.listdir(store.tmp) == []
    assert len(list(store.blobs.list())) == 1


def test_making_an_image(tmp_path: Path) -> None:
    assert _die_at_each_step(tmp_path / "store", "image") > 15
    store = Store.open(str(tmp_path / "store"))
    assert store.image("new").layers[0].read(0) == b"content of new"
    before = disk(store)
    collect(store, grace=0)
    assert {path for path in disk(store) if not path.startswith("index.json")} == {
        path for path in before if not path.startswith("index.json")
    }
    assert os.listdir(store.tmp) == []


def test_taking_a_file_out_of_a_layer(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    data = compress(TAR, "gzip")
    store.layers.ingest([data], describe(data, "gzip").media_type)
    assert _die_at_each_step(tmp_path / "store", "materialise", digest_bytes(TAR)) > 2
    layer = store.layers.get(digest_bytes(TAR))
    assert [Path(layer.materialise(number)).read_bytes() for number in range(3)] == CONTENTS


@pytest.mark.parametrize("work", ["remove", "collect"])
def test_removing(tmp_path: Path, work: str) -> None:
    store = Store.open(str(tmp_path / "store"))
    kept = put_image(store, "kept", b"shared", b"1")
    put_image(store, "old", b"shared", b"2")
    if work == "collect":
        store.tags.drop(store.image("old").descriptor.digest)
        assert _die_at_each_step(tmp_path / "store", work) > 3
    else:
        deaths = 0
        while store.tags.get(store.image("kept").reference._replace(repository="library/old")):  # type: ignore[union-attr]
            deaths += 1
            subprocess.run(
                [sys.executable, "-c", CHILD, store.root, work, str(deaths), __file__],
                capture_output=True,
                check=False,
            )
            _is_sound(store)
        assert deaths > 1
        collect(store, grace=0)
    assert [image.id for image in store.images()] == [kept.id]
    assert [layer.read(0) for layer in store.image("kept").layers] == [b"shared", b"1"]
    assert len(store.layers.list()) == 2
    assert len(list(store.blobs.list())) == 4
    assert os.listdir(store.tmp) == []
