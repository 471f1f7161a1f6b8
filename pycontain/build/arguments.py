"""Build arguments: given by --build-arg, predefined, and declared before the first FROM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pycontain.build.instructions import Arg
from pycontain.build.words import Expander, WordError
from pycontain.errors import BuildError
from pycontain.image.platform import Platform

PROXIES = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
EPOCH = "SOURCE_DATE_EPOCH"
LAST_SECOND = 253402300799  # of the year 9999, with which RFC 3339 ends


class BuildArguments:
    """given: from the command line; globals: what FROM may use and a stage's `ARG name` inherits.

    used collects the names that some ARG declared.
    """

    def __init__(self, given: Mapping[str, str], globals: dict[str, str]) -> None:
        self.given = given
        self.globals = globals
        self.used: set[str] = set()

    def unused(self) -> list[str]:
        """Given arguments that nothing declared; the proxies need no declaration."""
        return sorted(set(self.given) - self.used - PROXIES - {EPOCH})

    def proxies(self) -> dict[str, str]:
        return {name: value for name, value in self.given.items() if name in PROXIES}

    def epoch(self) -> int | None:
        """SOURCE_DATE_EPOCH in seconds. Raises ValueError where it is no number."""
        text = self.given.get(EPOCH, self.globals.get(EPOCH, ""))
        if not text:
            return None
        if not text.isdecimal() or len(text) > 12 or int(text) > LAST_SECOND:
            raise ValueError(f"{EPOCH}={text}: must be seconds since 1970")
        return int(text)


def predefined(build: Platform, target: Platform, stage: str) -> dict[str, str]:
    """The arguments that every build has (Dockerfile reference, "Automatic platform ARGs")."""
    values = {"TARGETSTAGE": stage or "default"}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        values[f"{prefix}PLATFORM"] = platform_text(platform)
        values[f"{prefix}OS"] = platform.os
        values[f"{prefix}ARCH"] = platform.architecture
        values[f"{prefix}VARIANT"] = platform.variant or ""
    return values


def platform_text(platform: Platform) -> str:
    parts = [platform.os, platform.architecture, platform.variant or ""]
    return "/".join(part for part in parts if part)


def global_arguments(
    instructions: Iterable[Arg], given: Mapping[str, str], values: Mapping[str, str], escape: str, file: str
) -> BuildArguments:
    """The arguments after the ARGs before the first FROM. Raises BuildError."""
    known = {name: given.get(name, value) for name, value in values.items()}
    arguments = BuildArguments(given, known)
    for instruction in instructions:
        for name, default in instruction.pairs:
            arguments.used.add(name)
            if name in given:
                known[name] = given[name]
            elif default is not None:
                try:
                    known[name] = Expander(known, escape).word(default)
                except WordError as error:
                    raise BuildError(f"ARG {name}: {error}", file=file, line=instruction.line) from None
    return arguments
