"""The fast path's compiled part: is it what its source says, and does it keep within its tables?"""

from __future__ import annotations

import os
import platform
import select
import shutil
import subprocess

import pytest

from pycontain.platforms.trap.fastpath import FastPath, build, native

HERE = os.path.dirname(os.path.abspath(__file__))
DEBIAN_12 = "gcc (Debian 12.2.0-14"

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="there is none for this machine")


def version_of_gcc() -> str:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    return subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout


def symbols(path: str) -> set[str]:
    shown = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True)
    return {line.split()[-1] for line in shown.stdout.splitlines()}


def test_it_is_its_source(tmp_path: object) -> None:
    version = version_of_gcc()
    again, kept = f"{tmp_path}/again.so", os.path.join(build.HERE, build.LIBRARY)
    build.compile_to(again)
    assert symbols(again) == symbols(kept)
    if not version.startswith(DEBIAN_12):
        pytest.skip(f"another compiler makes other code: {version.splitlines()[0]}")
    with open(again, "rb") as one, open(kept, "rb") as other:
        assert one.read() == other.read(), "run python -m pycontain.platforms.trap.fastpath.build"


def test_random_calls_stay_within_the_tables(tmp_path: object) -> None:
    """With the sanitizers, which end the program at the first wrong access."""
    version_of_gcc()
    program = f"{tmp_path}/fuzz"
    made = subprocess.run(
        ["gcc", "-O1", "-std=gnu11", "-w", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
         f"-I{build.HERE}", "-o", program, f"{HERE}/fuzz_fastpath.c"],
        capture_output=True, text=True,
    )  # fmt: skip
    if "cannot find -lasan" in made.stderr or "libasan" in made.stderr:
        pytest.skip("needs gcc's sanitizers")
    assert made.returncode == 0, made.stderr
    for seed in range(1, 4):
        run = subprocess.run(
            [program, str(seed), "100000", str(tmp_path)], capture_output=True, text=True, timeout=120
        )
        assert run.returncode == 0, run.stderr[-3000:]
        answered = int(run.stdout.split()[0])
        assert answered > 1000, run.stdout  # else nothing was tried


def test_events_pass_through(tmp_path: object) -> None:
    poll = select.epoll()
    fast = FastPath.load(poll)
    if fast is None:
        pytest.skip("this host maps no code of ours, or PYCONTAIN_FASTPATH is 0")
    assert fast.wait(0) == []
    ends = [os.pipe() for _ in range(100)]
    try:
        for readable, writable in ends:
            poll.register(readable, select.EPOLLIN)
            os.write(writable, b"x")
        seen: set[int] = set()
        while len(seen) < 100:
            for fd, events in fast.wait(0):
                assert events == select.EPOLLIN
                seen.add(fd)
                poll.unregister(fd)
        assert seen == {readable for readable, _ in ends}
        assert fast.wait(0) == []
    finally:
        for pair in ends:
            for fd in pair:
                os.close(fd)
        poll.close()


def test_it_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAIN_FASTPATH", "0")
    assert FastPath.load(select.epoll()) is None


def test_another_machine_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.platform, "machine", lambda: "sparc")
    assert FastPath.load(select.epoll()) is None
