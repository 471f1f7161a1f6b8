"""Path patterns of COPY sources, .dockerignore and --exclude, as regular expressions.

    *  any characters but /       ?  one character but /       [a-z] [^a-z]  one of a set
    \\x  the character x           **  (only with `deep`) any number of directories

Sources: Go's path/filepath.Match for COPY sources; the Dockerfile reference, ".dockerignore file", which adds
`**`, for the rest.
"""

from __future__ import annotations

import re

WILD = re.compile(r"[*?\[\\]")


class PatternError(ValueError):
    """A pattern with a bad character set or a lone backslash at its end."""


def is_wild(pattern: str) -> bool:
    """Whether a pattern has to be matched rather than compared."""
    return WILD.search(pattern) is not None


def compile_glob(pattern: str, *, deep: bool = False) -> re.Pattern[str]:
    """A whole path's pattern. Raises PatternError."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            stars = at
            while pattern[at : at + 1] == "*":
                at += 1
            if not deep or at == stars:
                piece = "[^/]*"
            elif pattern[at : at + 1] == "/":
                at += 1
                piece = "(?:.*/)?"
            else:
                # `**` at the end matches everything below; in the middle of a name it is `(.*/)?` too.
                piece = ".*" if at == len(pattern) else "(?:.*/)?"
            if not out or out[-1] != piece:  # repeating it changes nothing but the time a match takes
                out.append(piece)
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            piece, at = _set(pattern, at)
            out.append(piece)
        elif char == "\\":
            if at == len(pattern):
                raise PatternError(f"syntax error in pattern {pattern!r}")
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return re.compile("".join(out), re.DOTALL)


def _set(pattern: str, at: int) -> tuple[str, int]:
    """The character set whose [ stands before `at`, and the index behind its ]."""
    start = at
    negated = pattern[at : at + 1] == "^"
    at += negated
    out: list[str] = []
    while True:
        if pattern[at : at + 1] == "]" and out:
            break
        low, at = _member(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _member(pattern, at + 1)
        if low > high:
            raise PatternError(f"syntax error in pattern {pattern!r}: bad range in {pattern[start - 1 : at]}")
        out.append(re.escape(low) if low == high else f"{re.escape(low)}-{re.escape(high)}")
    return f"(?!/)[{'^' if negated else ''}{''.join(out)}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    char = pattern[at : at + 1]
    if char == "\\":
        at += 1
        char = pattern[at : at + 1]
    elif char in ("-", "]"):
        raise PatternError(f"syntax error in pattern {pattern!r}")
    if not char:
        raise PatternError(f"syntax error in pattern {pattern!r}: [ without ]")
    return char, at + 1
