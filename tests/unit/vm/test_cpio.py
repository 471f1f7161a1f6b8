"""The cpio writer, read back by cpio(1) where there is one, and byte by byte."""

from __future__ import annotations

import shutil
import stat
import subprocess

import pytest

from pycontain.vm.cpio import Member, archive


def test_one_file_byte_by_byte() -> None:
    data = archive([Member(b"init", stat.S_IFREG | 0o755, b"hello")])
    assert data[:6] == b"070701"
    assert int(data[14:22], 16) == stat.S_IFREG | 0o755
    assert int(data[54:62], 16) == 5
    assert data[110:115] == b"init\0"
    assert data[116:121] == b"hello"
    assert b"TRAILER!!!" in data and len(data) % 512 == 0


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_lists_it() -> None:
    data = archive(
        [Member(b"dev", stat.S_IFDIR | 0o755), Member(b"dev/console", stat.S_IFCHR | 0o600, b"", 5, 1)]
    )
    done = subprocess.run(["cpio", "-tv"], input=data, capture_output=True, check=True, timeout=20)
    assert "5,   1" in done.stdout.decode() and "dev/console" in done.stdout.decode()
