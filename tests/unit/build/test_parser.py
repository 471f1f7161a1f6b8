"""A Dockerfile as instructions."""

from __future__ import annotations

import re
from typing import TypeVar

import pytest

from pycontain.build import instructions as ops
from pycontain.build.durations import format_duration, parse_duration
from pycontain.build.heredoc import Heredoc
from pycontain.build.parser import parse, parse_trigger
from pycontain.errors import BuildError

T = TypeVar("T")


def only(text: str, kind: type[T]) -> T:
    """The one instruction behind FROM."""
    found = parse(f"FROM scratch\n{text}".encode()).instructions[1:]
    assert len(found) == 1
    assert isinstance(found[0], kind)
    return found[0]


def test_a_whole_file() -> None:
    text = b"""\
# syntax=docker/dockerfile:1
# escape=\\

# A comment
ARG VERSION=3 OTHER
from --platform=$BUILDPLATFORM debian:$VERSION AS Build
RUN apt-get update && \\
    # in between

    apt-get install \\
      gcc
ENV A=1 B="two words" \\
    C='$A'
WORKDIR /src
COPY --chown=1:2 ["a file", "b", "/src/"]
"""
    arg, base, run, env, workdir, copy = parse(text, "Dockerfile").instructions
    assert arg == ops.Arg((("VERSION", "3"), ("OTHER", None)), source="ARG VERSION=3 OTHER", line=5, end=5)
    assert isinstance(base, ops.From)
    assert (base.image, base.name, base.platform) == ("debian:$VERSION", "build", "$BUILDPLATFORM")
    assert isinstance(run, ops.Run)
    assert run.command == ops.CommandLine(("apt-get update &&     apt-get install       gcc",), True)
    assert (run.line, run.end) == (7, 11)
    assert isinstance(env, ops.Env)
    assert env.pairs == (("A", "1"), ("B", '"two words"'), ("C", "'$A'"))
    assert isinstance(workdir, ops.Workdir)
    assert workdir.path == "/src"
    assert isinstance(copy, ops.Copy)
    assert (copy.sources, copy.destination, copy.chown) == (("a file", "b"), "/src/", "1:2")


@pytest.mark.parametrize(
    ("text", "words", "shell"),
    [
        ('["a", "b c"]', ("a", "b c"), False),
        ("a b c", ("a b c",), True),
        ("['a']", ("['a']",), True),
        ('["a"', ('["a"',), True),
        ('[ "$x" = y ] && z', ('[ "$x" = y ] && z',), True),
        ('["a"] && b', ('["a"] && b',), True),
        ("[]", (), False),
        ('["\\u00e9"]', ("é",), False),
    ],
)
def test_json_and_shell_form(text: str, words: tuple[str, ...], shell: bool) -> None:
    assert only(f"CMD {text}", ops.Cmd).command == ops.CommandLine(words, shell)


def test_a_json_list_of_something_else_is_refused() -> None:
    with pytest.raises(BuildError, match="Dockerfile:2: when using JSON array syntax"):
        only("CMD [1]", ops.Cmd)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("A=1", (("A", "1"),)),
        ("A=1 B=2", (("A", "1"), ("B", "2"))),
        ("A one two", (("A", "one two"),)),
        ('A="x y" B=\\ z', (("A", '"x y"'), ("B", "\\ z"))),
        ("A=a=b", (("A", "a=b"),)),
        ("A=", (("A", ""),)),
        ('A="a\'b"', (("A", '"a\'b"'),)),
        ("A='a\\' B=2", (("A", "'a\\'"), ("B", "2"))),
    ],
)
def test_env(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    assert only(f"ENV {text}", ops.Env).pairs == pairs


def test_heredocs() -> None:
    run = only("RUN <<EOF\na $x\n\nb\nEOF", ops.Run)
    assert run.command == ops.CommandLine(("<<EOF",), True, (Heredoc("EOF", True, False, 0, "a $x\n\nb\n"),))
    assert run.end == 6
    run = only("RUN 3<<-\"E F\" python <<'B'\n\tx\n\tE F\ny\nB", ops.Run)
    first, second = run.command.heredocs
    assert (first.name, first.expand, first.descriptor, first.text) == ("E F", False, 3, "x\n")
    assert (second.name, second.text) == ("B", "y\n")
    copy = only("COPY --chmod=644 <<one <<two /d/\n1\none\n2\r\ntwo", ops.Copy)
    assert [body.name for body in copy.heredocs] == ["one", "two"]
    assert copy.heredocs[1].content == "2\r\n"
    assert copy.sources == ()


@pytest.mark.parametrize("text", ["RUN a <<<b", 'RUN ["<<EOF"]', "CMD <<EOF", "RUN echo '<<EOF'", "RUN a<<b"])
def test_no_heredoc(text: str) -> None:
    assert len(parse(f"FROM scratch\n{text}\n".encode()).instructions) == 2


def test_onbuild_keeps_its_heredoc() -> None:
    trigger = only("ONBUILD RUN <<EOF\nx\nEOF", ops.OnBuild).trigger
    run = parse_trigger(trigger, "Dockerfile", 7)
    assert isinstance(run, ops.Run)
    assert run.command.heredocs[0].content == "x\n"
    assert run.line == 7


def test_healthcheck() -> None:
    check = only("HEALTHCHECK --interval=1m30s --retries=3 --start-interval=2s CMD curl x", ops.Healthcheck)
    assert check.test == ("CMD-SHELL", "curl x")
    assert (check.interval, check.retries, check.start_interval) == (90 * 10**9, 3, 2 * 10**9)
    assert only('HEALTHCHECK\tCMD ["a"]', ops.Healthcheck).test == ("CMD", "a")
    assert only("HEALTHCHECK none", ops.Healthcheck).test == ("NONE",)


def test_the_backtick_as_escape() -> None:
    text = b"# escape=`\nFROM scratch\nRUN a `\n  b\\\nENV x=a` b\n"
    run, env = parse(text).instructions[1:]
    assert isinstance(run, ops.Run)
    assert run.command.words == ("a   b\\",)
    assert isinstance(env, ops.Env)
    assert env.pairs == (("x", "a` b"),)


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("RUN a \\\nb", "a b"),
        ("RUN a \\  \nb", "a b"),
        ("RUN a \\\n# c\n\n  b", "a   b"),
        ("RUN a \\", "a"),
        ("RUN a \\\n", "a"),
        ("RUN a \\\n# c", "a"),
        ("RUN a \\\\\nENV x y", "a \\\\"),
        ("\\\nRUN a", "a"),
        ("  RUN a", "a"),
        ("RUN a # no comment", "a # no comment"),
        ("\ufeffRUN a", None),
    ],
)
def test_lines(text: str, joined: str | None) -> None:
    if joined is None:  # a byte order mark counts at the beginning of the file only
        assert len(parse(f"\ufeffFROM scratch\n{text[1:]}".encode()).instructions) == 2
        return
    run = parse(f"FROM scratch\n{text}".encode()).instructions[1]
    assert isinstance(run, ops.Run)
    assert run.command.words == (joined,)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 0, "no instructions"),
        ("# only a comment", 0, "no instructions"),
        ("RUN x", 1, "before the first FROM"),
        ("ARG x", 0, "no FROM"),
        ("FROM", 1, "one or three arguments"),
        ("FROM a b", 1, "one or three arguments"),
        ("FROM a AS 1x", 1, "invalid name for build stage"),
        ("FROM a AS a/b", 1, "invalid name for build stage"),
        ("FROM a\nCOYP a b", 2, "unknown instruction: COYP (did you mean COPY?)"),
        ("FROM a\n\nRUN --mont=type=cache x", 3, "unknown flag: RUN --mont"),
        ("FROM a\nRUN --mount=type=cache,target=/x y", 2, "not supported yet: RUN --mount=type=cache"),
        ("FROM a\nRUN --network=none x", 2, "not supported yet: RUN --network=none"),
        ("FROM a\nRUN --security=insecure x", 2, "not supported yet: RUN --security=insecure"),
        ("FROM a\nRUN --device=x y", 2, "not supported yet: RUN --device=x"),
        ("FROM a\nCOPY --parents a b", 2, "not supported yet: COPY --parents"),
        ("FROM a\nADD --keep-git-dir a b", 2, "not supported yet: ADD --keep-git-dir"),
        ("FROM a\nCOPY --checksum=x a b", 2, "unknown flag: COPY --checksum"),
        ("FROM a\nADD --from=x a b", 2, "unknown flag: ADD --from"),
        ("FROM a\nCOPY --chown a b", 2, "missing a value on flag"),
        ("FROM a\nCOPY --chown=1 --chown=2 a b", 2, "duplicate flag"),
        ("FROM a\nCOPY --link=maybe a b", 2, "expecting boolean"),
        ("FROM a\nCOPY a", 2, "at least two arguments"),
        ("FROM a\nCOPY a <<EOF\nEOF", 2, "heredoc as a destination"),
        ("FROM a\nRUN <<EOF\nx", 2, "unterminated heredoc <<EOF"),
        ("FROM a\nRUN", 2, "requires a command"),
        ("FROM a\nCMD", 2, "requires an argument"),
        ("FROM a\nENV", 2, "at least one argument"),
        ("FROM a\nENV a", 2, "must have two arguments"),
        ("FROM a\nENV a=1 b", 2, "can't find = in 'b'"),
        ("FROM a\nENV =1", 2, "can not be blank"),
        ("FROM a\nLABEL a=1 b", 2, "can't find ="),
        ("FROM a\nARG", 2, "at least one argument"),
        ("FROM a\nARG =x", 2, "can not be blank"),
        ("FROM a\nSHELL bash", 2, "JSON form"),
        ("FROM a\nSHELL []", 2, "at least one"),
        ("FROM a\nEXPOSE", 2, "at least one"),
        ('FROM a\nVOLUME [""]', 2, "empty string"),
        ("FROM a\nUSER", 2, "requires an argument"),
        ("FROM a\nHEALTHCHECK", 2, "unknown type"),
        ("FROM a\nHEALTHCHECK NONE x", 2, "takes no arguments"),
        ("FROM a\nHEALTHCHECK CMD", 2, "missing command"),
        ("FROM a\nHEALTHCHECK --interval=1 CMD x", 2, "invalid duration"),
        ("FROM a\nHEALTHCHECK --interval=1us CMD x", 2, "less than 1ms"),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x", 2, "not negative"),
        ("FROM a\nONBUILD", 2, "at least one"),
        ("FROM a\nONBUILD ONBUILD RUN x", 2, "isn't allowed"),
        ("FROM a\nONBUILD FROM x", 2, "isn't allowed"),
        ("FROM a\nONBUILD MAINTAINER x", 2, "isn't allowed"),
        ("FROM a\nONBUILD XYZZY x", 2, "unknown instruction"),
        ("FROM a\nONBUILD COPY x", 2, "at least two"),
        ("# escape=x\nFROM a", 1, "invalid escape"),
        ("# escape=`\n# escape=`\nFROM a", 2, "only one escape"),
        ("# syntax=example.com/other\nFROM a", 1, "not supported yet: # syntax=example.com/other"),
        ("# check=skipp=all\nFROM a", 1, "invalid check option"),
    ],
)
def test_errors_name_the_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(BuildError) as caught:
        parse(text.encode(), "path/Dockerfile")
    where = f"path/Dockerfile:{line}: " if line else "path/Dockerfile: "
    assert str(caught.value).startswith(where)
    assert reason in str(caught.value)


@pytest.mark.parametrize("syntax", ["docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs"])
def test_dockers_own_syntax_is_built_in(syntax: str) -> None:
    assert parse(f"#!/usr/bin/x\n#syntax = {syntax}\nFROM a".encode()).directives.syntax == syntax


def test_directives_end_with_the_first_other_line() -> None:
    assert parse(b"# a comment\n# escape=x\nFROM a").directives.escape == "\\"
    assert parse(b"# other=1\n# escape=x\nFROM a").directives.escape == "\\"
    assert parse(b"\n# escape=x\nFROM a").directives.escape == "\\"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1s", 10**9),
        ("1.5s", 1_500_000_000),
        ("1h2m3s", 3723 * 10**9),
        ("100ms", 10**8),
        ("0", 0),
        ("-2us", -2000),
        (".5m", 30 * 10**9),
        ("3µs", 3000),
    ],
)
def test_durations(text: str, value: int) -> None:
    assert parse_duration(text) == value
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1 s", "-", "1e3s", "99999999999h"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape("invalid duration")):
        parse_duration(text)


def test_durations_as_go_prints_them() -> None:
    assert [format_duration(value) for value in (0, 1, 1500, 2 * 10**6, 10**9, 90 * 10**9, 3600 * 10**9)] == [
        "0s",
        "1ns",
        "1.5µs",
        "2ms",
        "1s",
        "1m30s",
        "1h0m0s",
    ]
