from __future__ import annotations

import random
import stat
import time
from pathlib import Path

import pytest

from pycontain.errors import LayerError
from pycontain.unionfs.index import (
    HARD_LINK,
    OPAQUE,
    WHITEOUT,
    Entry,
    pack_index,
    read_index,
    unpack_index,
    write_index,
)

ENTRIES = [
    Entry(b"", stat.S_IFDIR | 0o755),
    Entry(b"bin/\xff\xfe", stat.S_IFREG | 0o4755, 0xFFFFFFFF, 7, 1_700_000_000_123_456_789, 1 << 40, 512),
    Entry(b"link", stat.S_IFLNK | 0o777, mtime=-5, link=b"../\xfftarget"),
    Entry(b"hard", stat.S_IFREG, link=b"bin/x", kind=HARD_LINK),
    Entry(b"null", stat.S_IFCHR | 0o666, rdev=0x103, xattrs={b"user.a": b"\0\xff"}),
    Entry(b"gone", kind=WHITEOUT),
    Entry(b"dir", kind=OPAQUE),
]


def test_entries_survive(tmp_path: Path) -> None:
    path = str(tmp_path / "index")
    write_index(path, ENTRIES)
    assert read_index(path) == ENTRIES
    assert isinstance(read_index(path)[0], Entry)


def test_an_empty_index(tmp_path: Path) -> None:
    assert unpack_index(pack_index([])) == []


def test_damage_is_noticed() -> None:
    chance = random.Random(1)
    data = pack_index(ENTRIES)
    for _ in range(500):
        damaged = bytearray(data)
        damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        with pytest.raises(LayerError):
            unpack_index(bytes(damaged))
    for length in range(len(data)):
        with pytest.raises(LayerError):
            unpack_index(data[:length])


def test_a_root_of_12000_files_loads_quickly(tmp_path: Path) -> None:
    path = str(tmp_path / "index")
    write_index(
        path,
        [
            Entry(b"usr/share/doc/package%d/file%d" % (n // 9, n), stat.S_IFREG, size=n, offset=n * 512)
            for n in range(12_000)
        ],
    )
    best = 1.0
    for _ in range(5):
        start = time.perf_counter()
        assert len(read_index(path)) == 12_000
        best = min(best, time.perf_counter() - start)
    assert best < 0.06  # 0.009 on a quiet machine; the limit only catches another order of magnitude
