"""--chmod: octal as `0755`, or symbolic as chmod(1) reads it: `u=rwX,go=rX`, `a+x`, `g=u`."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable

OCTAL = re.compile(r"[0-7]+")
CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
ACTION = re.compile(r"([-+=])([ugo](?![rwxXst])|[rwxXst]*)")
SHIFTS = {"u": 6, "g": 3, "o": 0}
Change = Callable[[int], int]


def parse_chmod(text: str) -> Change:
    """A function from a file's mode (with its type) to its new permission bits. Raises ValueError."""
    if OCTAL.fullmatch(text):
        value = int(text, 8)
        if value > 0o7777:
            raise ValueError(f"invalid chmod parameter {text!r}: an octal number is between 0 and 07777")
        return lambda mode: value
    if text[:1].isdigit():
        raise ValueError(f"invalid chmod parameter {text!r}: an octal number is between 0 and 07777")
    clauses: list[tuple[str, str, str]] = []
    for clause in text.split(","):
        match = CLAUSE.fullmatch(clause)
        if match is None:
            raise ValueError(f"invalid chmod parameter {text!r}")
        who = match[1] or "a"
        classes = "ugo" if "a" in who else who
        clauses.extend((classes, sign, letters) for sign, letters in ACTION.findall(match[2]))

    def change(mode: int) -> int:
        for classes, sign, letters in clauses:
            mode = _apply(mode, classes, sign, letters)
        return mode & 0o7777

    return change


def _apply(mode: int, classes: str, sign: str, letters: str) -> int:
    bits = mask = 0
    for name in classes:
        shift = SHIFTS[name]
        mask |= 0o7 << shift | {"u": stat.S_ISUID, "g": stat.S_ISGID, "o": 0}[name]
        if letters in SHIFTS and letters:
            bits |= (mode >> SHIFTS[letters] & 0o7) << shift
            continue
        bits |= sum(bit << shift for letter, bit in (("r", 4), ("w", 2), ("x", 1)) if letter in letters)
        if "X" in letters and (stat.S_ISDIR(mode) or mode & 0o111):
            bits |= 1 << shift
        if "s" in letters:
            bits |= {"u": stat.S_ISUID, "g": stat.S_ISGID, "o": 0}[name]
    if "t" in letters and letters not in SHIFTS:
        bits |= stat.S_ISVTX
    if sign == "+":
        return mode | bits
    if sign == "-":
        return mode & ~bits
    return mode & ~mask | bits
