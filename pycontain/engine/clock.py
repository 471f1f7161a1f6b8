"""Times as Docker writes them: RFC 3339, UTC, nanoseconds."""

from __future__ import annotations

import time

ZERO = "0001-01-01T00:00:00Z"
"""Go's zero time: what Docker shows where nothing has happened yet."""


def rfc3339(nanoseconds: int) -> str:
    """A time since the epoch as "2026-11-21T00:34:00.123456789Z"."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}Z"


def parse_time(text: str, now_ns: int) -> int:
    """ns since the epoch of what --since and --until take: RFC 3339, a date, seconds since the epoch
    ("1700000000.5"), or an age ("1h30m"). ValueError otherwise."""
    try:
        return int(float(text) * 1e9)
    except ValueError:
        pass
    age = parse_duration(text)
    if age is not None:
        return now_ns - age
    from datetime import UTC, datetime  # only for times of day

    plain, dot, rest = text.partition(".")
    fraction = 0
    if dot:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        fraction = int(digits[:9].ljust(9, "0") or "0")
        plain += rest[len(digits) :]
    moment = datetime.fromisoformat(plain)
    if moment.tzinfo is None:
        moment = moment.astimezone()
    return int(moment.astimezone(UTC).timestamp()) * 10**9 + fraction


_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1}


def parse_duration(text: str) -> int | None:
    """ns of Go's durations ("1h30m", "1.5s"); None where it is none."""
    total, rest = 0.0, text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("hmsunµ"))]
        if unit not in _UNITS and len(unit) > 1:
            unit = unit[:2] if unit[:2] in _UNITS else unit[:1]
        try:
            total += float(number) * _UNITS[unit]
        except (KeyError, ValueError):
            return None
        rest = rest[len(unit) :]
    return int(total) if text else None
