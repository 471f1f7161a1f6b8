"""From the bytes of a Dockerfile to logical lines: continuations joined, comments dropped, heredocs read.

Each logical line is one instruction. Line numbers count from 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from pycontain.build.directives import Directives, read_directives
from pycontain.build.heredoc import Heredoc, heredocs_of
from pycontain.errors import BuildError

MAX_LINE = 65535  # characters of one physical line, as Docker has it
MAX_FILE = 16 << 20  # bytes
FLAG = re.compile(r"--\S*\s*")


class Line(NamedTuple):
    """One instruction: text without its heredocs, and the physical lines it spans."""

    text: str
    start: int
    end: int
    heredocs: tuple[Heredoc, ...] = ()


def decode(data: bytes, file: str) -> list[str]:
    """The physical lines with their line ends. Raises BuildError for what is no text."""
    if len(data) > MAX_FILE:
        raise BuildError(f"the file is over {MAX_FILE >> 20} MiB", file=file)
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BuildError("not valid UTF-8", file=file, line=line) from None
    if "\0" in text:
        raise BuildError("a NUL byte", file=file, line=text.count("\n", 0, text.index("\0")) + 1)
    lines = text.split("\n")
    lines = [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    for number, physical in enumerate(lines, 1):
        if len(physical) > MAX_LINE:
            raise BuildError(
                f"dockerfile line greater than max allowed size of {MAX_LINE}", file=file, line=number
            )
    return lines


def read_lines(data: bytes, file: str) -> tuple[Directives, list[Line]]:
    """The directives and the logical lines of a file. Raises BuildError."""
    physical = decode(data, file)
    directives = read_directives(physical, file)
    return directives, list(_logical(physical, directives.escape, file))


def _logical(physical: list[str], escape: str, file: str) -> Iterator[Line]:
    # A doubled escape character at the end of a line is no continuation.
    continued = re.compile(rf"(?:^|(?<=[^{re.escape(escape)}])){re.escape(escape)}[ \t]*$")
    at = 0
    while at < len(physical):
        start = at + 1
        text = physical[at].rstrip("\r\n").lstrip()
        at += 1
        if not text or text.startswith("#"):
            continue
        parts = []
        match = continued.search(text)
        while match and at < len(physical):
            parts.append(text[: match.start()])
            text = physical[at].rstrip("\r\n")
            at += 1
            if not text.strip() or text.lstrip().startswith("#"):
                text, match = "", continued.search(escape)  # comments and empty lines do not end it
                continue
            match = continued.search(text)
        parts.append(text[: match.start()] if match else text)
        line = Line("".join(parts), start, at)
        if not line.text.strip():
            continue
        heredocs = []
        for heredoc in opened(line.text):
            content, at = _body(physical, at, heredoc, start, file)
            heredocs.append(heredoc._replace(content=content))
        yield line._replace(end=at, heredocs=tuple(heredocs)) if heredocs else line


def _body(physical: list[str], at: int, heredoc: Heredoc, start: int, file: str) -> tuple[str, int]:
    """The lines of a heredoc, and the index behind its terminator."""
    first = at
    while at < len(physical):
        text = physical[at].rstrip("\r\n")
        at += 1
        if (text.lstrip("\t") if heredoc.chomp else text) == heredoc.name:
            return "".join(physical[first : at - 1]), at
    raise BuildError(f"unterminated heredoc <<{heredoc.name}", file=file, line=start)


def opened(text: str) -> list[Heredoc]:
    """The heredocs of an instruction; only RUN, COPY and ADD (and ONBUILD of these) may open one."""
    if "<<" not in text:
        return []
    word, _, rest = text.strip().partition(" ")
    if word.upper() == "ONBUILD":
        word, _, rest = rest.strip().partition(" ")
    if word.upper() not in ("RUN", "COPY", "ADD"):
        return []
    arguments = rest.strip()
    while match := FLAG.match(arguments):
        arguments = arguments[match.end() :]
    if json_list(arguments) is not None:
        return []
    return heredocs_of(text)


def json_list(text: str) -> list[object] | None:
    """The JSON list that the whole text is, or None."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None
