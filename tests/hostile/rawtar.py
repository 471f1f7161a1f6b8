"""Tars that no honest program writes, header by header."""

from __future__ import annotations


def member(
    name: bytes,
    kind: bytes = b"0",
    content: bytes = b"",
    *,
    link: bytes = b"",
    size: bytes | None = None,
    mode: bytes = b"0000644\0",
    uid: bytes = b"0000000\0",
    prefix: bytes = b"",
    device: bytes = b"0000000\0",
    checksum: bool = True,
) -> bytes:
    """A header with a right checksum, whatever is in its fields, and the content."""
    block = b"".join(
        (
            name.ljust(100, b"\0")[:100],
            mode,
            uid,
            b"0000000\0",
            size if size is not None else b"%011o\0" % len(content),
            b"00000000000\0",
            b" " * 8,
            kind,
            link.ljust(100, b"\0")[:100],
            b"ustar\x0000",
            bytes(64),
            device,
            b"0000000\0",
            prefix.ljust(155, b"\0"),
            bytes(12),
        )
    )
    total = sum(block) if checksum else 1
    return block[:148] + b"%06o\0 " % total + block[156:] + content + bytes(-len(content) % 512)


def pax(*records: tuple[bytes, bytes]) -> bytes:
    """An extended header for the member after it."""
    return member(b"pax", b"x", b"".join(record(key, value) for key, value in records))


def record(key: bytes, value: bytes) -> bytes:
    """One record, its length counting itself."""
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length = len(b"%d" % length) + len(key) + len(value) + 3
    return b"%d %b=%b\n" % (length, key, value)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    """GNU's header for a long name, or with "K" a long link."""
    return member(b"././@LongLink", kind, name + b"\0")


END = bytes(1024)
