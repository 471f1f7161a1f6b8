from __future__ import annotations

import io
import os
import random
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from pycontain.errors import PycontainError
from pycontain.unionfs.index import HARD_LINK, NODE, OPAQUE, WHITEOUT, Entry
from pycontain.unionfs.tarstream import TarParser, clean_path, number, read_tar, read_tar_file

KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.LNKTYPE: stat.S_IFREG,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


def _tar(*members: tuple[str, dict[str, object], bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar by Python's tarfile: name, TarInfo's attributes, content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, encoding="utf-8") as tar:
        for name, attributes, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


SAMPLE = (
    ("dir", {"type": tarfile.DIRTYPE, "mode": 0o2755, "uid": 1, "gid": 2, "mtime": 1000}, b""),
    ("dir/file", {"mode": 0o4711, "uid": 0o7777777, "gid": 3, "mtime": 2000}, b"content" * 200),
    ("dir/empty", {}, b""),
    ("dir/" + "long" * 40 + "/" + "x" * 120, {}, b"1"),
    ("sym", {"type": tarfile.SYMTYPE, "linkname": "../" + "t" * 150}, b""),
    ("hard", {"type": tarfile.LNKTYPE, "linkname": "dir/file"}, b""),
    ("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b""),
    ("disk", {"type": tarfile.BLKTYPE, "devmajor": 259, "devminor": 70000}, b""),
    ("fifo", {"type": tarfile.FIFOTYPE}, b""),
    ("caf\u00e9", {"uid": 3_000_000}, b"z"),
)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_all_types_in_both_dialects(format: int) -> None:
    data = _tar(*SAMPLE, format=format)
    entries = read_tar([data])
    assert len(entries) == len(SAMPLE)
    for (name, attributes, content), entry in zip(SAMPLE, entries, strict=True):
        kind = attributes.get("type", tarfile.REGTYPE)
        assert entry.path == name.encode()
        assert stat.S_IFMT(entry.mode) == KINDS[kind]  # type: ignore[index]
        assert stat.S_IMODE(entry.mode) == attributes.get("mode", 0o644)
        assert (entry.uid, entry.gid) == (attributes.get("uid", 0), attributes.get("gid", 0))
        assert entry.mtime == int(str(attributes.get("mtime", 0))) * 10**9
        assert entry.size == len(content)
        if kind == tarfile.REGTYPE:
            assert data[entry.offset :][: entry.size] == content
        else:
            assert entry.offset == -1
        assert entry.kind == (HARD_LINK if kind == tarfile.LNKTYPE else NODE)
        link = attributes.get("linkname")
        assert entry.link == (str(link).encode() if link else None)
    assert entries[6].rdev == os.makedev(1, 3)
    assert entries[7].rdev == os.makedev(259, 70000)


def test_pieces_may_have_any_size() -> None:
    data = _tar(*SAMPLE)
    whole = read_tar([data])
    for size in (1, 7, 511, 512, 513, 1000, 4096):
        assert read_tar(data[at : at + size] for at in range(0, len(data), size)) == whole


def test_a_file_is_read_by_seeking(tmp_path: Path) -> None:
    data = _tar(*SAMPLE, ("big", {}, b"x" * 300_000), ("after", {}, b"1"))
    path = tmp_path / "tar"
    path.write_bytes(data)
    with path.open("rb", buffering=0) as file:
        assert read_tar_file(file.fileno()) == read_tar([data])
    path.write_bytes(data[:200_000])
    with path.open("rb", buffering=0) as file, pytest.raises(PycontainError, match="truncated"):
        read_tar_file(file.fileno())


def test_pax_times_and_attributes() -> None:
    headers = {
        "mtime": "1700000000.123456789",
        "SCHILY.xattr.user.note": "caf\u00e9",
        "SCHILY.xattr.security.capability": "\x01\x02",
        "atime": "1.5",
        "comment": "x",
        "LIBARCHIVE.xattr.user.b%20c": "eHl6",
    }
    data = _tar(
        ("f", {"pax_headers": headers, "mtime": 0}, b""), ("g", {"pax_headers": {"mtime": "-1.25"}}, b"")
    )
    first, second = read_tar([data])
    assert first.mtime == 1_700_000_000_123_456_789
    assert first.xattrs == {
        b"user.note": "caf\u00e9".encode(),
        b"security.capability": b"\x01\x02",
        b"user.b c": b"xyz",
    }
    assert second.mtime == -1_250_000_000
    assert second.xattrs is None


def test_a_global_header_says_nothing_about_members() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", pax_headers={"path": "evil", "mtime": "5"}) as tar:
        tar.addfile(tarfile.TarInfo("good"))
    entries = read_tar([out.getvalue()])
    assert [(entry.path, entry.mtime) for entry in entries] == [(b"good", 0)]


def test_whiteouts() -> None:
    data = _tar(
        ("dir/.wh.gone", {}, b""),
        (".wh.top", {}, b""),
        ("dir/.wh..wh..opq", {}, b""),
        (".wh..wh..opq", {}, b""),
        (".wh..wh.plnk/1.2", {}, b"aufs"),
        (".wh..wh.aufs", {}, b""),
        ("not.wh.one", {}, b""),
    )
    assert [(entry.kind, entry.path) for entry in read_tar([data])] == [
        (WHITEOUT, b"dir/gone"),
        (WHITEOUT, b"top"),
        (OPAQUE, b"dir"),
        (OPAQUE, b""),
        (NODE, b"not.wh.one"),
    ]
    assert all(entry.kind == NODE for entry in read_tar([data], whiteouts=False))


def test_names_are_cleaned_and_the_last_of_equal_names_wins() -> None:
    data = _tar(
        ("./", {"type": tarfile.DIRTYPE, "mode": 0o700}, b""),
        ("./usr//bin/./x", {}, b"first"),
        ("usr", {"type": tarfile.DIRTYPE}, b""),
        (".wh.x", {}, b""),
        ("usr/bin/x", {}, b"second"),
        ("x", {}, b""),
    )
    entries = read_tar([data])
    assert [entry.path for entry in entries] == [b"", b"usr", b"x", b"usr/bin/x", b"x"]
    assert data[entries[3].offset :][:6] == b"second"
    assert [entry.kind for entry in entries] == [NODE, NODE, WHITEOUT, NODE, NODE]


def test_the_end() -> None:
    data = _tar(("f", {}, b"x"))
    assert len(read_tar([data + b"rubbish" * 100])) == 1  # not looked at, as everywhere
    assert len(read_tar([data[:1024]])) == 1  # no end mark: whole, if between members
    assert read_tar([]) == []
    parser = TarParser()
    parser.feed(data[:1024])
    assert not parser.ended
    parser.feed(data[1024:])
    assert parser.ended


def test_only_what_lies_before_the_next_header_is_skipped() -> None:
    parser = TarParser()
    parser.feed(_tar(("f", {}, b"x" * 2000))[:512])
    assert parser.wanted == 512 + 2048
    with pytest.raises(ValueError, match="next header"):
        parser.skip(4000)


def test_numbers() -> None:
    assert number(b"0000644\0", "mode") == 0o644
    assert number(b"    644 ", "mode") == 0o644
    assert number(b"\0" * 8, "mode") == 0
    assert number(b"\x80" + (1 << 40).to_bytes(11, "big"), "size") == 1 << 40


def test_clean_path() -> None:
    assert clean_path(b"./a//b/.") == b"a/b"
    assert clean_path(b"./") == clean_path(b".") == clean_path(b"/") == b""


@pytest.mark.skipif(not shutil.which("tar"), reason="GNU tar is not here")
def test_gnu_tar_s_own_archives(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / ("d" * 120)).mkdir(parents=True)
    (root / ("d" * 120) / "file").write_bytes(b"content")
    (root / "link").symlink_to("t" * 200)
    os.link(root / ("d" * 120) / "file", root / "zhard")
    os.mkfifo(root / "fifo")
    for dialect in ("gnu", "posix", "ustar", "v7", "oldgnu"):
        out = subprocess.run(
            ["tar", "-C", str(root), f"--format={dialect}", "--sort=name", "-cf", "-", "."],
            capture_output=True,
            check=False,
        ).stdout
        entries = {entry.path: entry for entry in read_tar([out])}
        if dialect in ("gnu", "posix", "oldgnu"):
            assert entries[b"link"].link == b"t" * 200
            file = entries[b"d" * 120 + b"/file"]
            assert out[file.offset :][:7] == b"content"
            assert entries[b"zhard"].link == file.path
        if dialect == "posix":
            assert entries[b"fifo"].mtime == os.lstat(root / "fifo").st_mtime_ns


def test_damaged_archives_give_entries_or_an_error_of_ours() -> None:
    chance = random.Random(3)
    data = _tar(*SAMPLE, ("f", {"pax_headers": {"SCHILY.xattr.user.a": "b", "mtime": "1.5"}}, b""))
    refused = 0
    for _ in range(3000):
        damaged = bytearray(data[: chance.choice((len(data), chance.randrange(len(data))))])
        for _ in range(chance.randint(0, 3)):
            if damaged:
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        _try(bytes(damaged))
        # With checksums put right again the damage reaches the fields.
        for at in range(0, len(damaged) - 512, 512):
            if damaged[at + 257 : at + 262] == b"ustar":
                total = sum(damaged[at : at + 512]) - sum(damaged[at + 148 : at + 156]) + 8 * 32
                damaged[at + 148 : at + 156] = b"%06o\0 " % total
        refused += not _try(bytes(damaged))
    assert 500 < refused < 2900


def _try(data: bytes) -> list[Entry] | None:
    try:
        entries = read_tar([data])
    except PycontainError as error:
        assert "\n" not in str(error)
        return None
    for entry in entries:
        parts = entry.path.split(b"/")
        assert b".." not in parts and b"." not in parts and b"\0" not in entry.path
        assert not entry.path.startswith(b"/")
        assert entry.size >= 0 and entry.offset + entry.size <= len(data)
    return entries
