"""Path resolution over mounts and a union tree, and what may be remembered of it."""

from __future__ import annotations

import errno
import itertools
import random

import pytest
from kernel_world import KernelWorld

from pycontain.kernel.abi import AT_FDCWD
from pycontain.kernel.task import Task
from pycontain.kernel.vfs import walk
from pycontain.kernel.vfs.mount import Node


def path(world: KernelWorld, text: bytes, *, follow: bool = True, task: Task | None = None) -> bytes | str:
    """Where a path leads, as a path; or the errno."""
    task = task or world.task
    try:
        node = walk.resolve(task, AT_FDCWD, text, follow)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return walk.path_of(world.container.root, node)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"/", b"/"), (b"/a/b/f", b"/a/b/f"), (b"a//b/./f", b"/a/b/f"), (b"/a/../a/b", b"/a/b"), (b"/../..", b"/"),
        (b"/to-f", b"/a/b/f"), (b"/absolute/f", b"/a/b/f"), (b"/up/b", b"/a/b"), (b"/a/back/a", b"/a"),
        (b"/loop", "ELOOP"), (b"/dangling", "ENOENT"), (b"/a/none", "ENOENT"), (b"/a/b/f/x", "ENOTDIR"),
        (b"/a/b/f/", "ENOTDIR"), (b"/a/b/", b"/a/b"), (b"/a/b/f/.", "ENOTDIR"), (b"/to-f/", "ENOTDIR"),
        (b"/absolute/", b"/a/b"), (b"", "ENOENT"), (b"/" + b"n" * 256, "ENAMETOOLONG"),
        (b"/proc/sys/kernel", b"/proc/sys/kernel"), (b"/dev/pts", b"/dev/pts"), (b"/dev/..", b"/"),
        (b"/dev/shm/../..", b"/"), (b"/proc/../a", b"/a"),
    ],
)  # fmt: skip
def test_paths(world: KernelWorld, text: bytes, expected: bytes | str) -> None:
    assert path(world, text) == expected
    assert path(world, text) == expected  # the second time out of the cache


def test_the_last_link_is_followed_or_not(world: KernelWorld) -> None:
    assert path(world, b"/to-f", follow=False) == b"/to-f"
    assert path(world, b"/absolute/f", follow=False) == b"/a/b/f"
    assert path(world, b"/absolute/", follow=False) == b"/a/b"


def test_links_are_counted(world: KernelWorld) -> None:
    previous = b"a"
    for number in range(walk.MAX_LINKS + 1):
        world.call("symlink", previous, b"/l%d" % number)
        previous = b"l%d" % number
    assert path(world, b"/l%d" % (walk.MAX_LINKS - 1)) == b"/a"
    assert path(world, b"/l%d" % walk.MAX_LINKS) == "ELOOP"


def test_relative_paths_start_at_the_working_directory(world: KernelWorld) -> None:
    world.call("chdir", b"/a/b")
    assert path(world, b"f") == b"/a/b/f"
    assert path(world, b"..") == b"/a"
    assert path(world, b"../../to-f") == b"/a/b/f"
    assert path(world, b".") == b"/a/b"


def test_search_permission(world: KernelWorld) -> None:
    alice = world.as_user(1000)
    assert path(world, b"/closed/f", task=alice) == "EACCES"
    assert path(world, b"/closed/none", task=alice) == "EACCES"
    assert path(world, b"/closed/.", task=alice) == "EACCES"
    assert path(world, b"/closed/", task=alice) == b"/closed"
    assert path(world, b"/closed", task=alice) == b"/closed"
    assert path(world, b"/closed/f") == b"/closed/f"


def test_what_was_remembered_is_forgotten_in_time(world: KernelWorld) -> None:
    assert path(world, b"/new/f") == "ENOENT"
    world.call("mkdir", b"/new", 0o755)
    world.call("mknod", b"/new/f", 0o100644)
    assert path(world, b"/new/f") == b"/new/f"
    world.call("rename", b"/new", b"/old")
    assert path(world, b"/new/f") == "ENOENT"
    assert path(world, b"/old/f") == b"/old/f"
    world.call("symlink", b"old", b"/new")
    assert path(world, b"/new/f") == b"/old/f"
    world.call("unlink", b"/old/f")
    assert path(world, b"/new/f") == "ENOENT"


@pytest.mark.parametrize("seed", range(20))
def test_what_is_remembered_is_what_a_walk_finds(world: KernelWorld, seed: int) -> None:
    """Names come, go and change their kind at random; every path leads where it would without any memory."""
    chance = random.Random(seed)
    names = [b"a", b"b", b"x", b"y"]
    paths = [b"/" + b"/".join(p) for n in (1, 2, 3) for p in itertools.product(names, repeat=n)]
    paths += [b"a/b", b"x", b"b/../x/y", b"/x/", b"/x/.", b"/x/y/..", b"/a//b", b"/x/" + b"n" * 256, b"/a/b/f/x", b"/proc/x"]
    changes = [
        lambda: ("mkdir", chance.choice(paths), 0o755), lambda: ("rmdir", chance.choice(paths)),
        lambda: ("mknod", chance.choice(paths), 0o100644), lambda: ("unlink", chance.choice(paths)),
        lambda: ("symlink", chance.choice(paths), chance.choice(paths)),
        lambda: ("rename", chance.choice(paths), chance.choice(paths)),
        lambda: ("renameat2", AT_FDCWD, chance.choice(paths), AT_FDCWD, chance.choice(paths), chance.choice((1, 2))),
        lambda: ("chdir", chance.choice(paths)), lambda: ("chmod", chance.choice(paths), chance.choice((0o700, 0o000))),
        lambda: ("link", chance.choice(paths), chance.choice(paths)),
        lambda: ("chown", chance.choice(paths), chance.choice((0, 1000)), 0),
    ]  # fmt: skip
    alice = world.as_user(1000)
    for _ in range(150):
        world.error(*chance.choice(changes)())
        for text in chance.sample(paths, 12):
            task, follow = chance.choice((world.task, alice)), chance.random() < 0.5
            found = path(world, text, follow=follow, task=task)
            base = task.process.files.root if text[:1] == b"/" else task.process.files.cwd
            try:
                node = walk.walk(task, base, text, follow)
                expected: bytes | str = walk.path_of(world.container.root, node)
                again = walk.resolve(task, AT_FDCWD, text, follow)
                assert (again.mount, again.inode) == (node.mount, node.inode)
            except OSError as error:
                expected = errno.errorcode[error.errno or 0]
            assert found == expected, (text, follow)


def test_new_files_leave_directories_known(world: KernelWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who unpacks a thousand files walks once to each directory."""
    walked: list[bytes] = []
    real = walk.walk

    def counted(task: Task, base: Node, text: bytes, follow: bool, restrict: int = 0) -> Node:
        walked.append(text)
        return real(task, base, text, follow, restrict)

    monkeypatch.setattr(walk, "walk", counted)
    for number in range(50):
        world.call("mknod", b"/a/b/new%d" % number, 0o100644)
        assert path(world, b"/a/b/new%d" % number) == b"/a/b/new%d" % number
    assert len(walked) < 10


def test_a_remembered_node_shows_what_changed(world: KernelWorld) -> None:
    first = walk.resolve(world.task, AT_FDCWD, b"/a/b/f")
    world.call("chmod", b"/a/b/f", 0o600)
    again = walk.resolve(world.task, AT_FDCWD, b"/a/b/f")
    assert (first.inode.mode & 0o777, again.inode.mode & 0o777) == (0o644, 0o600)


def test_chroot(world: KernelWorld) -> None:
    world.call("chroot", b"/a")
    assert path(world, b"/b/f") == b"/a/b/f"
    assert path(world, b"/..") == b"/a"
    assert path(world, b"/back/b") == b"/a/b"
    assert path(world, b"/home") == "ENOENT"


@pytest.mark.parametrize(
    ("text", "restrict", "expected"),
    [
        (b"b/f", walk.RESOLVE_BENEATH, b"/a/b/f"), (b"../home", walk.RESOLVE_BENEATH, "EXDEV"),
        (b"back", walk.RESOLVE_BENEATH, "EXDEV"), (b"/a", walk.RESOLVE_BENEATH, "EXDEV"),
        (b"b/../b/f", walk.RESOLVE_BENEATH, b"/a/b/f"), (b"back/b", walk.RESOLVE_NO_SYMLINKS, "ELOOP"),
        (b"b/f", walk.RESOLVE_NO_SYMLINKS, b"/a/b/f"), (b"../../b/f", walk.RESOLVE_IN_ROOT, b"/a/b/f"),
        (b"/b/f", walk.RESOLVE_IN_ROOT, b"/a/b/f"), (b"../proc/sys", walk.RESOLVE_NO_XDEV, "EXDEV"),
    ],
)  # fmt: skip
def test_restrictions(world: KernelWorld, text: bytes, restrict: int, expected: bytes | str) -> None:
    base = walk.resolve(world.task, AT_FDCWD, b"/a")
    try:
        found: bytes | str = walk.path_of(
            world.container.root, walk.walk(world.task, base, text, True, restrict)
        )
    except OSError as error:
        found = errno.errorcode[error.errno or 0]
    assert found == expected


def test_parents(world: KernelWorld) -> None:
    directory, name, slash = walk.resolve_parent(world.task, AT_FDCWD, b"/a/b/new/")
    assert (walk.path_of(world.container.root, directory), name, slash) == (b"/a/b", b"new", True)
    assert walk.resolve_parent(world.task, AT_FDCWD, b"/")[1:] == (b"", True)
    assert walk.resolve_parent(world.task, AT_FDCWD, b"/..")[1] == b".."


def test_calls_on_names(world: KernelWorld) -> None:
    alice = world.as_user(1000)
    assert world.error("mkdir", b"/a", 0o755) == "EEXIST"
    assert world.error("mkdir", b"/a/new", 0o755, task=alice) == "EACCES"
    assert world.error("rmdir", b"/a") == "ENOTEMPTY"
    assert world.error("rmdir", b"/proc") == "EBUSY"
    assert world.error("unlink", b"/a") == "EISDIR"
    assert world.error("rename", b"/a", b"/a/b/c") == "EINVAL"
    assert world.error("rename", b"/a/b/f", b"/dev/shm/f") == "EXDEV"
    assert world.error("link", b"/a/b/f", b"/proc/x") == "ENOENT"
    assert world.error("chmod", b"/home/own", 0o600, task=alice) == ""
    assert world.error("chmod", b"/a/secret", 0o600, task=alice) == "EPERM"
    assert world.error("symlink", b"x", 1 << 20) == "EFAULT"


def test_opened_files(world: KernelWorld) -> None:
    alice = world.as_user(1000)
    assert world.error("open", b"/a/b/f", 0, 0) == ""
    assert world.error("open", b"/a/secret", 0, 0, task=alice) == "EACCES"
    assert world.error("open", b"/a", 1, 0) == "EISDIR"
    assert world.error("open", b"/a/b/f", 0o200000, 0) == "ENOTDIR"
    assert world.error("open", b"/to-f", 0o400000, 0) == "ELOOP"
    assert world.error("open", b"/new", 0o101, 0o600) == ""
    assert world.error("open", b"/new", 0o301, 0o600) == "EEXIST"
    assert len(world.platform.sent) == 2


def test_a_read_only_root(world: KernelWorld) -> None:
    world.container.root_mount.read_only = True
    assert world.error("mkdir", b"/new", 0o755) == "EROFS"
    assert world.error("unlink", b"/a/b/f") == "EROFS"
    assert world.error("open", b"/a/b/f", 1, 0) == "EROFS"
    assert world.error("open", b"/a/b/f", 0, 0) == ""
    assert world.error("chmod", b"/a", 0o700) == "EROFS"
    assert world.error("mkdir", b"/dev/shm/new", 0o755) == ""
    assert world.error("mkdir", b"/a", 0o755) == "EEXIST"
