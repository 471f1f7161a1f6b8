"""Replaying a journal gives the tree again, also when its end was cut off by a crash."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from union_world import NOON, base_image, snapshot

from pycontain.unionfs import journal
from pycontain.unionfs.tree import RENAME_EXCHANGE, Tree


def changed(tree: Tree) -> None:
    """A bit of everything."""
    var = tree.walk(b"/var")
    tree.mkdir(var, b"new", 0o1777, 5, 6)
    new = tree.walk(b"/var/new")
    tree.write_bytes(new, b"file", b"bytes", mode=0o4755, uid=7, gid=8)
    tree.symlink(new, b"link", b"file", 1, 2)
    tree.mknod(new, b"node", stat.S_IFCHR | 0o640, os.makedev(8, 300), 3, 4)
    tree.link(tree.walk(b"/var/new/file"), tree.root, b"hard")
    tree.link(tree.walk(b"/lib/a"), tree.root, b"fourth")
    tree.unlink(tree.walk(b"/lib"), b"b")
    tree.unlink(tree.walk(b"/etc"), b"passwd")
    tree.rename(tree.root, b"home", var, b"home")
    tree.rename(tree.walk(b"/etc"), b"shadow", tree.root, b"bin", RENAME_EXCHANGE)
    tree.set_attr(tree.walk(b"/var/empty"), mode=0o700, uid=1, mtime=NOON + 7)
    tree.set_xattr(tree.walk(b"/var/home/data"), b"user.more", b"\xff\0")
    fd = tree.open(tree.walk(b"/lib/sub/c"), os.O_WRONLY)
    os.write(fd, b"ONE")
    os.close(fd)
    tree.rmdir(var, b"empty")
    tree.mkdir(var, b"empty", 0o755, 0, 0)


def test_replay(tmp_path: Path) -> None:
    image = base_image(str(tmp_path))
    directory = str(tmp_path / "container")
    tree = Tree(image, directory, journal=True)
    changed(tree)
    tree.sync()
    again = Tree.load(image, directory)
    assert snapshot(again, times=True) == snapshot(tree, times=True)
    assert {again.walk(p).mtime for p in (b"/var", b"/etc")} == {
        tree.walk(p).mtime for p in (b"/var", b"/etc")
    }
    tree.close()


def test_going_on_after_replay(tmp_path: Path) -> None:
    image = base_image(str(tmp_path))
    directory = str(tmp_path / "container")
    tree = Tree(image, directory, journal=True)
    changed(tree)
    tree.close()
    tree = Tree.load(image, directory, journal=True)
    tree.write_bytes(tree.root, b"later", b"later")
    tree.rename(tree.root, b"hard", tree.walk(b"/var"), b"hard")
    tree.close()
    again = Tree.load(image, directory)
    assert again.read_bytes(again.walk(b"/later")) == b"later"
    assert snapshot(again) == snapshot(tree)


def test_numbers_are_not_given_out_twice(tmp_path: Path) -> None:
    image = base_image(str(tmp_path))
    directory = str(tmp_path / "container")
    tree = Tree(image, directory, journal=True)
    kept = tree.write_bytes(tree.root, b"kept", b"kept")
    gone = tree.write_bytes(tree.root, b"gone", b"gone")
    tree.unlink(tree.root, b"gone")
    tree.close()
    tree = Tree.load(image, directory)
    assert tree.write_bytes(tree.root, b"new", b"new").ino not in (kept.ino, gone.ino)
    assert tree.read_bytes(tree.walk(b"/kept")) == b"kept"


def test_a_journal_cut_anywhere_is_a_tree(tmp_path: Path) -> None:
    """Each prefix replays, and reading it leaves a file to which a record can be appended."""
    image = base_image(str(tmp_path))
    directory = str(tmp_path / "container")
    tree = Tree(image, directory, journal=True)
    changed(tree)
    tree.close()
    path = os.path.join(directory, "journal")
    whole = Path(path).read_bytes()
    for size in (*range(0, len(whole), 7), len(whole) - 1):
        Path(path).write_bytes(whole[:size])
        again = Tree.load(image, directory, journal=True)
        assert os.path.getsize(path) <= size
        again.mkdir(again.root, b"after", 0o755, 0, 0)
        again.close()
        assert Tree.load(image, directory).walk(b"/after").is_dir


def test_no_journal_is_an_unchanged_tree(tmp_path: Path) -> None:
    image = base_image(str(tmp_path))
    tree = Tree.load(image, str(tmp_path / "container"))
    assert snapshot(tree) == snapshot(Tree(image, str(tmp_path / "other")))


def test_records_are_buffered_until_sync(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    written = journal.Journal(path)
    written.append((1, b"name", 2, 3))
    assert list(journal.read(path)) == []
    written.sync()
    assert list(journal.read(path)) == [[1, b"name", 2, 3]]
    written.close()
