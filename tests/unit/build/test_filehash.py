"""Digests are remembered while a file looks the same, and not when it could have changed unseen."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from pycontain.build.filehash import FileHashes

OLD = time.time_ns() - 10**12


def aged(path: Path) -> None:
    """Only the mtime can be set back; the ctime is now, so the entry counts as racy until time has passed."""
    os.utime(path, ns=(OLD, OLD))


def settled(path: Path) -> None:
    """Wait until the file is older than what the clock can tell apart."""
    while time.time_ns() - path.stat().st_ctime_ns < 80_000_000:
        time.sleep(0.005)


def test_remembers_between_builds(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    settled(file)
    cache = str(tmp_path / "cache" / "files")
    first = FileHashes(cache)
    assert first.digest(str(file), file.stat()) == hashlib.sha256(b"x").digest()
    first.save()
    second = FileHashes(cache)
    assert second.digest(str(file), file.stat()) == hashlib.sha256(b"x").digest()
    assert (first.hashed, second.hashed) == (1, 0)


def test_a_fresh_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    cache = str(tmp_path / "cache")
    file.write_text("x")
    first = FileHashes(cache)
    first.digest(str(file), file.stat())
    first.save()
    second = FileHashes(cache)
    second.digest(str(file), file.stat())
    assert second.hashed == 1


def test_same_size_and_mtime_but_other_bytes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    aged(file)
    settled(file)
    cache = str(tmp_path / "cache")
    first = FileHashes(cache)
    first.digest(str(file), file.stat())
    first.save()
    file.write_text("y")
    aged(file)
    second = FileHashes(cache)
    assert second.digest(str(file), file.stat()) == hashlib.sha256(b"y").digest()


def test_a_damaged_cache_is_no_cache(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    cache = tmp_path / "cache"
    for damage in (b"", b"\xc1", b"\x93\x01\x02\x03", b"\x81\xa1x\x01", b"garbage" * 100):
        cache.write_bytes(damage)
        hashes = FileHashes(str(cache))
        assert hashes.digest(str(file), file.stat()) == hashlib.sha256(b"x").digest()
        hashes.save()
