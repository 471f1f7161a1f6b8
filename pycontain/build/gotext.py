"""Values as Go's fmt prints them: the history of an image is compared with other builders' by its text."""

from __future__ import annotations

from collections.abc import Iterable

from pycontain.build.durations import format_duration
from pycontain.image.config import Healthcheck

ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def quoted(text: str) -> str:
    """%q of a string."""
    out = []
    for char in text:
        if char in ESCAPES:
            out.append(ESCAPES[char])
        elif char.isprintable():
            out.append(char)
        else:
            code = ord(char)
            out.append(
                f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
            )
    return '"' + "".join(out) + '"'


def quoted_list(texts: Iterable[str]) -> str:
    """%q of a list of strings: ["a" "b"]."""
    return "[" + " ".join(map(quoted, texts)) + "]"


def plain_list(texts: Iterable[str]) -> str:
    """%v of a list of strings: [a b]."""
    return "[" + " ".join(texts) + "]"


def health(check: Healthcheck) -> str:
    """%+v of Docker's health check."""
    return (
        f"{{Test:{plain_list(check.test)} Interval:{format_duration(check.interval)}"
        f" Timeout:{format_duration(check.timeout)} StartPeriod:{format_duration(check.start_period)}"
        f" StartInterval:{format_duration(check.start_interval)} Retries:{check.retries}}}"
    )
