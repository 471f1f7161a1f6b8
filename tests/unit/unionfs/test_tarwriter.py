from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from pycontain.errors import LayerError
from pycontain.unionfs.index import OPAQUE, WHITEOUT
from pycontain.unionfs.tarstream import read_tar
from pycontain.unionfs.tarwriter import TarWriter

REGULAR, DIRECTORY, LINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
SECOND = 1_000_000_000

GO = "de64fde313300f81a057e2578dc0e09d2a2a1f9bfb3ee3b0848ace786d832a9a"
"""sha256 of what Go 1.2x's archive/tar writes for the members of test_bytes_are_those_of_go."""


def _writer() -> tuple[bytearray, TarWriter]:
    out = bytearray()
    return out, TarWriter(out.extend)


def test_bytes_are_those_of_go() -> None:
    out, tar = _writer()
    late = 5 * SECOND
    tar.add(
        b"etc/passwd",
        mode=REGULAR | 0o644,
        uid=1,
        gid=2,
        size=700,
        mtime_ns=1700000000 * SECOND,
        content=[b"x" * 700],
    )
    tar.add(b"etc", mode=DIRECTORY | 0o1777)
    tar.add(b"bin", mode=LINK | 0o777, link=b"usr/bin", mtime_ns=late)
    tar.add(b"hard", mode=REGULAR | 0o644, link=b"etc/passwd", hardlink=True, mtime_ns=late)
    tar.add(b"dev/null", mode=stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3), mtime_ns=late)
    tar.add(b"fifo", mode=stat.S_IFIFO | 0o666, mtime_ns=late)
    tar.add(b"d/" * 60 + b"f", mode=REGULAR | 0o666, mtime_ns=late)
    tar.add((b"abcdefghi/" * 20)[:-1], mode=DIRECTORY | 0o666, mtime_ns=late)
    tar.add(b"n" * 150, mode=REGULAR | 0o666, mtime_ns=late)
    tar.add(b"x/" + b"n" * 97, mode=DIRECTORY | 0o666, mtime_ns=late, xattrs={b"user.a": b"b"})
    tar.add(b"x/" + b"n" * 98 + b"/yy", mode=DIRECTORY | 0o666, mtime_ns=late, xattrs={b"user.a": b"b"})
    tar.add("sub/caf\u00e9".encode(), mode=REGULAR | 0o666, mtime_ns=late)
    tar.add(b"sub/l", mode=LINK | 0o777, link="caf\u00e9".encode() + b"t" * 120, mtime_ns=late)
    tar.add(b"sub/big", mode=REGULAR | 0o666, uid=3000000, gid=4000000, mtime_ns=late)
    tar.add(b"sub/ns", mode=REGULAR | 0o4755, mtime_ns=1700000000 * SECOND + 120000000)
    tar.add(b"sub/neg", mode=REGULAR | 0o4755, mtime_ns=-2 * SECOND + 250000000)
    tar.add(b"sub/cap", mode=DIRECTORY | 0o755, mtime_ns=late, xattrs={b"security.capability": b"\x01\0\0\2"})
    tar.add(
        b"d/" * 60 + b"g", mode=REGULAR | 0o755, mtime_ns=late, xattrs={b"user.z": b"v" * 90, b"user.y": b"q"}
    )
    tar.add(b"", mode=DIRECTORY | 0o755, mtime_ns=late)
    tar.close()
    assert hashlib.sha256(out).hexdigest() == GO
    with tarfile.open(fileobj=io.BytesIO(out)) as readable:
        assert len(readable.getmembers()) == 19


def test_what_is_written_is_read_back() -> None:
    out, tar = _writer()
    tar.add(b"dir", mode=DIRECTORY | 0o2755, uid=5_000_000, gid=6, mtime_ns=SECOND + 1)
    tar.add(
        b"dir/" + b"\xff" * 200,
        mode=REGULAR | 0o644,
        size=3,
        content=[b"a", b"bc"],
        xattrs={b"user.x": b"\n=\0"},
    )
    tar.add(b"dir/later", mode=REGULAR, mtime_ns=9_000_000_000 * SECOND)
    tar.whiteout(b"dir/gone")
    tar.whiteout(b"gone", mtime_ns=SECOND)
    tar.opaque(b"dir")
    tar.opaque(b"")
    tar.close()
    entries = read_tar([bytes(out)])
    assert entries[0][:5] == (b"dir", DIRECTORY | 0o2755, 5_000_000, 6, SECOND + 1)
    assert entries[1].path == b"dir/" + b"\xff" * 200
    assert entries[1].xattrs == {b"user.x": b"\n=\0"}
    assert bytes(out[entries[1].offset :][:3]) == b"abc"
    assert entries[2].mtime == 9_000_000_000 * SECOND
    hides = [(entry.kind, entry.path) for entry in entries[3:]]
    assert hides == [(WHITEOUT, b"dir/gone"), (WHITEOUT, b"gone"), (OPAQUE, b"dir"), (OPAQUE, b"")]
    assert entries[4].mtime == SECOND


def test_nanoseconds_can_be_cut_off() -> None:
    out = bytearray()
    tar = TarWriter(out.extend, subsecond=False)
    tar.add(b"f", mode=REGULAR, mtime_ns=7 * SECOND + 5)
    assert len(out) == 512
    assert read_tar([bytes(out)])[0].mtime == 7 * SECOND


def test_content_from_a_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    out, tar = _writer()
    with path.open("rb", buffering=0) as file:
        file.seek(4)
        tar.add(b"f", mode=REGULAR, size=5, content=file.fileno())
    assert bytes(out[512:]) == b"45678".ljust(512, b"\0")


@pytest.mark.parametrize("content", [[b"abc"], [b"abc", b"defg"], None, []])
def test_content_of_another_size_is_an_error(content: list[bytes] | None) -> None:
    _, tar = _writer()
    with pytest.raises(LayerError, match="not 5"):
        tar.add(b"f", mode=REGULAR, size=5, content=content)


def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123")
    _, tar = _writer()
    with path.open("rb", buffering=0) as file, pytest.raises(LayerError, match="did it change"):
        tar.add(b"f", mode=REGULAR, size=5, content=file.fileno())


def test_sockets_have_no_place_in_a_tar() -> None:
    _, tar = _writer()
    with pytest.raises(LayerError, match="no place"):
        tar.add(b"s", mode=stat.S_IFSOCK | 0o755)


def test_long_pax_records_count_their_own_digits() -> None:
    for length in range(80, 110):
        out, tar = _writer()
        tar.add(b"f", mode=REGULAR, xattrs={b"user.a": b"v" * length})
        assert read_tar([bytes(out)])[0].xattrs == {b"user.a": b"v" * length}
