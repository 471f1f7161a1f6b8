"""Parser directives: the `# name=value` comments at the very top of a Dockerfile.

    # syntax=docker/dockerfile:1     the language; only Docker's own, which this package reads itself
    # escape=`                       the escape and continuation character, \\ or `
    # check=skip=all;error=false     settings of the checks ("lint") that other builders run

The first line that is not such a comment ends them. Source: the Dockerfile reference, "Parser directives".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pycontain.errors import BuildError

DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
OWN_SYNTAX = re.compile(r"(docker\.io/)?docker/dockerfile(-upstream)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")


class Directives(NamedTuple):
    """What the directives say. syntax and check are "" where they are not given."""

    escape: str = "\\"
    syntax: str = ""
    check: str = ""


def read_directives(lines: list[str], file: str) -> Directives:
    """The directives of a file. Raises BuildError for one that is repeated or has a bad value."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if number == 1 and line.startswith("#!"):
            continue
        match = DIRECTIVE.fullmatch(line.strip())
        if match is None or (name := match[1].lower()) not in ("escape", "syntax", "check"):
            break
        if name in found:
            raise BuildError(f"only one {name} parser directive can be used", file=file, line=number)
        value = found[name] = match[2]
        if name == "escape" and value not in ("\\", "`"):
            raise BuildError(f"invalid escape {value!r}: must be ` or \\", file=file, line=number)
        if name == "syntax" and not OWN_SYNTAX.fullmatch(value):
            raise BuildError(
                f"not supported yet: # syntax={value}",
                file=file,
                line=number,
                hint="only docker/dockerfile, which is built in",
            )
        if name == "check":
            check_settings(value, file, number)
    return Directives(found.get("escape", "\\"), found.get("syntax", ""), found.get("check", ""))


def check_settings(value: str, file: str, line: int) -> None:
    """Refuse settings of `check` that do not exist. No check is run, so skip= and error= have no effect."""
    for setting in value.split(";"):
        name, equals, given = setting.strip().partition("=")
        if name not in ("skip", "error", "experimental") or not equals or not given:
            raise BuildError(f"invalid check option {setting.strip()!r}", file=file, line=line)
