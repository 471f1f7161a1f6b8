from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from pycontain.store.newfile import HOLE, NewFile, sweep, write_at


@pytest.fixture(params=["nameless", "hidden", "no O_TMPFILE"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file is to be hidden; the third is a file system without nameless files."""
    if request.param == "no O_TMPFILE":
        real = os.open

        def refuse(path: str, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no")
            return real(path, flags, mode)

        monkeypatch.setattr(os, "open", refuse)
    return bool(request.param == "hidden")


def test_it_appears_with_its_name(tmp_path: Path, kind: bool) -> None:
    new = NewFile(str(tmp_path), 0o444, hidden=kind)
    new.write(b"content")
    assert not (tmp_path / "name").exists()
    assert new.commit(str(tmp_path / "name"))
    assert (tmp_path / "name").read_bytes() == b"content"
    assert (tmp_path / "name").stat().st_mode & 0o777 == 0o444
    assert os.listdir(tmp_path) == ["name"]


def test_one_that_is_there_stays_unless_replaced(tmp_path: Path, kind: bool) -> None:
    (tmp_path / "name").write_bytes(b"old")
    new = NewFile(str(tmp_path), hidden=kind)
    new.write(b"new")
    assert not new.commit(str(tmp_path / "name"))
    assert (tmp_path / "name").read_bytes() == b"old"
    new = NewFile(str(tmp_path), hidden=kind)
    new.write(b"new")
    assert new.commit(str(tmp_path / "name"), replace=True)
    assert (tmp_path / "name").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["name"]


def test_it_vanishes_when_dropped(tmp_path: Path, kind: bool) -> None:
    new = NewFile(str(tmp_path), hidden=kind)
    new.write(b"x")
    new.close()
    new.close()
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NewFile(str(tmp_path / "none"))


def test_zeros_become_holes_and_read_back(tmp_path: Path) -> None:
    chance = random.Random(1)
    for number in range(40):
        data = b"".join(
            chance.choice((bytes, os.urandom))(chance.choice((1, 511, 512, 5000, HOLE, 3 * HOLE + 7)))
            for _ in range(8)
        )
        new = NewFile(str(tmp_path))
        at = 0
        while at < len(data):
            step = chance.choice((1000, HOLE, HOLE + 1, 1 << 20))
            new.write(data[at : at + step])
            at += step
        path = tmp_path / str(number)
        new.commit(str(path), sync=False)
        assert path.read_bytes() == data
    sparse = NewFile(str(tmp_path))
    sparse.write(bytes(64 << 20))
    sparse.commit(str(tmp_path / "sparse"), sync=False)
    assert (tmp_path / "sparse").stat().st_size == 64 << 20
    assert (tmp_path / "sparse").stat().st_blocks * 512 < 1 << 20


def test_write_at_leaves_the_end_to_its_caller(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    write_at(fd, b"x" + bytes(3 * HOLE - 1), 0)
    assert os.fstat(fd).st_size < 3 * HOLE
    os.close(fd)


def test_only_what_was_left_long_ago_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".new-old").touch()
    os.utime(tmp_path / ".new-old", (1, 1))
    (tmp_path / ".new-young").touch()
    (tmp_path / "other").touch()
    os.utime(tmp_path / "other", (1, 1))
    sweep(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [".new-young", "other"]
