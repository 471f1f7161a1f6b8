"""The Range header: which bytes of a file a client wants (RFC 9110 section 14)."""

from __future__ import annotations

import re

MAX_RANGES = 1024  # what podman sends at most for one layer

_SPEC = re.compile(r"([0-9]{0,19})-([0-9]{0,19})")


class Unsatisfiable(Exception):
    """None of the ranges lies inside the file (HTTP 416)."""


def parse_ranges(header: str, size: int) -> list[tuple[int, int]] | None:
    """The (offset, length) pairs that a Range header asks of a file of size bytes, in its order.

    None means: send the whole file. That is the answer to a unit or syntax we do not know, to too many
    ranges, and to ranges that together are more than the file, which is how a client would make a
    server work for nothing.
    """
    unit, _, specs = header.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    ranges: list[tuple[int, int]] = []
    items = [item.strip(" \t") for item in specs.split(",")]
    if len(items) > MAX_RANGES:
        return None
    for item in items:
        match = _SPEC.fullmatch(item)
        if not match or (not match[1] and not match[2]):
            return None
        if not match[1]:  # the last n bytes
            length = min(int(match[2]), size)
            start = size - length
        else:
            start = int(match[1])
            end = min(int(match[2]), size - 1) if match[2] else size - 1
            if match[2] and int(match[2]) < start:
                return None
            length = end - start + 1
        if start < size and length > 0:
            ranges.append((start, length))
    if not ranges:
        raise Unsatisfiable
    if sum(length for _, length in ranges) > size:
        return None
    return ranges
