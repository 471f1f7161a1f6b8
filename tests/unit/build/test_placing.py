"""Where COPY and ADD put things, and as what."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from pycontain.build.archive import extract, is_archive
from pycontain.build.context import DirectorySource
from pycontain.build.filehash import FileHashes
from pycontain.build.modes import parse_chmod
from pycontain.build.owners import Owner, parse_owner
from pycontain.build.placing import Placer, destination_of
from pycontain.build.selection import select
from pycontain.build.treesource import TreeSource
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.tree import Tree

TIME = 1_600_000_000_123_456_789


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(ImageTree.merge([]), str(tmp_path / "tree"))
    return made


@pytest.fixture
def context(tmp_path: Path) -> DirectorySource:
    root = tmp_path / "context"
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "file").write_text("text")
    (root / "dir" / "one").write_text("1")
    (root / "dir" / "sub" / "two").write_text("2")
    (root / "dir" / "sub").chmod(0o750)
    (root / "dir").chmod(0o700)
    os.symlink("/nowhere", root / "dir" / "link")
    os.link(root / "dir" / "one", root / "dir" / "twin")
    os.mkfifo(root / "dir" / "fifo")
    os.utime(root / "dir" / "sub", ns=(TIME, TIME))
    os.utime(root / "file", ns=(TIME, TIME))
    return DirectorySource(str(root), FileHashes(None))


def copy(tree: Tree, context: DirectorySource, *words: str, placer: Placer | None = None) -> None:
    *sources, destination = words
    selections = [chosen for source in sources for chosen in select(context, source)]
    (placer or Placer(tree)).copy(selections, destination_of(destination, "/"))


def paths(tree: Tree) -> list[str]:
    """All paths of a tree, directories with a / at the end."""
    out = []
    todo = [(b"", tree.root)]
    while todo:
        path, node = todo.pop()
        for name in sorted(node.children or {}):
            child = tree.lookup(node, name)
            assert child is not None
            where = path + b"/" + name
            out.append(where.decode() + ("/" if child.is_dir else ""))
            if child.is_dir:
                todo.append((where, child))
    return sorted(out)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("file", "/x"), ["/x"]),
        (("file", "/"), ["/file"]),
        (("file", "x/"), ["/x/", "/x/file"]),
        (("file", "a/b/x"), ["/a/", "/a/b/", "/a/b/x"]),
        (("dir/sub", "/x"), ["/x/", "/x/two"]),
        (("dir/sub", "/x/"), ["/x/", "/x/two"]),
        (("file", "dir/one", "/x/"), ["/x/", "/x/file", "/x/one"]),
        (("file", "/x/.."), ["/file"]),
        (("file", "/../../x"), ["/x"]),
    ],
)
def test_destinations(
    tree: Tree, context: DirectorySource, words: tuple[str, ...], expected: list[str]
) -> None:
    copy(tree, context, *words)
    assert paths(tree) == expected


def test_an_existing_directory_takes_a_file_under_its_name(tree: Tree, context: DirectorySource) -> None:
    tree.mkdir(tree.root, b"x", 0o755, 0, 0)
    copy(tree, context, "file", "/x")
    copy(tree, context, "file", "dir/one", "/x")
    assert paths(tree) == ["/x/", "/x/file", "/x/one"]


def test_several_files_need_a_directory(tree: Tree, context: DirectorySource) -> None:
    with pytest.raises(ValueError, match="must be a directory and end with a /"):
        copy(tree, context, "file", "dir/one", "/x")


def test_a_whole_directory(tree: Tree, context: DirectorySource) -> None:
    copy(tree, context, "dir", "/d")
    assert paths(tree) == ["/d/", "/d/fifo", "/d/link", "/d/one", "/d/sub/", "/d/sub/two", "/d/twin"]
    assert tree.walk(b"/d").mode == stat.S_IFDIR | 0o755
    sub = tree.stat(tree.walk(b"/d/sub"))
    assert (sub.mode, sub.mtime) == (stat.S_IFDIR | 0o750, TIME)
    assert tree.walk(b"/d/link", follow=False).target == b"/nowhere"
    assert tree.walk(b"/d/one").ino == tree.walk(b"/d/twin").ino
    assert tree.walk(b"/d/one").nlink == 2
    assert stat.S_ISFIFO(tree.walk(b"/d/fifo").mode)
    assert tree.read_bytes(tree.walk(b"/d/sub/two")) == b"2"


def test_a_file_keeps_its_time_and_loses_its_owner(tree: Tree, context: DirectorySource) -> None:
    copy(tree, context, "file", "/x")
    info = tree.stat(tree.walk(b"/x"))
    assert (info.mtime, info.uid, info.gid, info.size) == (TIME, 0, 0, 4)


def test_owner_mode_and_time_are_set_on_everything(tree: Tree, context: DirectorySource) -> None:
    placer = Placer(tree, owner=Owner(7, 8), chmod=parse_chmod("u=rwX,go="), mtime=5)
    copy(tree, context, "dir", "/new/d", placer=placer)
    for path in (b"/new", b"/new/d/one", b"/new/d/sub", b"/new/d/link"):
        info = tree.stat(tree.walk(path, follow=False))
        assert (info.uid, info.gid) == (7, 8), path
    assert stat.S_IMODE(tree.walk(b"/new/d/one").mode) == 0o600
    assert stat.S_IMODE(tree.walk(b"/new/d/sub").mode) == 0o700
    assert tree.stat(tree.walk(b"/new/d/sub")).mtime == 5
    assert tree.stat(tree.walk(b"/new/d/one")).mtime == 5


def test_existing_directories_below_take_the_sources_modes(tree: Tree, context: DirectorySource) -> None:
    d = tree.mkdir(tree.root, b"d", 0o711, 1, 1)
    tree.mkdir(d, b"sub", 0o777, 1, 1)
    copy(tree, context, "dir", "/d")
    assert stat.S_IMODE(tree.walk(b"/d").mode) == 0o711
    assert stat.S_IMODE(tree.walk(b"/d/sub").mode) == 0o750
    assert tree.walk(b"/d/sub").uid == 0


def test_links_in_the_destination_stay_inside(tree: Tree, context: DirectorySource) -> None:
    tree.symlink(tree.root, b"out", b"../../../etc", 0, 0)
    tree.symlink(tree.root, b"dangling", b"/made/here", 0, 0)
    tree.symlink(tree.root, b"file-link", b"/real", 0, 0)
    copy(tree, context, "file", "/out/passwd")
    copy(tree, context, "file", "/dangling/")
    copy(tree, context, "file", "/file-link")
    assert paths(tree) == [
        "/dangling",
        "/etc/",
        "/etc/passwd",
        "/file-link",
        "/made/",
        "/made/here/",
        "/made/here/file",
        "/out",
        "/real",
    ]


def test_what_may_replace_what(tree: Tree, context: DirectorySource) -> None:
    copy(tree, context, "file", "/one")
    copy(tree, context, "dir/one", "/one")
    assert tree.read_bytes(tree.walk(b"/one")) == b"1"
    with pytest.raises(ValueError, match="cannot copy to non-directory: /one"):
        copy(tree, context, "dir", "/one")
    with pytest.raises(ValueError, match="/one is not a directory"):
        copy(tree, context, "file", "/one/x")
    tree.mkdir(tree.root, b"d", 0o755, 0, 0)
    tree.mkdir(tree.walk(b"/d"), b"one", 0o755, 0, 0)
    with pytest.raises(ValueError, match="cannot replace to directory /d/one with file"):
        copy(tree, context, "dir", "/d")
    tree.symlink(tree.root, b"loop", b"loop", 0, 0)
    with pytest.raises(ValueError, match="too many symbolic links"):
        copy(tree, context, "file", "/loop")


def test_a_tree_as_source_keeps_owners(tree: Tree, context: DirectorySource, tmp_path: Path) -> None:
    copy(tree, context, "dir", "/d", placer=Placer(tree, owner=Owner(3, 4)))
    other = Tree(ImageTree.merge([]), str(tmp_path / "other"))
    Placer(other).copy(select(TreeSource(tree, "stage x"), "/d/sub"), b"/s")
    Placer(other).copy(select(TreeSource(tree, "stage x"), "d/*ne"), b"/")
    assert paths(other) == ["/one", "/s/", "/s/two"]
    assert other.stat(other.walk(b"/s/two")).uid == 3
    assert other.read_bytes(other.walk(b"/s/two")) == b"2"
    with pytest.raises(ValueError, match='"/nothing" not found in stage x'):
        select(TreeSource(tree, "stage x"), "nothing")


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("755", 0o644, 0o755),
        ("0", 0o644, 0),
        ("7777", 0o644, 0o7777),
        ("u=rwX,go=rX", stat.S_IFREG | 0o600, 0o644),
        ("u=rwX,go=rX", stat.S_IFREG | 0o700, 0o755),
        ("u=rwX,go=rX", stat.S_IFDIR | 0o600, 0o755),
        ("a+x", 0o644, 0o755),
        ("+x", 0o644, 0o755),
        ("go-rwx", 0o777, 0o700),
        ("g=u", 0o740, 0o770),
        ("o=g,u+s,+t", 0o755, 0o5755),
        ("ug+s", 0o755, 0o6755),
        ("u=", 0o755, 0o055),
        ("u+r-w", 0o200, 0o400),
    ],
)
def test_chmod(text: str, mode: int, expected: int) -> None:
    assert parse_chmod(text)(mode) == expected


@pytest.mark.parametrize("text", ["", "888", "10000", "rwx", "u", "u=q", "a+x,", "0x7", "u+rwx;o"])
def test_bad_chmod(text: str) -> None:
    with pytest.raises(ValueError, match="invalid chmod parameter"):
        parse_chmod(text)


def test_owners(tree: Tree) -> None:
    etc = tree.mkdir(tree.root, b"etc", 0o755, 0, 0)
    tree.write_bytes(etc, b"passwd", b"root:x:0:0::/:\nme:x:10:20::/home:/bin/sh\nbroken\n")
    tree.write_bytes(tree.walk(b"/etc"), b"group", b"root:x:0:\nthem:x:30:me\n")
    assert parse_owner("me", tree) == Owner(10, 20)
    assert parse_owner("me:them", tree) == Owner(10, 30)
    assert parse_owner("5", tree) == Owner(5, 5)
    assert parse_owner("5:6", tree) == Owner(5, 6)
    assert parse_owner("5:them", tree) == Owner(5, 30)
    assert parse_owner(":them", tree) == Owner(0, 30)
    for bad in ("nobody", "me:nobody", "", ":", "99999999999", "4294967295"):
        with pytest.raises(ValueError, match=r"unable to find|invalid owner|not a valid"):
            parse_owner(bad, tree)


def archive_of(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.mtime, info.uid, info.gid = 1_000_000, 5, 6
    return info


GOOD = [
    (member("d/", tarfile.DIRTYPE, mode=0o700), b""),
    (member("d/f"), b"data"),
    (member("d/h", tarfile.LNKTYPE, "d/f"), b""),
    (member("s", tarfile.SYMTYPE, "/etc/passwd"), b""),
    (member("p", tarfile.FIFOTYPE), b""),
]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zstd"])
def test_archives(tree: Tree, tmp_path: Path, mode: str) -> None:
    file = tmp_path / "archive"
    if mode == "zstd":
        import zstandard

        data = zstandard.ZstdCompressor().compress(archive_of(*GOOD))
    else:
        data = archive_of(*GOOD, mode=mode)
    file.write_bytes(data)
    assert is_archive(str(file))
    extract(str(file), tree, b"/to/")
    assert paths(tree) == ["/to/", "/to/d/", "/to/d/f", "/to/d/h", "/to/p", "/to/s"]
    info = tree.stat(tree.walk(b"/to/d/f"))
    assert (info.uid, info.gid, info.mtime, info.nlink) == (5, 6, 10**15, 2)
    assert tree.read_bytes(tree.walk(b"/to/d/h")) == b"data"
    assert tree.stat(tree.walk(b"/to/d")).mtime == 10**15
    extract(str(file), tree, b"/to/")  # once more, over what is there


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0", b"\0" * 9999]
)
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    assert not is_archive(str(file))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([(member("../x"), b"")], "leads out"),
        ([(member("a/../../x"), b"")], "leads out"),
        ([(member("h", tarfile.LNKTYPE, "../../etc/passwd"), b"")], "leads out"),
        ([(member("h", tarfile.LNKTYPE, "missing"), b"")], "which is no file"),
        ([(member("n" * 300), b"")], "no file can have"),
        ([(member("d/" * 3000 + "f"), b"")], "no file can have"),
        ([(member("d", tarfile.DIRTYPE), b""), (member("d"), b"")], "cannot replace the directory"),
        ([(member("f"), b""), (member("f/x"), b"")], "is not a directory"),
    ],
)
def test_hostile_archives(
    tree: Tree, tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], reason: str
) -> None:
    file = tmp_path / "archive"
    file.write_bytes(archive_of(*members))
    with pytest.raises(ValueError, match=reason):
        extract(str(file), tree, b"/")


def test_absolute_names_and_links_stay_inside(tree: Tree, tmp_path: Path) -> None:
    file = tmp_path / "archive"
    file.write_bytes(
        archive_of(
            (member("/abs"), b"1"), (member("out", tarfile.SYMTYPE, "../.."), b""), (member("out/x"), b"2")
        )
    )
    extract(str(file), tree, b"/to")
    assert paths(tree) == ["/to/", "/to/abs", "/to/out", "/x"]


def test_truncated_and_flipped_archives(tree: Tree, tmp_path: Path) -> None:
    whole = archive_of(*[(member(f"f{n}"), os.urandom(3000)) for n in range(20)], mode="w:gz")
    file = tmp_path / "archive"
    for data in (whole[: len(whole) // 2], whole[:5000] + b"\xff" * 50 + whole[5050:]):
        file.write_bytes(data)
        with pytest.raises(ValueError, match="damaged"):
            extract(str(file), tree, b"/")


def test_a_bomb(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAIN_LAYER_RATIO", "100")
    file = tmp_path / "archive"
    file.write_bytes(archive_of((member("zeros"), bytes(80 << 20)), mode="w:gz"))
    with pytest.raises(ValueError, match="over 100 times as many"):
        extract(str(file), tree, b"/")
