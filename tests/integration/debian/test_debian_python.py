"""Debian's python3 and its own tests of the system: no failure that the same Python has not on the host."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from debian_user import DebianUser

pytestmark = pytest.mark.debian

QUICK = ["test_os", "test_posix", "test_mmap", "test_fcntl", "test_shutil"]
LONG = ["test_subprocess", "test_socket", "test_signal", "test_threading"]
LONGEST = 800  # seconds; alone on the machine a minute or two
FAILED = re.compile(r"^(?:FAIL|ERROR): (\w+) \((?:test\.)?(\w+)\.(\w+)", re.M)


@pytest.fixture(scope="session")
def debian_directory(debian_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same root as a directory of the host, for chroot."""
    if os.geteuid():
        pytest.skip("chroot needs root")
    directory = tmp_path_factory.mktemp("chroot")
    subprocess.run(["tar", "-C", directory, "--exclude=./dev/*", "-xf", debian_tar], check=True, timeout=300)
    yield directory


def _failures(report: str) -> set[str]:
    return {".".join(match) for match in FAILED.findall(report)}


def _tests(names: list[str]) -> str:
    return f"cd /tmp; python3 -m test.regrtest -W -j4 --timeout 200 {' '.join(names)}"


def _alone(failed: set[str]) -> str:
    methods = " ".join(f"-m {name.split('.')[0]}" for name in sorted(failed))
    return f"cd /tmp; python3 -m test.regrtest -W {methods} {' '.join(sorted({x.split('.')[1] for x in failed}))}"


def _compare(user: DebianUser, names: list[str], request: pytest.FixtureRequest) -> None:
    done = subprocess.run(
        [*user.program, "run", "--rm", user.IMAGE, "sh", "-c", f"exec 2>&1; {_tests(names)}"],
        env=user.environment,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    report = done.stdout + done.stderr
    assert (
        f"Total tests: run={len(names)}" in report
        or re.search(rf"(All )?{len(names)} tests? OK", report)
        or (done.returncode == 2)
    ), report[-6000:]
    failed = _failures(report)
    if done.returncode == 0:
        return
    # what failed here may fail on the host too; anything else that went wrong (a hang, a crash) may not
    assert failed, report[-6000:]
    # once more, alone: ports are the host's, and some of these tests expect that a free one stays free
    alone = user("run", "--rm", user.IMAGE, "sh", "-c", f"{_alone(failed)}; exit 0").stdout
    if "Tests result: SUCCESS" in alone:
        return
    root = request.getfixturevalue("debian_directory")
    script = f"mount -t proc proc {root}/proc; mount --rbind /dev {root}/dev; chroot {root} sh -c '{_tests(names)}'"
    host = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    more = failed - _failures(host.stdout + host.stderr)
    assert not more, f"fail in a container only: {sorted(more)}\n{report[-6000:]}"


@pytest.mark.timeout(2 * LONGEST + 60)
def test_python_s_tests_of_files(either: DebianUser, request: pytest.FixtureRequest) -> None:
    _compare(either, QUICK, request)


@pytest.mark.hours
@pytest.mark.timeout(2 * LONGEST + 60)
def test_python_s_tests_of_processes_and_sockets(either: DebianUser, request: pytest.FixtureRequest) -> None:
    _compare(either, LONG, request)


def test_python_s_tests_by_the_first_process(either: DebianUser) -> None:
    """regrtest's workers lead groups of their own; here they are children in the group of process 1."""
    out = either("run", "--rm", either.IMAGE, "python3", "-m", "test", "-q", "test_posix").stdout
    assert "Tests result: SUCCESS" in out


def test_python_s_modules(either: DebianUser) -> None:
    """Processes, shared memory, semaphores and sockets of the standard library, together."""
    out = either.sh(
        """python3 - <<'END'
import asyncio, concurrent.futures, multiprocessing, multiprocessing.shared_memory, os, pty, sqlite3, ssl, tempfile
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(3) as pool:
        print(sum(pool.map(abs, range(-100, 0))))
    block = multiprocessing.shared_memory.SharedMemory(create=True, size=100)
    block.buf[0] = 7; other = multiprocessing.shared_memory.SharedMemory(block.name); print(other.buf[0])
    other.close(); block.close(); block.unlink()
    lock, value = multiprocessing.Lock(), multiprocessing.Value("i", 0)
    async def main():
        child = await asyncio.create_subprocess_exec("sh", "-c", "cat; exit 3", stdin=-1, stdout=-1)
        out, _ = await child.communicate(b"through"); return out, child.returncode
    print(asyncio.run(main()))
    with sqlite3.connect("/tmp/base") as base:
        base.execute("pragma journal_mode=wal"); base.execute("create table t(x)")
        base.executemany("insert into t values(?)", [(n,) for n in range(1000)])
        print(base.execute("select sum(x) from t").fetchone())
    print(pty.spawn(["sh", "-c", "test -t 0 && exit 4"]) >> 8)
    ssl.create_default_context()
END
"""
    )
    assert out == "5050\n7\n(b'through', 3)\n(499500,)\n4\n"
