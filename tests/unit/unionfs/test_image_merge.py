"""Layers merged by the rules of OCI image-spec, layer.md."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from union_world import Member, TarLayer, tar_of

from pycontain.errors import LayerError
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.index import NODE, OPAQUE, WHITEOUT, Entry


class EntryLayer:
    """A layer of entries as they are."""

    diff_id = "sha256:" + "0" * 64

    def __init__(self, *entries: Entry) -> None:
        self._entries = list(entries)

    def entries(self) -> list[Entry]:
        return self._entries

    def materialise(self, number: int) -> str:
        raise AssertionError("not in these tests")


def directory(path: bytes, mode: int = 0o755) -> Entry:
    return Entry(path, stat.S_IFDIR | mode)


def file(path: bytes, mode: int = 0o644, size: int = 0) -> Entry:
    return Entry(path, stat.S_IFREG | mode, size=size, offset=0)


def names(tree: ImageTree, path: bytes = b"") -> set[bytes]:
    node = tree.walk(path)
    assert node is not None
    return set(node.children or ())


def test_upper_layers_win() -> None:
    tree = ImageTree.merge(
        [EntryLayer(directory(b"d"), file(b"d/f", 0o600)), EntryLayer(file(b"d/f", 0o755))]
    )
    found = tree.walk(b"d/f")
    assert found is not None and found.mode & 0o777 == 0o755
    assert names(tree, b"d") == {b"f"}


def test_directories_are_merged_and_described_anew() -> None:
    tree = ImageTree.merge(
        [EntryLayer(directory(b"d"), file(b"d/one")), EntryLayer(directory(b"d", 0o700), file(b"d/two"))]
    )
    found = tree.walk(b"d")
    assert names(tree, b"d") == {b"one", b"two"}
    assert found is not None and found.mode & 0o777 == 0o700


def test_whiteouts_hide_what_is_below() -> None:
    below = EntryLayer(directory(b"d"), file(b"d/f"), directory(b"d/sub"), file(b"d/sub/g"))
    tree = ImageTree.merge(
        [below, EntryLayer(Entry(b"d/sub", kind=WHITEOUT), Entry(b"d/none", kind=WHITEOUT))]
    )
    assert names(tree, b"d") == {b"f"}
    found = tree.walk(b"d")
    assert found is not None and found.nlink == 2


def test_a_whiteout_and_a_new_name_in_one_layer_in_either_order() -> None:
    below = EntryLayer(directory(b"d"), file(b"d/old"))
    for entries in ((Entry(b"d", kind=WHITEOUT), directory(b"d"), file(b"d/new")),
                    (directory(b"d"), file(b"d/new"), Entry(b"d", kind=WHITEOUT))):  # fmt: skip
        assert names(ImageTree.merge([below, EntryLayer(*entries)]), b"d") == {b"new"}


def test_opaque_directories_keep_their_own_layer() -> None:
    below = EntryLayer(directory(b"d"), file(b"d/old"), directory(b"d/sub"))
    above = EntryLayer(directory(b"d"), file(b"d/new"), Entry(b"d", kind=OPAQUE))
    tree = ImageTree.merge([below, above])
    assert names(tree, b"d") == {b"new"}
    found = tree.walk(b"d")
    assert found is not None and found.nlink == 2


def test_kinds_replace_each_other() -> None:
    below = EntryLayer(directory(b"a"), file(b"a/x"), file(b"b"))
    above = EntryLayer(file(b"a"), directory(b"b"), file(b"b/y"))
    tree = ImageTree.merge([below, above])
    replaced = tree.walk(b"a")
    assert replaced is not None and replaced.is_regular
    assert names(tree, b"b") == {b"y"}
    assert tree.root.nlink == 3


def test_missing_parents_are_made() -> None:
    tree = ImageTree.merge([EntryLayer(file(b"a/b/c"))])
    found = tree.walk(b"a/b")
    assert found is not None and found.mode == stat.S_IFDIR | 0o755


def test_a_directory_behind_a_symlink_of_a_lower_layer() -> None:
    below = EntryLayer(
        directory(b"usr"), directory(b"usr/lib"), Entry(b"lib", stat.S_IFLNK | 0o777, link=b"usr/lib")
    )
    tree = ImageTree.merge([below, EntryLayer(file(b"lib/new"))])
    assert names(tree, b"usr/lib") == {b"new"}
    kept = tree.root.children
    assert kept is not None and kept[b"lib"].is_symlink


def test_hard_links_to_a_lower_layer_and_forwards(tmp_path: Path) -> None:
    below = TarLayer(tar_of([Member("one", b"content")]), str(tmp_path / "1"))
    link = Member("two", b"", link=b"one", hardlink=True)
    link.content = None
    tree = ImageTree.merge([below, TarLayer(tar_of([link]), str(tmp_path / "2"))])
    one, two = tree.walk(b"one"), tree.walk(b"two")
    assert one is two and one is not None and one.nlink == 2


def test_hard_links_to_nothing_are_refused() -> None:
    for target in (b"none", b"d"):
        with pytest.raises(LayerError):
            ImageTree.merge([EntryLayer(directory(b"d"), Entry(b"f", link=target, kind=1))])


def test_links_are_counted_when_names_go() -> None:
    below = EntryLayer(file(b"a"), Entry(b"b", link=b"a", kind=1))
    tree = ImageTree.merge([below, EntryLayer(Entry(b"a", kind=WHITEOUT))])
    found = tree.walk(b"b")
    assert found is not None and found.nlink == 1


def test_the_root_can_be_described() -> None:
    tree = ImageTree.merge([EntryLayer(Entry(b"", stat.S_IFDIR | 0o700, 5, 6, kind=NODE))])
    assert (tree.root.mode & 0o777, tree.root.uid, tree.root.gid) == (0o700, 5, 6)


def test_walking_never_leaves() -> None:
    tree = ImageTree.merge([EntryLayer(Entry(b"up", stat.S_IFLNK | 0o777, link=b"../../etc"), directory(b"etc"),
                                       Entry(b"loop", stat.S_IFLNK | 0o777, link=b"loop"))])  # fmt: skip
    assert tree.walk(b"up") is tree.walk(b"etc")
    assert tree.walk(b"loop") is None
    assert tree.walk(b"etc/../../../etc") is tree.walk(b"etc")
