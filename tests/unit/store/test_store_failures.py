"""The host says no in the middle of something: one clear line, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pycontain.errors import StoreError
from pycontain.store import Store
from pycontain.store.relay import Relay

FULL = """
import resource, sys
from pycontain.errors import StoreError
from pycontain.image import media_types
from pycontain.store import Store
sys.path.insert(0, sys.argv[3])
from store_world import compress, tar_of
store = Store.open(sys.argv[1])
data = compress(tar_of([("f", bytes(range(256)) * 5000)]), sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.layers.ingest([data[at : at + 9999] for at in range(0, len(data), 9999)], media_types.layer_type(sys.argv[2]))
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("method", ["none", "gzip", "zstd"])
def test_no_room_for_a_layer(store: Store, method: str) -> None:
    """A limit on the size of files stands for a full disk."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, store.root, method, os.path.dirname(__file__)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout in ("store layer: File too large\n", "store blob: File too large\n"), done.stdout
    assert os.listdir(store.tmp) == os.listdir(f"{store.root}/blobs/sha256") == store.layers.list() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_may_only_be_read(store: Store) -> None:
    os.chmod(f"{store.root}/blobs/sha256", 0o500)
    with pytest.raises(StoreError, match="store blob: Permission denied"):
        store.blobs.write_bytes(b"x")


def test_a_root_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"open store .*Not a directory.*PYCONTAIN_ROOT"):
        Store.open(str(tmp_path / "file" / "store"))


def test_the_default_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAIN_ROOT", str(tmp_path / "a"))
    assert Store.open().root == str(tmp_path / "a")
    monkeypatch.delenv("PYCONTAIN_ROOT")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "b"))
    assert Store.open().root == str(tmp_path / "b" / "pycontain")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert Store.open().root == str(tmp_path / "c" / ".local/share/pycontain")


def test_a_relay_keeps_the_order_and_uses_a_thread_for_more_than_one_piece() -> None:
    taken: list[tuple[bytes, bool]] = []
    main = threading.get_ident()
    relay = Relay(lambda data: taken.append((data, threading.get_ident() == main)))
    relay.put(b"only")
    relay.close()
    assert taken == [(b"only", True)]
    relay = Relay(lambda data: taken.append((data, threading.get_ident() == main)))
    for number in range(100):
        relay.put(b"%d" % number)
    relay.close()
    assert taken[1:] == [(b"%d" % number, False) for number in range(100)]


def test_what_a_relay_s_consumer_raises_comes_out() -> None:
    def consume(data: bytes) -> None:
        raise StoreError("no")

    relay = Relay(consume)
    with pytest.raises(StoreError):
        for _ in range(1000):
            relay.put(b"x")
    with pytest.raises(StoreError):
        relay.close()
    relay = Relay(consume)
    relay.put(b"x")
    with pytest.raises(StoreError):
        relay.close()
    relay = Relay(consume)
    relay.put(b"x")
    relay.stop()
