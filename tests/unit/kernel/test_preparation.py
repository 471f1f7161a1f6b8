"""Large files: the call comes again until a thread has copied them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from kernel_world import KernelWorld

from pycontain.kernel.calls import names
from pycontain.kernel.vfs import unionfs
from pycontain.kernel.vfs.preparation import Preparations
from pycontain.platforms.base import DEFERRED, Later

TEXT = b"a/b/f"  # what the world's files hold: their own path


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unionfs, "LARGE", 1)
    monkeypatch.setattr(names, "LARGE", 1)


def patiently(function: Callable[[], object]) -> tuple[object, int]:
    """(result, how often it was told to come again)."""
    deadline = time.monotonic() + 10
    for times in range(1_000_000):
        try:
            return function(), times
        except Later:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    raise AssertionError


def opened(world: KernelWorld, flags: int) -> tuple[bytes, int]:
    fs = world.container.root_fs
    inode = fs.walk(b"/a/b/f")
    fd, times = patiently(lambda: fs.open(inode, flags, world.task))
    assert isinstance(fd, int)
    try:
        return os.read(fd, 100), times
    finally:
        os.close(fd)


def test_the_first_open_comes_again(world: KernelWorld) -> None:
    text, times = opened(world, os.O_RDONLY)
    assert text == TEXT and times > 0
    assert opened(world, os.O_RDONLY) == (TEXT, 0)


def test_the_first_write_comes_again(world: KernelWorld) -> None:
    text, times = opened(world, os.O_RDWR)
    assert text == TEXT and times > 0
    assert opened(world, os.O_RDWR) == (TEXT, 0)
    fs = world.container.root_fs
    assert os.listdir(fs.files) == [str(fs.walk(b"/a/b/f").ino)]


def test_what_is_not_kept_is_not_copied(world: KernelWorld) -> None:
    assert opened(world, os.O_RDWR | os.O_TRUNC) == (b"", 0)


def test_truncate_comes_again(world: KernelWorld) -> None:
    fs = world.container.root_fs
    _, times = patiently(lambda: fs.truncate(fs.walk(b"/a/b/f"), 3))
    assert times > 0
    assert opened(world, os.O_RDONLY) == (TEXT[:3], 0)


def test_a_copy_that_somebody_made_superfluous(world: KernelWorld) -> None:
    fs = world.container.root_fs
    with pytest.raises(Later):
        fs.open(fs.walk(b"/a/b/f"), os.O_RDWR, world.task)
    assert opened(world, os.O_RDWR | os.O_TRUNC)[0] == b""
    assert opened(world, os.O_RDWR)[0] == b""


def test_what_is_shortened_comes_again(world: KernelWorld) -> None:
    fs = world.container.root_fs
    inode = fs.create(fs.root, b"own", 0o644, 0, 0)
    fd = fs.open(inode, os.O_RDWR)
    for shorten, left in (
        (lambda: fs.truncate(inode, 5), b"x" * 5),
        (lambda: os.close(fs.open(inode, os.O_WRONLY | os.O_TRUNC, world.task)), b""),
    ):
        os.pwrite(fd, b"x" * 100_000, 0)
        os.fsync(fd)  # else the host has no blocks for it yet
        _, times = patiently(shorten)
        assert times > 0
        assert os.pread(fd, 100, 0) == left
    os.close(fd)


def test_what_is_removed_is_open_still(world: KernelWorld) -> None:
    fs = world.container.root_fs
    inode = fs.walk(b"/a/b/f")
    fd, _ = patiently(lambda: fs.open(inode, os.O_RDWR, world.task))
    assert isinstance(fd, int)
    fs.unlink(fs.walk(b"/a/b"), b"f")
    assert os.read(fd, 100) == TEXT and os.fstat(fd).st_nlink == 0
    os.close(fd)
    assert os.listdir(fs.files) == []


@pytest.mark.parametrize("call", [("unlink", b"/own"), ("rename", b"/a/b/f", b"/own")])
def test_a_removal_is_answered_when_it_is_over(world: KernelWorld, call: tuple[str, ...]) -> None:
    fs, loop, answers = world.container.root_fs, world.kernel.loop, world.platform.answers
    fd = fs.open(fs.create(fs.root, b"own", 0o644, 0, 0), os.O_RDWR)
    os.write(fd, b"x" * 100_000)
    os.fsync(fd)
    os.close(fd)
    held = len(os.listdir("/proc/self/fd"))
    assert world.error("rmdir", b"/own") == "ENOTDIR" and not answers
    assert world.call(*call) is DEFERRED

    def look() -> None:
        if answers:
            loop.stop()
        else:
            loop.later(0.001, look)

    loop.later(0, look)
    loop.later(10, loop.stop)
    loop.run()
    assert answers == [0]
    assert len(os.listdir("/proc/self/fd")) == held
    assert os.listdir(fs.files) == []


def test_a_failure_is_the_callers() -> None:
    preparations = Preparations()

    def fail() -> None:
        raise OSError(28, "full")

    for _ in range(2):  # and the next one tries again
        with pytest.raises(OSError, match="full"):
            patiently(lambda: preparations.need("key", fail))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this host has one processor")
def test_it_runs_everywhere(world: KernelWorld) -> None:
    """Also when the kernel has bound itself to the processor of who calls it."""
    everywhere = os.sched_getaffinity(0)
    preparations = world.container.root_fs.preparations
    seen: list[set[int]] = []
    os.sched_setaffinity(0, {min(everywhere)})
    try:
        patiently(lambda: preparations.need("key", lambda: seen.append(os.sched_getaffinity(0))))
        assert os.sched_getaffinity(0) == {min(everywhere)}
    finally:
        os.sched_setaffinity(0, everywhere)
    assert seen == [everywhere]
