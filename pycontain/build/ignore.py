"""`.dockerignore`: which files of a context a build never sees.

The last pattern that matches a path, or a directory above it, decides; `!` brings back what an earlier one
excluded. `<Dockerfile>.dockerignore` beside the Dockerfile wins over `.dockerignore` at the context's root.
Source: the Dockerfile reference, ".dockerignore file"; moby's patternmatcher for the corner cases.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import NamedTuple

from pycontain.build.glob import PatternError, compile_glob, is_wild
from pycontain.errors import BuildError


class Pattern(NamedTuple):
    """One line. exact is the path it names where it has no wildcards; else expression matches paths."""

    text: str
    brings_back: bool
    exact: str | None
    expression: re.Pattern[str] | None

    def matches(self, path: str) -> bool:
        if self.expression is None:
            return path == self.exact
        return self.expression.fullmatch(path) is not None

    def may_match_below(self, directory: str) -> bool:
        """Whether something below the directory may match; False is certain."""
        for mine, theirs in zip(self.text.split("/"), directory.split("/"), strict=False):
            if is_wild(mine):
                return True
            if mine != theirs:
                return False
        return True


# Which patterns match a directory itself or one above it: what its files inherit.
Inherited = tuple[bool, ...]


class Ignore:
    """The patterns of one file."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)
        self.brings_back = tuple(pattern for pattern in self.patterns if pattern.brings_back)
        self.top: Inherited = (False,) * len(self.patterns)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def match(self, path: str, above: Inherited) -> tuple[bool, Inherited]:
        """Whether a path is ignored, given what its directory hands down, and what it hands down itself."""
        ignored = False
        own = []
        for pattern, inherited in zip(self.patterns, above, strict=True):
            matched = inherited or pattern.matches(path)
            own.append(matched)
            if matched:
                ignored = not pattern.brings_back
        return ignored, tuple(own)

    def ignores_file(self, path: str, above: Inherited) -> bool:
        """Whether a path is ignored that hands nothing down: the last pattern that matches decides."""
        for index in range(len(above) - 1, -1, -1):
            pattern = self.patterns[index]
            if above[index] or pattern.matches(path):
                return not pattern.brings_back
        return False

    def ignores(self, path: str) -> bool:
        """Whether one path is ignored."""
        above, ignored = self.top, False
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            ignored, above = self.match("/".join(parts[:count]), above)
        return ignored

    def may_bring_back_below(self, directory: str) -> bool:
        """Whether an ignored directory may hold files that are not ignored."""
        return any(pattern.may_match_below(directory) for pattern in self.brings_back)


def parse_ignore(data: bytes, file: str) -> Ignore:
    """The patterns of a .dockerignore file. Raises BuildError with its line."""
    patterns = []
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#") or not line.strip():
            continue
        try:
            patterns.append(parse_pattern(line))
        except PatternError as error:
            raise BuildError(str(error), file=file, line=number) from None
    return Ignore(patterns)


def parse_pattern(line: str) -> Pattern:
    """One line's pattern. Raises PatternError."""
    text = line.strip()
    brings_back = text.startswith("!")
    if brings_back:
        text = text[1:].strip()
        if not text:
            raise PatternError('illegal exclusion pattern: "!"')
    # normpath keeps a leading // ; both are the context's root here.
    text = posixpath.normpath(text).lstrip("/") or "."
    if is_wild(text):
        return Pattern(text, brings_back, None, compile_glob(text, deep=True))
    return Pattern(text, brings_back, text, None)
