"""The WWW-Authenticate header: what a registry wants to see (RFC 9110 section 11.6.1)."""

from __future__ import annotations

import re
from typing import NamedTuple

_MAX_LENGTH = 16 << 10
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:[ \t]+|(?=,|$))")
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))")


class Challenge(NamedTuple):
    """One scheme (lower case) with its parameters (names in lower case)."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """All challenges of a header, or of several joined with ", ".

    Never fails: what cannot be read ends the list, for what came before may be enough.
    """
    found: list[Challenge] = []
    header = header[:_MAX_LENGTH]
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        token68 = _TOKEN68.match(header, position)
        if token68 and not _PARAMETER.match(header, position):
            position = token68.end()
        while parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            parameters.setdefault(name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            position = parameter.end()
        found.append(Challenge(match[1].lower(), parameters))
    return found
