"""What has changed, as a list and as a layer; a layer applied to the image gives the container's tree."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from union_world import NOON, base_image, layer_of, snapshot

from pycontain.unionfs import diff
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.index import HARD_LINK, OPAQUE, WHITEOUT
from pycontain.unionfs.tree import RENAME_EXCHANGE, Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(base_image(str(tmp_path)), str(tmp_path / "container"))


def listed(tree: Tree) -> list[str]:
    return [f"{change.kind} {change.path.decode()}" for change in diff.changes(tree)]


def committed(tree: Tree, tmp_path: Path) -> Tree:
    """The tree of the image with the changes as one more layer."""
    base = tree.image.walk(b"etc/passwd").content  # type: ignore[union-attr]
    layer = base[0] if isinstance(base, tuple) else None
    assert layer is not None, "read nothing before"
    image = ImageTree.merge([layer, layer_of(tree, str(tmp_path / "new"))])
    return Tree(image, str(tmp_path / "committed"))


def test_nothing(tree: Tree) -> None:
    assert listed(tree) == []
    tree.read_bytes(tree.walk(b"/home/data"))
    assert listed(tree) == []


def test_kinds_of_changes(tree: Tree, tmp_path: Path) -> None:
    tree.write_bytes(tree.root, b"added", b"x")
    tree.unlink(tree.walk(b"/etc"), b"shadow")
    tree.set_attr(tree.walk(b"/bin/su"), mode=0o755)
    tree.mkdir(tree.walk(b"/var"), b"d", 0o700, 0, 0)
    tree.write_bytes(tree.walk(b"/var/d"), b"f", b"y")
    assert listed(tree) == [
        "A /added", "C /bin/su", "C /etc", "D /etc/shadow", "C /var", "A /var/d", "A /var/d/f",
    ]  # fmt: skip
    assert snapshot(committed(tree, tmp_path)) == snapshot(tree)


def test_a_change_taken_back_is_no_change_of_content(tree: Tree) -> None:
    tree.write_bytes(tree.root, b"added", b"x")
    tree.unlink(tree.root, b"added")
    assert listed(tree) == []


def test_opened_for_writing(tree: Tree) -> None:
    os.close(tree.open(tree.walk(b"/etc/passwd"), os.O_WRONLY))
    assert listed(tree) == ["C /etc/passwd"]


def test_a_renamed_directory_is_removed_and_added(tree: Tree, tmp_path: Path) -> None:
    tree.rename(tree.root, b"lib", tree.walk(b"/var"), b"lib")
    assert "D /lib" in listed(tree) and "A /var/lib/sub/c" in listed(tree)
    assert snapshot(committed(tree, tmp_path)) == snapshot(tree)


def test_a_replaced_directory_is_opaque(tree: Tree, tmp_path: Path) -> None:
    tree.unlink(tree.walk(b"/lib/sub"), b"c")
    tree.rmdir(tree.walk(b"/lib"), b"sub")
    tree.mkdir(tree.walk(b"/lib"), b"sub", 0o711, 3, 3)
    tree.write_bytes(tree.walk(b"/lib/sub"), b"other", b"o")
    kinds = {(entry.kind, entry.path) for entry in layer_of(tree, str(tmp_path / "l")).entries()}
    assert (OPAQUE, b"lib/sub") in kinds
    assert snapshot(committed(tree, tmp_path)) == snapshot(tree)


def test_directories_of_the_image_exchanged(tree: Tree, tmp_path: Path) -> None:
    tree.rename(tree.root, b"lib", tree.root, b"home", RENAME_EXCHANGE)
    assert snapshot(committed(tree, tmp_path)) == snapshot(tree)


def test_a_file_takes_the_place_of_a_directory_and_back(tree: Tree, tmp_path: Path) -> None:
    tree.rmdir(tree.walk(b"/var"), b"empty")
    tree.write_bytes(tree.walk(b"/var"), b"empty", b"now a file")
    tree.unlink(tree.walk(b"/etc"), b"passwd")
    tree.mkdir(tree.walk(b"/etc"), b"passwd", 0o755, 0, 0)
    tree.write_bytes(tree.walk(b"/etc/passwd"), b"inside", b"i")
    kinds = {(entry.kind, entry.path) for entry in layer_of(tree, str(tmp_path / "l")).entries()}
    assert not any(kind == WHITEOUT for kind, _ in kinds)
    assert snapshot(committed(tree, tmp_path)) == snapshot(tree)


def test_hard_links(tree: Tree, tmp_path: Path) -> None:
    tree.link(tree.walk(b"/lib/a"), tree.walk(b"/var"), b"fourth")
    new = tree.write_bytes(tree.root, b"new", b"new")
    tree.link(new, tree.walk(b"/var"), b"newer")
    entries = layer_of(tree, str(tmp_path / "l")).entries()
    assert {e.path: e.link for e in entries if e.kind == HARD_LINK}[b"var/newer"] == b"new"
    assert sum(e.size for e in entries if e.path.startswith((b"lib", b"var/fourth"))) == len(
        b"one content, three names"
    )
    assert snapshot(committed(tree, tmp_path)) == snapshot(tree)


def test_a_lost_hard_link(tree: Tree, tmp_path: Path) -> None:
    tree.unlink(tree.walk(b"/lib"), b"a")
    assert snapshot(committed(tree, tmp_path)) == snapshot(tree)


def test_everything_an_inode_says(tree: Tree, tmp_path: Path) -> None:
    var = tree.walk(b"/var")
    tree.mknod(var, b"block", stat.S_IFBLK | 0o640, os.makedev(300, 70000), 70000, 80000)
    tree.mknod(var, b"pipe", stat.S_IFIFO | 0o600, 0, 1, 2)
    tree.symlink(var, b"link", b"t" * 200, 3, 4)
    tree.write_bytes(var, b"n" * 200, b"long name", mode=0o6711, uid=2**31, gid=2**31)
    tree.set_xattr(tree.walk(b"/var/" + b"n" * 200), b"user.x", b"\0\xff\n=")
    tree.set_attr(tree.walk(b"/var/" + b"n" * 200), mtime=NOON + 123456789)
    tree.write_bytes(var, "é\U0001f600".encode(), b"unicode")
    again = committed(tree, tmp_path)
    assert snapshot(again) == snapshot(tree)
    assert again.walk(b"/var/" + b"n" * 200).mtime == NOON + 123456789


def test_sockets_are_left_out(tree: Tree, tmp_path: Path) -> None:
    tree.mknod(tree.walk(b"/var"), b"socket", stat.S_IFSOCK | 0o755, 0, 0, 0)
    assert b"var/socket" not in {e.path for e in layer_of(tree, str(tmp_path / "l")).entries()}


def test_times_are_capped(tree: Tree) -> None:
    tree.write_bytes(tree.root, b"now", b"n")
    chunks: list[bytes] = []
    diff.write_layer(tree, chunks.append, source_date_epoch=1_500_000_000)
    again: list[bytes] = []
    diff.write_layer(tree, again.append, source_date_epoch=1_500_000_000)
    assert chunks == again
    from pycontain.unionfs.tarstream import read_tar

    assert {e.mtime for e in read_tar(chunks)} == {1_500_000_000 * 10**9}


def test_export_writes_the_whole_tree(tree: Tree, tmp_path: Path) -> None:
    tree.write_bytes(tree.root, b"added", b"x")
    tree.unlink(tree.walk(b"/lib"), b"a")
    chunks: list[bytes] = []
    diff.write_tree(tree, chunks.append)
    from union_world import TarLayer

    layer = TarLayer(b"".join(chunks), str(tmp_path / "export"))
    exported = Tree(ImageTree.merge([layer]), str(tmp_path / "exported"))
    assert snapshot(exported) == snapshot(tree)
