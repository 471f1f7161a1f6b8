from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_world import KernelWorld

from pycontain.unionfs.index import Entry


def directory(path: bytes, mode: int = 0o755, uid: int = 0) -> Entry:
    return Entry(path, stat.S_IFDIR | mode, uid, uid)


def file(path: bytes, mode: int = 0o644, uid: int = 0) -> Entry:
    return Entry(path, stat.S_IFREG | mode, uid, uid, size=len(path), offset=0)


def link(path: bytes, target: bytes) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, link=target)


ENTRIES = [
    directory(b"proc"), directory(b"dev"), directory(b"sys"), directory(b"tmp", 0o1777),
    directory(b"a"), directory(b"a/b"), file(b"a/b/f"), file(b"a/secret", 0o600),
    directory(b"closed", 0o700), file(b"closed/f"), directory(b"home", 0o755, 1000), file(b"home/own", 0o640, 1000),
    link(b"to-f", b"a/b/f"), link(b"absolute", b"/a/b"), link(b"up", b"../../a"), link(b"loop", b"loop"),
    link(b"dangling", b"nowhere"), link(b"a/back", b".."),
    Entry(b"null", stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3)), Entry(b"fifo", stat.S_IFIFO | 0o644),
]  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[KernelWorld]:
    made = KernelWorld(str(tmp_path), ENTRIES)
    yield made
    made.close()
