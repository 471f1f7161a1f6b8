"""A container fills the disk that the store is on. It gets ENOSPC, can make room again, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine

FILL = """
mkdir /d
dd if=/dev/zero of=/d/big bs=64k 2>/dev/null && echo 'the disk has no end'
for i in 1 2 3; do mkdir /d/$i; mv /d/$i /d/renamed$i; ln -s a /d/link$i; done
python3 - <<'X'
import errno, os
made = 0
try:
    while made < 50000:
        os.mkdir(f"/d/x{made}")
        made += 1
except OSError as error:
    print("mkdir ends with", errno.errorcode[error.errno])
for path in ("/etc/passwd", "/d/x0/file"):
    try:
        with open(path, "a") as file:
            file.write("x" * 100000)
        print("written to", path)
    except OSError as error:
        print(path, errno.errorcode[error.errno])
X
rm /d/big
echo after > /d/after
cat /d/after /etc/passwd > /d/both
count=$(ls /d | grep -c .)
echo $count
"""


@pytest.fixture
def small_disk() -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small disk")
    place = Path(tempfile.mkdtemp(prefix="pycontain-full-", dir="/tmp"))
    words = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        place.rmdir()
        pytest.skip("this host lets nobody mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


def test_full_disk(small_disk: Path) -> None:
    cli = CommandLine(str(small_disk / "store"))
    cli("run", "--rm", "host/base", "true")
    used = sum(path.stat().st_blocks for path in small_disk.rglob("*") if path.is_file()) * 512
    size = used // 4096 * 4 + (32 << 10)  # KiB: some room is left, and a disk that is soon full
    subprocess.run(["mount", "-o", f"remount,size={size}k", str(small_disk)], check=True)
    try:
        done = cli("run", "--name", "filler", "host/base", "sh", "-c", FILL)
        lines = done.stdout.splitlines()
        assert "mkdir ends with ENOSPC" in lines
        assert "/etc/passwd ENOSPC" in lines and "/d/x0/file ENOSPC" in lines
        count = int(lines[-1])
        assert count > 10
        assert done.stdout.endswith(
            cli("logs", "filler").stdout
        )  # what was said while there was no room is lost
        status = cli("kernel", "status").stdout
        assert "failures:        none" in status, status
        # what the container did is there, for others to read and for its next start
        assert len(cli("diff", "filler").stdout.splitlines()) > count
        cli("commit", "filler", "filled")
        again = cli("run", "--rm", "filled", "sh", "-c", "ls /d | grep -c .; cat /d/both | head -1").stdout
        assert again.splitlines() == [str(count), "after"]
        cli("kernel", "stop")
        assert cli("run", "--rm", "filled", "cat", "/d/after").stdout == "after\n"
        cli("rm", "filler")
    finally:
        cli("kernel", "stop")


def test_no_room_to_begin_with(small_disk: Path) -> None:
    """Each verb that writes ends in one line and 125, and leaves what was there."""
    cli = CommandLine(str(small_disk / "store"))
    cli("run", "--rm", "host/base", "true")
    filler = small_disk / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    with filler.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x")
    try:
        for words in (
            ["run", "--rm", "host/base", "true"],
            ["create", "host/base"],
            ["import", "-"],
            ["tag", "host/base", "other"],
        ):
            done = cli(*words, code=125, stdin=b"")
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
            assert "o space left" in done.stderr or words[0] == "import"
        filler.unlink()
        assert cli("run", "--rm", "host/base", "echo", "again").stdout == "again\n"
        assert cli("ps", "-aq").stdout == ""
    finally:
        cli("kernel", "stop")
