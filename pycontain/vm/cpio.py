"""An initial ramdisk: a cpio archive in the "newc" format (Linux, Documentation/driver-api/early-userspace)."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from typing import NamedTuple


class Member(NamedTuple):
    """One file. name: relative; mode with the type's bits; data: content, or a link's target; rdev for devices."""

    name: bytes
    mode: int
    data: bytes = b""
    major: int = 0
    minor: int = 0


def archive(members: Iterable[Member]) -> bytes:
    """The archive's bytes. Owners and times are 0: the same members give the same bytes."""
    out = bytearray()
    for number, member in enumerate(members, 1):
        _add(out, number, member)
    _add(out, 0, Member(b"TRAILER!!!", 0))
    out += bytes(-len(out) % 512)
    return bytes(out)


def _add(out: bytearray, number: int, member: Member) -> None:
    links = 2 if stat.S_ISDIR(member.mode) else 1
    fields = (
        number, member.mode, 0, 0, links, 0, len(member.data), 0, 0, member.major, member.minor,
        len(member.name) + 1, 0,
    )  # fmt: skip
    out += b"070701" + b"".join(b"%08X" % field for field in fields) + member.name + b"\0"
    out += bytes(-len(out) % 4)
    out += member.data
    out += bytes(-len(out) % 4)
