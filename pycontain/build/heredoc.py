"""Here-documents of RUN, COPY and ADD: `<<EOF`, `<<-EOF` (leading tabs dropped), `<<'EOF'` (no variables)."""

from __future__ import annotations

import re
from typing import NamedTuple

from pycontain.build.words import Expander, WordError

HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)", re.DOTALL)
LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)


class Heredoc(NamedTuple):
    """name is the delimiter and the file's name; content is as written, with its line ends."""

    name: str
    expand: bool
    chomp: bool
    descriptor: int = 0
    content: str = ""

    @property
    def text(self) -> str:
        """The content, without leading tabs for `<<-`."""
        return LEADING_TABS.sub("", self.content) if self.chomp else self.content


def heredoc_of(word: str) -> Heredoc | None:
    """The heredoc that one word opens, or None."""
    match = HEREDOC.fullmatch(word)
    if match is None or not match[3] or len(match[1]) > 9:
        return None
    try:
        plain = Expander({}, skip_unset=True).words(match[3])
        raw = Expander({}, raw_quotes=True, raw_escapes=True, skip_unset=True).words(match[3])
    except WordError:
        return None
    if len(plain) != 1 or len(raw) != 1:
        return None
    return Heredoc(plain[0], plain[0] == raw[0], bool(match[2]), int(match[1] or 0))


def heredocs_of(line: str) -> list[Heredoc]:
    """The heredocs that a line opens, in order."""
    try:
        words = Expander({}, raw_quotes=True, raw_escapes=True, skip_unset=True).words(line)
    except WordError:
        return []
    return [found for word in words if (found := heredoc_of(word)) is not None]
