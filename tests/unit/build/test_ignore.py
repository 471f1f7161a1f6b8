"""`.dockerignore`: the rows of the reference's table, and the corner cases of moby's matcher."""

from __future__ import annotations

import pytest

from pycontain.build.glob import PatternError, compile_glob
from pycontain.build.ignore import parse_ignore
from pycontain.errors import BuildError


def ignored(patterns: str, path: str) -> bool:
    return parse_ignore(patterns.encode(), ".dockerignore").ignores(path)


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        ("# comment", "# comment", False),
        ("*/temp*", "somedir/temporary.txt", True),
        ("*/temp*", "somedir/temp", True),
        ("*/temp*", "somedir/sub/temporary.txt", False),
        ("*/*/temp*", "somedir/sub/temporary.txt", True),
        ("temp?", "tempa", True),
        ("temp?", "temp", False),
        ("temp?", "temp/a", False),
        ("dir", "dir", True),
        ("dir", "dir/below/file", True),
        ("dir/", "dir/file", True),
        ("/dir", "dir/file", True),
        ("./dir/../dir", "dir", True),
        ("dir", "other/dir", False),
        ("**/dir", "other/dir/x", True),
        ("**/dir", "dir", True),
        ("**/*.go", "main.go", True),
        ("**/*.go", "a/b/main.go", True),
        ("**", "anything/at/all", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("**/a/**/b", "x/a/y/z/b", True),
        ("*.md\n!README.md", "README.md", False),
        ("*.md\n!README.md", "OTHER.md", True),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
        ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
        ("dir\n!dir/keep", "dir/keep", False),
        ("dir\n!dir/keep", "dir/other", True),
        ("*\n!src", "src/a/b.c", False),
        ("*\n!src", "doc/a", True),
        ("*\n!src/**/*.c", "src/deep/x.c", False),
        ("*\n!src/**/*.c", "src/deep/x.h", True),
        ("!a\na", "a", True),
        ("  dir  ", "dir", True),
        ("! dir\ndir", "dir", True),
        ("dir\n! dir", "dir", False),
        ("a.b", "axb", False),
        ("a+b", "a+b", True),
        ("[ab].txt", "a.txt", True),
        ("[^ab].txt", "c.txt", True),
        ("[^ab].txt", "a.txt", False),
        ("[a-c]x", "bx", True),
        ("a[/]b", "a/b", False),
        (r"\*.txt", "*.txt", True),
        (r"\*.txt", "a.txt", False),
        ("a$b", "a$b", True),
        ("*", ".hidden", True),
        ("\ufeff*.log", "x.log", True),
        ("*.log\r\n*.tmp\r\n", "x.tmp", True),
        ("", "x", False),
        ("dir(1)", "dir(1)/x", True),
    ],
)
def test_ignore(patterns: str, path: str, expected: bool) -> None:
    assert ignored(patterns, path) is expected


@pytest.mark.parametrize("pattern", ["!", "[a", "[", "a\\", "[]a", "[z-a]", "[a-"])
def test_bad_patterns_are_named_with_their_line(pattern: str) -> None:
    with pytest.raises(BuildError, match=r"^\.dockerignore:2: "):
        parse_ignore(b"fine\n" + pattern.encode(), ".dockerignore")


def test_what_may_be_brought_back() -> None:
    ignore = parse_ignore(b"*\n!src/lib/*.c\n", "f")
    assert ignore.may_bring_back_below("src")
    assert ignore.may_bring_back_below("src/lib")
    assert not ignore.may_bring_back_below("doc")
    assert not ignore.may_bring_back_below("src/other")


def test_a_pattern_of_many_stars_is_not_slow() -> None:
    expression = compile_glob("**/" * 200 + "x", deep=True)
    assert expression.fullmatch("a/" * 200 + "y") is None
    assert compile_glob("*" * 200 + "x").fullmatch("a" * 200) is None


def test_glob_of_go() -> None:
    assert compile_glob("a*").fullmatch("abc")
    assert not compile_glob("a*").fullmatch("a/b")
    assert not compile_glob("a**").fullmatch("a/b")
    with pytest.raises(PatternError):
        compile_glob("[-x]")
