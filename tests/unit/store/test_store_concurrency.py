"""Several processes and threads in one store at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from store_world import TAR_FOR_CRASHES as TAR
from store_world import put_image

from pycontain.image import Reference, digest_bytes, media_types
from pycontain.store import Store
from pycontain.store.gc import collect

WORKER = """
import sys, os
sys.path.insert(0, os.path.dirname(sys.argv[3]))
from store_world import TAR_FOR_CRASHES, put_image
from pycontain.image import Reference, media_types
from pycontain.store import Store
from pycontain.store.gc import collect
store, number = Store.open(sys.argv[1]), int(sys.argv[2])
for turn in range(8):
    with store.lease():
        image = put_image(store, f"image-{number}-{turn}", b"shared", b"%d-%d" % (number, turn))
    store.layers.ingest([TAR_FOR_CRASHES], media_types.OCI_LAYER)[1].materialise(0)
    collect(store)
    if turn % 2:
        assert store.remove(f"image-{number}-{turn}")[-1][0] == "Deleted"
"""


def test_processes(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, root, str(number), __file__], stderr=subprocess.PIPE)
        for number in range(4)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors.decode()
    store = Store.open(root)
    names = sorted(image.reference.familiar_name for image in store.images() if image.reference)
    assert names == sorted(f"image-{number}-{turn}" for number in range(4) for turn in (0, 2, 4, 6))
    for image in store.images():
        assert image.layers[0].read(0) == b"shared"
    assert store.layers.get(digest_bytes(TAR)).read(2) == b"y"
    assert os.listdir(store.tmp) == []
    collect(store, grace=0)
    assert len(store.layers.list()) == 17


def test_threads(store: Store) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                put_image(store, f"image-{number}", b"%d" % turn)
                store.layers.ingest([TAR], media_types.OCI_LAYER)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.tags.items()) == 6
    assert os.listdir(store.tmp) == []


def test_the_lock_may_be_nested(store: Store) -> None:
    with store.lock(), store.lock():
        put_image(store, "a", b"1")
    with Store.open(store.root).lock():
        pass
    assert store.tags.get(Reference.parse("a")) is not None
