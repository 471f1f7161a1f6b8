"""The writable union tree: what its operations do, and what they leave to the image."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from union_world import NOON, TarLayer, base_image, snapshot

from pycontain.unionfs.contents import FIRST_TRIM
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.tree import RENAME_EXCHANGE, RENAME_NOREPLACE, Tree


@pytest.fixture
def image(tmp_path: Path) -> ImageTree:
    return base_image(str(tmp_path))


@pytest.fixture
def tree(image: ImageTree, tmp_path: Path) -> Tree:
    return Tree(image, str(tmp_path / "container"), journal=True)


def refused(code: int, function: object, *args: object) -> None:
    with pytest.raises(OSError) as caught:
        function(*args)  # type: ignore[operator]
    assert caught.value.errno == code


def test_reading_leaves_everything_to_the_image(tree: Tree, image: ImageTree) -> None:
    assert tree.read_bytes(tree.walk(b"/etc/passwd")) == b"root:x:0:0\n"
    assert not tree.changed
    assert tree.walk(b"/lib/a") is tree.walk(b"/lib/sub/c")
    assert tree.stat(tree.walk(b"/lib/b")).nlink == 3


def test_content_is_materialised_once(image: ImageTree, tmp_path: Path) -> None:
    layer = image.inodes[3].content[0] if image.inodes[3].content else None  # type: ignore[union-attr]
    trees = [Tree(image, str(tmp_path / name)) for name in ("one", "two")]
    inode = trees[0].walk(b"/home/data")
    layer = inode.content[0]
    assert isinstance(layer, TarLayer)
    for tree in trees:
        assert len(tree.read_bytes(tree.walk(b"/home/data"))) == 5000
    assert len(layer.materialised) == 1


def test_a_write_copies_up(tree: Tree, image: ImageTree, tmp_path: Path) -> None:
    before = tree.stat(tree.walk(b"/home/data"))
    fd = tree.open(tree.walk(b"/home/data"), os.O_RDWR)
    os.pwrite(fd, b"changed", 10)
    os.close(fd)
    after = tree.stat(tree.walk(b"/home/data"))
    assert tree.read_bytes(tree.walk(b"/home/data"))[8:19] == b"xxchangedxx"
    assert (after.ino, after.uid, after.mode, after.size) == (
        before.ino,
        before.uid,
        before.mode,
        before.size,
    )
    other = Tree(image, str(tmp_path / "other"))
    assert other.read_bytes(other.walk(b"/home/data")) == b"x" * 5000


def test_copy_up_keeps_the_time_until_something_is_written(tree: Tree) -> None:
    os.close(tree.open(tree.walk(b"/etc/passwd"), os.O_WRONLY))
    assert tree.stat(tree.walk(b"/etc/passwd")).mtime == NOON


def test_truncation_copies_nothing(tree: Tree) -> None:
    os.close(tree.open(tree.walk(b"/home/data"), os.O_WRONLY | os.O_TRUNC))
    assert tree.read_bytes(tree.walk(b"/home/data")) == b""


def test_hard_links_of_the_image_stay_one_file(tree: Tree) -> None:
    fd = tree.open(tree.walk(b"/lib/sub/c"), os.O_WRONLY)
    os.write(fd, b"ONE")
    os.close(fd)
    tree.set_attr(tree.walk(b"/lib/b"), mode=0o600)
    for name in (b"/lib/a", b"/lib/b", b"/lib/sub/c"):
        inode = tree.walk(name)
        assert tree.read_bytes(inode).startswith(b"ONE content")
        assert (inode.mode & 0o7777, inode.nlink) == (0o600, 3)
    tree.unlink(tree.walk(b"/lib"), b"a")
    assert tree.walk(b"/lib/b").nlink == 2


def test_making_objects(tree: Tree) -> None:
    top = tree.walk(b"/var")
    links = top.nlink
    tree.mkdir(top, b"new", 0o1777, 5, 6)
    new = tree.walk(b"/var/new")
    tree.symlink(new, b"link", b"../fifo", 1, 2)
    tree.mknod(new, b"node", stat.S_IFBLK | 0o640, os.makedev(8, 1), 3, 4)
    tree.write_bytes(new, b"file", b"bytes", mode=0o4755, uid=7, gid=8)
    assert tree.walk(b"/var").nlink == links + 1
    assert (new.mode & 0o7777, new.uid, new.gid) == (0o1777, 5, 6)
    assert tree.walk(b"/var/new/link").rdev == 0
    assert tree.walk(b"/var/new/link", follow=False).target == b"../fifo"
    assert tree.stat(tree.walk(b"/var/new/node")).rdev == os.makedev(8, 1)
    assert tree.stat(tree.walk(b"/var/new/file")).size == 5
    assert tree.path_of(tree.walk(b"/var/new/file")) == b"/var/new/file"


def test_names_are_checked(tree: Tree) -> None:
    top = tree.walk(b"/var")
    refused(errno.EEXIST, tree.mkdir, top, b"empty", 0o755, 0, 0)
    refused(errno.ENAMETOOLONG, tree.mkdir, top, b"n" * 256, 0o755, 0, 0)
    refused(errno.ENOENT, tree.unlink, top, b"none")
    refused(errno.EISDIR, tree.unlink, top, b"empty")
    refused(errno.ENOTDIR, tree.rmdir, top, b"fifo")
    refused(errno.ENOTEMPTY, tree.rmdir, tree.root, b"var")
    refused(errno.EPERM, tree.link, tree.walk(b"/lib"), top, b"lib")
    refused(errno.EEXIST, tree.link, tree.walk(b"/lib/a"), top, b"fifo")


def test_removed_directories_do_not_come_back(tree: Tree) -> None:
    tree.unlink(tree.walk(b"/lib/sub"), b"c")
    tree.rmdir(tree.walk(b"/lib"), b"sub")
    tree.mkdir(tree.walk(b"/lib"), b"sub", 0o755, 0, 0)
    assert tree.walk(b"/lib/sub").children == {}


def test_rename_moves_directories_of_the_image(tree: Tree) -> None:
    tree.rename(tree.walk(b"/lib"), b"sub", tree.walk(b"/home"), b"moved")
    assert tree.read_bytes(tree.walk(b"/home/moved/c")).startswith(b"one")
    assert tree.path_of(tree.walk(b"/home/moved")) == b"/home/moved"
    assert (tree.walk(b"/lib").nlink, tree.walk(b"/home").nlink) == (2, 3)
    refused(errno.ENOENT, tree.walk, b"/lib/sub")


def test_rename_over_what_is_there(tree: Tree) -> None:
    var, etc = tree.walk(b"/var"), tree.walk(b"/etc")
    refused(errno.ENOTEMPTY, tree.rename, var, b"empty", tree.root, b"lib")
    refused(errno.ENOTDIR, tree.rename, var, b"empty", etc, b"passwd")
    refused(errno.EISDIR, tree.rename, etc, b"passwd", var, b"empty")
    refused(errno.EINVAL, tree.rename, tree.root, b"var", tree.walk(b"/var/empty"), b"x")
    refused(errno.EEXIST, tree.rename, etc, b"passwd", etc, b"shadow", RENAME_NOREPLACE)
    tree.rename(etc, b"passwd", etc, b"shadow")
    assert tree.read_bytes(tree.walk(b"/etc/shadow")) == b"root:x:0:0\n"
    refused(errno.ENOENT, tree.walk, b"/etc/passwd")


def test_rename_onto_another_name_of_the_same_file_does_nothing(tree: Tree) -> None:
    lib = tree.walk(b"/lib")
    tree.rename(lib, b"a", lib, b"b")
    assert tree.walk(b"/lib/a") is tree.walk(b"/lib/b")


def test_exchange(tree: Tree) -> None:
    tree.rename(tree.walk(b"/etc"), b"passwd", tree.root, b"lib", RENAME_EXCHANGE)
    assert tree.walk(b"/etc/passwd/a").nlink == 3
    assert tree.walk(b"/lib").is_regular
    assert tree.walk(b"/etc").nlink == 3
    refused(errno.ENOENT, tree.rename, tree.root, b"lib", tree.root, b"none", RENAME_EXCHANGE)
    refused(errno.EINVAL, tree.rename, tree.root, b"etc", tree.walk(b"/etc"), b"passwd", RENAME_EXCHANGE)


def test_attributes(tree: Tree) -> None:
    inode = tree.set_attr(tree.walk(b"/etc/shadow"), mode=0o600, uid=9, mtime=NOON + 5, atime=NOON + 6)
    info = tree.stat(inode)
    assert (info.mode & 0o7777, info.uid, info.gid, info.mtime, info.atime) == (
        0o600,
        9,
        42,
        NOON + 5,
        NOON + 6,
    )
    tree.set_xattr(inode, b"user.x", b"1")
    assert inode.xattrs == {b"user.x": b"1"}
    tree.set_xattr(inode, b"user.x", None)
    refused(errno.ENODATA, tree.set_xattr, inode, b"user.x", None)
    tree.set_xattr(tree.walk(b"/home/data"), b"user.colour", b"red")
    assert tree.image.walk(b"home/data").xattrs == {b"user.colour": b"blue"}  # type: ignore[union-attr]


def test_walking_stays_inside(tree: Tree) -> None:
    tree.symlink(tree.root, b"up", b"../../../etc/passwd", 0, 0)
    tree.symlink(tree.root, b"loop", b"loop", 0, 0)
    assert tree.walk(b"/up") is tree.walk(b"/etc/passwd")
    assert tree.walk(b"/../../etc") is tree.walk(b"/etc")
    refused(errno.ELOOP, tree.walk, b"/loop")
    refused(errno.ENOTDIR, tree.walk, b"/etc/passwd/x")
    refused(errno.ENOENT, tree.walk, b"/bin/sh")


def test_bytes_of_an_unlinked_file_live_on_in_its_descriptor(tree: Tree) -> None:
    inode = tree.write_bytes(tree.walk(b"/var"), b"f", b"hello")
    fd = tree.open(inode, os.O_RDWR)
    tree.unlink(tree.walk(b"/var"), b"f")
    assert os.pread(fd, 5, 0) == b"hello"
    assert inode.nlink == 0
    refused(errno.ENOENT, tree.open, inode, os.O_RDONLY)
    tree.reach(inode, f"/proc/self/fd/{fd}")
    again = tree.open(inode, os.O_RDONLY)
    assert os.read(again, 5) == b"hello"
    tree.truncate(inode, 2)
    assert tree.stat(inode).size == 2
    os.close(again)
    os.close(fd)


def test_a_nameless_file_is_not_reached_through_another_files_descriptor(tree: Tree) -> None:
    inode = tree.write_bytes(tree.walk(b"/var"), b"f", b"hello")
    fd = tree.open(inode, os.O_RDWR)
    tree.unlink(tree.walk(b"/var"), b"f")
    other = tree.open(tree.walk(b"/etc/passwd"), os.O_RDONLY)
    tree.reach(inode, f"/proc/self/fd/{other}")
    refused(errno.ENOENT, tree.open, inode, os.O_RDWR)
    refused(errno.ENOENT, tree.truncate, inode, 0)
    os.close(other)
    os.close(fd)


def test_inodes_are_known_by_their_descriptors(tree: Tree) -> None:
    own = tree.write_bytes(tree.walk(b"/var"), b"f", b"x")
    for inode in (own, tree.walk(b"/etc/passwd")):
        fd = tree.open(inode, os.O_RDONLY)
        info = os.fstat(fd)
        found = tree.by_descriptor(info.st_dev, info.st_ino)
        assert found is not None and found.ino == inode.ino
        os.close(fd)


def test_adopted_files_show_a_host_file(tree: Tree, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"context")
    inode = tree.adopt(tree.root, b"copied", str(source), 0o640, 1, 2, NOON)
    assert tree.read_bytes(inode) == b"context"
    fd = tree.open(tree.walk(b"/copied"), os.O_WRONLY)
    os.write(fd, b"CONTEXT")
    os.close(fd)
    assert source.read_bytes() == b"context"
    assert tree.read_bytes(tree.walk(b"/copied")) == b"CONTEXT"


def test_two_containers_of_an_image_do_not_see_each_other(image: ImageTree, tmp_path: Path) -> None:
    one, two = (Tree(image, str(tmp_path / name)) for name in ("one", "two"))
    before = snapshot(two)
    one.write_bytes(one.walk(b"/etc"), b"passwd", b"one's")
    one.unlink(one.walk(b"/lib"), b"a")
    one.rename(one.root, b"home", one.walk(b"/var"), b"home")
    one.set_attr(one.walk(b"/bin/su"), mode=0o755)
    assert snapshot(two) == before


def test_the_generation_grows_with_names(tree: Tree) -> None:
    seen = {tree.generation}
    for change in (
        lambda: tree.mkdir(tree.root, b"d", 0o755, 0, 0),
        lambda: tree.write_bytes(tree.walk(b"/d"), b"f", b""),
        lambda: tree.rename(tree.walk(b"/d"), b"f", tree.root, b"g"),
        lambda: tree.set_attr(tree.walk(b"/d"), mode=0),
        lambda: tree.unlink(tree.root, b"g"),
        lambda: tree.rmdir(tree.root, b"d"),
    ):
        change()
        assert tree.generation not in seen
        seen.add(tree.generation)


def test_a_file_made_without_a_name_gets_one(tree: Tree, image: ImageTree, tmp_path: Path) -> None:
    inode, fd = tree.open_unnamed(0o640, 7, 8, os.O_RDWR, True)
    os.write(fd, b"bytes")
    assert tree.changed == {}
    for name in (b"one", b"two"):
        tree.reach(inode, f"/proc/self/fd/{fd}")
        tree.link(inode, tree.walk(b"/home"), name)
    os.close(fd)
    tree.sync()
    again = Tree.load(image, str(tmp_path / "container"))
    for view in (tree, again):
        found = view.walk(b"/home/two")
        assert view.read_bytes(found) == b"bytes"
        assert (stat.S_IMODE(found.mode), found.uid, found.gid, found.nlink) == (0o640, 7, 8, 2)
        assert view.walk(b"/home/one") is found


def test_a_file_that_is_never_to_have_a_name_gets_none(tree: Tree) -> None:
    inode, fd = tree.open_unnamed(0o600, 0, 0, os.O_WRONLY, False)
    tree.reach(inode, f"/proc/self/fd/{fd}")
    refused(errno.ENOENT, tree.link, inode, tree.walk(b"/home"), b"name")
    os.close(fd)
    assert os.listdir(tree.files) == []
    assert tree.changed == {}


def test_files_that_nobody_has_open_are_forgotten(tree: Tree) -> None:
    """However many come and go: a file without a name is remembered only as long as it is open somewhere."""
    held: dict[tuple[int, int], int] = {}
    tree.open_elsewhere = lambda: set(held)
    kept = []
    for number in range(2 * FIRST_TRIM + 10):
        home = tree.walk(b"/home")
        inode = tree.create(home, b"f", 0o600, 0, 0)
        fd = tree.open(inode, os.O_RDWR)
        if number % 1000 == 0:
            info = os.fstat(fd)
            held[info.st_dev, info.st_ino] = fd
            kept.append((info.st_dev, info.st_ino, inode))
        else:
            os.close(fd)
        tree.unlink(tree.walk(b"/home"), b"f")
    assert len(tree.by_host) < FIRST_TRIM + 100
    assert all(tree.by_descriptor(dev, ino) is inode for dev, ino, inode in kept)
    for fd in held.values():
        os.close(fd)


def test_what_changes_take_is_counted(tree: Tree, tmp_path: Path) -> None:
    """Whatever was done, nothing is left of it when all that was made has gone."""
    start = tree.weight
    made = tree.mkdir(tree.root, b"made", 0o755, 0, 0)
    link = tree.symlink(made, b"link", b"x" * 4000, 0, 0)
    assert tree.weight - start > 4000
    file = tree.create(made, b"file", 0o644, 0, 0)
    tree.link(file, made, b"again")
    tree.set_xattr(file, b"user.a", b"y" * 1000)
    tree.set_xattr(file, b"user.a", b"z" * 500)
    tree.set_xattr(link, b"trusted.b", b"")
    tree.rename(made, b"file", made, b"renamed")
    tree.rename(made, b"link", made, b"again")
    tree.rename(made, b"renamed", made, b"again", RENAME_EXCHANGE)
    refused(errno.EEXIST, tree.mkdir, tree.root, b"made", 0o755, 0, 0)
    refused(errno.ENAMETOOLONG, tree.mkdir, tree.root, b"m" * 300, 0o755, 0, 0)
    unnamed, fd = tree.open_unnamed(0o600, 0, 0, os.O_RDWR, True)
    tree.reach(unnamed, f"/proc/self/fd/{fd}")
    tree.link(unnamed, made, b"named")
    os.close(fd)
    tree.sync()
    loaded = Tree.load(tree.image, str(tmp_path / "container"))
    assert abs(loaded.weight - tree.weight) < 5000
    for name in (b"renamed", b"again", b"named"):
        tree.unlink(made, name)
    tree.rmdir(tree.root, b"made")
    assert tree.weight == start


def test_inodes_do_not_take_all_memory(tree: Tree) -> None:
    tree.most = tree.weight + 100_000
    file = tree.create(tree.root, b"file", 0o644, 0, 0)
    made = 0
    with pytest.raises(OSError, match="No space"):
        while made < 1000:
            tree.symlink(tree.root, b"%d" % made, b"x" * 4000, 0, 0)
            made += 1
    assert 10 < made < 50
    refused(errno.ENOSPC, tree.mkdir, tree.root, b"directory", 0o755, 0, 0)
    refused(errno.ENOSPC, tree.set_xattr, file, b"user.a", b"y" * 10000)
    refused(errno.ENOSPC, tree.link, file, tree.root, b"again")
    tree.unlink(tree.root, b"0")
    tree.unlink(tree.root, b"1")
    tree.symlink(tree.root, b"0", b"target", 0, 0)
