"""A tmpfs of limited size: on a file system of the host's, and on a host that lets us have none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from kernel_world import KernelWorld

from pycontain.kernel.vfs.mount import Node
from pycontain.kernel.vfs.sizedtmpfs import SizedTmpfs
from pycontain.platforms.trap import tmpfs as platform

SIZE = 1 << 20
WAYS = [platform.make, platform._in_a_namespace]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def make(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """A way in which the platform makes one."""
    fd = request.param(SIZE)
    if fd is None:
        pytest.skip("this host allows neither mounts nor user namespaces")
    os.close(fd)
    way: Callable[[int], int] = request.param
    return way


def test_the_host_keeps_the_size(make: Callable[[int], int]) -> None:
    directory = make(SIZE)
    path = f"/proc/self/fd/{directory}/file"
    with open(path, "wb", buffering=0) as file:
        assert file.write(bytes(SIZE)) == SIZE
        with pytest.raises(OSError, match="No space left") as caught:
            file.write(b"x")
    assert caught.value.errno == errno.ENOSPC
    assert os.fstatvfs(directory).f_bfree == 0
    os.unlink(path)
    assert os.fstatvfs(directory).f_blocks * 4096 == os.fstatvfs(directory).f_bfree * 4096 == SIZE
    os.close(directory)
    with open("/proc/self/mountinfo") as text:
        assert f"/proc/self/fd/{directory}" not in text.read()


def test_nothing_is_made_before_the_first_file(tmp_path: Path) -> None:
    asked: list[int] = []

    def make(size: int) -> int | None:
        asked.append(size)
        return platform.make(size)

    fs = SizedTmpfs(str(tmp_path), 5, 0o1777, SIZE - 5, make)
    assert fs.statfs()[:3] == (256, 256, 256)
    fs.mkdir(fs.root, b"directory", 0o755, 0, 0)
    fs.symlink(fs.root, b"link", b"target", 0, 0)
    assert fs.used() == 0
    assert asked == []
    fs.create(fs.root, b"file", 0o644, 0, 0)
    fs.create(fs.root, b"other", 0o644, 0, 0)
    assert asked == [SIZE]
    fs.close()


def test_figures_of_a_tmpfs_of_the_hosts(tmp_path: Path) -> None:
    fs = SizedTmpfs(str(tmp_path), 5, 0o1777, SIZE, platform.make)
    inode = fs.create(fs.root, b"file", 0o644, 0, 0)
    if not fs.is_kept_by_the_host:
        pytest.skip("this host allows neither mounts nor user namespaces")
    fd = fs.open(inode, os.O_RDWR)
    os.write(fd, bytes(SIZE // 2))
    assert fs.used() == SIZE // 2
    assert fs.statfs()[:3] == (256, 128, 128)
    assert fs.host_device == os.fstat(fd).st_dev
    assert fs.stat(inode).size == SIZE // 2
    fs.unlink(fs.root, b"file")
    assert fs.used() == SIZE // 2  # somebody still has it open
    os.close(fd)
    assert fs.used() == 0
    fs.close()
    assert list(tmp_path.iterdir()) == []


def test_without_one_files_are_looked_at_when_they_are_opened(tmp_path: Path) -> None:
    fs = SizedTmpfs(str(tmp_path), 5, 0o1777, SIZE, lambda size: None)
    inode = fs.create(fs.root, b"file", 0o644, 0, 0)
    assert not fs.is_kept_by_the_host
    with open(fs.open(inode, os.O_WRONLY), "wb") as file:
        file.write(bytes(SIZE))
    assert fs.used() == SIZE
    assert fs.statfs()[:3] == (256, 0, 0)
    for attempt in (
        lambda: fs.open(inode, os.O_WRONLY),
        lambda: fs.create(fs.root, b"more", 0o644, 0, 0),
    ):
        with pytest.raises(OSError, match="No space left"):
            attempt()
    os.close(fs.open(inode, os.O_RDONLY))
    os.close(fs.open(inode, os.O_WRONLY | os.O_TRUNC))
    fs.create(fs.root, b"more", 0o644, 0, 0)


def test_memory_counts_what_is_written_and_not_mapped(world: KernelWorld, tmp_path: Path) -> None:
    container = world.container
    fs = SizedTmpfs(str(tmp_path), 5, 0o1777, 32 << 20, platform.make)
    inode = fs.create(fs.root, b"file", 0o644, 0, 0)
    if not fs.is_kept_by_the_host:
        pytest.skip("this host allows neither mounts nor user namespaces")
    container.mount(fs, Node(container.root_mount, fs.root), b"/t")
    before = container.usage.measure_memory()
    with open(fs.open(inode, os.O_RDWR), "wb") as file:
        file.write(bytes(16 << 20))
    assert container.usage.tmpfs() == {fs.host_device: 16 << 20}
    assert container.usage.measure_memory().shared - before.shared == pytest.approx(16 << 20, abs=1 << 20)
    fs.close()
