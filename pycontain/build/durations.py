"""Durations as Go writes them: `1h30m`, `2.5s`, `300ms`; here in nanoseconds."""

from __future__ import annotations

import re
from decimal import Decimal

UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(ns|us|µs|ms|s|m|h)")
MAXIMUM = (1 << 63) - 1


def parse_duration(text: str) -> int:
    """Nanoseconds. Raises ValueError."""
    rest = text.removeprefix("-").removeprefix("+")
    if rest == "0":
        return 0
    total, at = Decimal(0), 0
    while at < len(rest):
        part = PART.match(rest, at)
        if part is None:
            raise ValueError(f"invalid duration {text!r}")
        total += Decimal(part[1]) * UNITS[part[2]]
        at = part.end()
    if not rest or total > MAXIMUM:
        raise ValueError(f"invalid duration {text!r}")
    return -int(total) if text.startswith("-") else int(total)


def format_duration(nanoseconds: int) -> str:
    """As Go prints a time.Duration: "1m30s", "1.5s", "300ms", "0s"."""
    if nanoseconds == 0:
        return "0s"
    sign, value = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if value < UNITS["s"]:
        unit = "ms" if value >= UNITS["ms"] else "µs" if value >= UNITS["us"] else "ns"
        return f"{sign}{_plain(Decimal(value) / UNITS[unit])}{unit}"
    hours, value = divmod(value, UNITS["h"])
    minutes, value = divmod(value, UNITS["m"])
    out = f"{hours}h" if hours else ""
    if hours or minutes:
        out += f"{minutes}m"
    return f"{sign}{out}{_plain(Decimal(value) / UNITS['s'])}s"


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
