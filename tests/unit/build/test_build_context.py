"""What COPY selects from a context: on a fake file system where paths are all that counts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from pycontain.build.context import DirectorySource
from pycontain.build.filehash import FileHashes
from pycontain.build.ignore import parse_ignore
from pycontain.build.selection import checksum, exclusions, select
from pycontain.build.source import Filtered, Source, normal, resolve

TREE = {
    "a.txt": "a",
    "b.txt": "b",
    "[x].txt": "x",
    "dir/one": "1",
    "dir/sub/two": "2",
    "dir/sub/three.md": "3",
    "other/one": "4",
}


@pytest.fixture
def context(fs: FakeFilesystem) -> Source:
    for name, text in TREE.items():
        fs.create_file(f"/ctx/{name}", contents=text)
    fs.create_dir("/ctx/empty")
    fs.create_symlink("/ctx/link", "dir/sub")
    fs.create_symlink("/ctx/absolute", "/dir/one")
    fs.create_symlink("/ctx/out", "../../etc/passwd")
    fs.create_symlink("/ctx/loop", "loop")
    fs.create_file("/etc/passwd", contents="secret")
    return DirectorySource("/ctx", FileHashes(None))


def listing(source: Source, pattern: str, exclude: tuple[str, ...] = ()) -> list[str]:
    """The selected paths: the name, and what is below it."""
    out = []
    for selection in select(source, pattern, exclusions(exclude)):
        out.append(selection.name.decode())
        out.extend(f"{selection.name.decode()}/{path.decode()}" for path, _ in selection.below)
    return out


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.txt", ["a.txt"]),
        ("/a.txt", ["a.txt"]),
        ("./a.txt", ["a.txt"]),
        ("../../a.txt", ["a.txt"]),
        ("dir/../a.txt", ["a.txt"]),
        ("*.txt", ["[x].txt", "a.txt", "b.txt"]),
        ("[ab].txt", ["a.txt", "b.txt"]),
        ("[^a].txt", ["b.txt"]),
        (r"\[x].txt", ["[x].txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("*/one", ["one", "one"]),
        ("dir", ["dir", "dir/one", "dir/sub", "dir/sub/three.md", "dir/sub/two"]),
        ("dir/", ["dir", "dir/one", "dir/sub", "dir/sub/three.md", "dir/sub/two"]),
        ("link", ["link", "link/three.md", "link/two"]),
        ("link/two", ["two"]),
        ("link/*", ["three.md", "two"]),
        ("absolute", ["absolute"]),
        ("nothing*", []),
        ("nothing/*", []),
        ("a.txt/*", []),
        ("empty", ["empty"]),
    ],
)
def test_select(context: Source, pattern: str, expected: list[str]) -> None:
    assert listing(context, pattern) == expected


@pytest.mark.parametrize("pattern", ["nothing", "dir/nothing", "a.txt/b", "out", "../etc/passwd"])
def test_what_is_not_in_the_context_is_not_found(context: Source, pattern: str) -> None:
    with pytest.raises(ValueError, match="not found in the build context"):
        select(context, pattern)


def test_links_in_circles(context: Source) -> None:
    with pytest.raises(ValueError, match="too many symbolic links"):
        select(context, "loop")


def test_a_bad_pattern(context: Source) -> None:
    with pytest.raises(ValueError, match="syntax error in pattern"):
        select(context, "[a")


def test_the_whole_context_without_what_is_ignored(context: Source) -> None:
    ignore = parse_ignore(b"*\n!dir\ndir/sub/*\n!**/*.md\nempty\n", ".dockerignore")
    source = Filtered(context, ignore)
    (whole,) = select(source, ".")
    assert [path.decode() for path, _ in whole.below] == ["dir", "dir/one", "dir/sub", "dir/sub/three.md"]
    with pytest.raises(ValueError, match=r'"/a\.txt" not found .*: \.dockerignore excludes it'):
        select(source, "a.txt")


def test_a_directory_that_only_holds_what_is_brought_back(context: Source) -> None:
    source = Filtered(context, parse_ignore(b"dir\n!dir/sub/two\n", ".dockerignore"))
    assert listing(source, "dir") == ["dir", "dir/sub", "dir/sub/two"]
    source = Filtered(context, parse_ignore(b"dir\n!dir/sub/nothing\n", ".dockerignore"))
    with pytest.raises(ValueError, match="excludes it"):
        select(source, "dir")


def test_asking_for_a_hidden_file_does_not_show_its_directory(context: Source) -> None:
    source = Filtered(context, parse_ignore(b"dir\n", ".dockerignore"))
    assert source.hides(b"dir/sub/two")
    assert source.node(b"dir/sub") is None
    assert source.node(b"dir") is None
    assert [name for name, _ in source.children(b"")].count(b"dir") == 0


def test_exclude(context: Source) -> None:
    assert listing(context, "dir", ("sub/t*",)) == ["dir", "dir/one", "dir/sub"]
    assert listing(context, "dir", ("**/t*", "!**/*.md")) == ["dir", "dir/one", "dir/sub", "dir/sub/three.md"]
    assert listing(context, "*.txt", ("a*",)) == ["[x].txt", "b.txt"]


def test_a_link_never_leads_out(context: Source) -> None:
    assert resolve(context, b"out") is None
    node = resolve(context, b"absolute")
    assert node is not None
    assert node.path == b"dir/one"


def test_checksum_knows_bytes_and_modes_but_not_times(context: Source) -> None:
    def now() -> str:
        return checksum(select(DirectorySource("/ctx", FileHashes(None)), "dir"))

    first = now()
    os.utime("/ctx/dir/one", ns=(5, 5))
    assert now() == first
    os.chmod("/ctx/dir/one", 0o700)
    second = now()
    assert second != first
    Path("/ctx/dir/one").write_text("!")
    third = now()
    assert third != second
    os.rename("/ctx/dir/sub/two", "/ctx/dir/sub/renamed")
    assert now() != third


def test_nodes_belong_to_root(context: Source) -> None:
    node = context.node(b"a.txt")
    assert node is not None
    assert (node.uid, node.gid) == (0, 0)
    assert stat.S_ISREG(node.mode)


@pytest.mark.parametrize(
    ("path", "expected"),
    [(b"/a/./b//c", b"a/b/c"), (b"a/../..", b""), (b"../a", b"a"), (b"", b""), (b".", b"")],
)
def test_normal(path: bytes, expected: bytes) -> None:
    assert normal(path) == expected
