"""Extended headers of POSIX.1-2001 tars: "<length> <key>=<value>\\n" records (pax(1), "pax Header Block")."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from pycontain.errors import LayerError

XATTR = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."
_XATTR_NAME_MAX = 255
_XATTR_SIZE_MAX = 65536


class Pax(NamedTuple):
    """What an extended header says about the member after it; None where it says nothing. mtime in ns."""

    path: bytes | None = None
    linkpath: bytes | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None
    xattrs: dict[bytes, bytes] | None = None


def parse_pax(payload: bytes) -> Pax:
    """The records in an extended header. LayerError where they are malformed, or ask for sparse files."""
    records: dict[bytes, bytes] = {}
    xattrs: dict[bytes, bytes] = {}
    at = 0
    while at < len(payload):
        space = payload.find(b" ", at, at + 20)
        end = at + _integer(payload[at:space], "record length") if space >= 0 else 0
        if not space + 2 < end <= len(payload) or payload[end - 1 : end] != b"\n":
            raise LayerError("read tar: a pax header is malformed")
        key, equals, value = payload[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise LayerError("read tar: a pax header is malformed")
        if key.startswith(XATTR):
            xattrs[key[len(XATTR) :]] = value
        elif key.startswith(_LIBARCHIVE):
            xattrs.setdefault(*_libarchive(key, value))
        elif key.startswith(b"GNU.sparse."):
            raise LayerError(
                "read tar: GNU sparse members are not supported", hint="make the archive without --sparse"
            )
        elif value:  # an empty value takes the record back
            records[key] = value
        else:
            records.pop(key, None)
        at = end
    for name, value in xattrs.items():
        if not 0 < len(name) <= _XATTR_NAME_MAX or b"\0" in name or len(value) > _XATTR_SIZE_MAX:
            raise LayerError(f"read tar: the extended attribute {name[:80]!r} is not valid")
    return Pax(
        _text(records.get(b"path")),
        _text(records.get(b"linkpath")),
        _optional(records.get(b"size"), "size"),
        _optional(records.get(b"uid"), "uid"),
        _optional(records.get(b"gid"), "gid"),
        _time(records.get(b"mtime")),
        xattrs or None,
    )


def _integer(digits: bytes, what: str) -> int:
    if not digits.isdigit() or len(digits) > 19 or int(digits) >> 63:
        raise LayerError(
            f"read tar: the {what} {digits[:40]!r} of a pax header is not a number from 0 to 2^63"
        )
    return int(digits)


def _optional(value: bytes | None, what: str) -> int | None:
    return None if value is None else _integer(value, what)


def _text(value: bytes | None) -> bytes | None:
    if value is not None and b"\0" in value:
        raise LayerError("read tar: a pax header's name holds a NUL byte")
    return value


def _time(value: bytes | None) -> int | None:
    """ "-1.25" -> -1250000000 ns. A time that does not fit 64 bits of ns counts as 1970, as in Docker."""
    if value is None:
        return None
    whole, _, fraction = value.removeprefix(b"-").partition(b".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        raise LayerError(f"read tar: the mtime {value[:40]!r} of a pax header is not a time")
    if len(whole) > 18:
        return 0
    time = int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0") or b"0")
    if value[:1] == b"-":
        time = -time
    return time if -(1 << 63) <= time < 1 << 63 else 0


def _libarchive(key: bytes, value: bytes) -> tuple[bytes, bytes]:
    """bsdtar writes names percent-encoded and values in base64, beside SCHILY's records."""
    from urllib.parse import unquote_to_bytes  # 4 ms to load, and rarely needed

    padded = value + b"=" * (-len(value) % 4)
    try:
        return unquote_to_bytes(key[len(_LIBARCHIVE) :]), base64.b64decode(padded, validate=True)
    except binascii.Error as error:
        raise LayerError(f"read tar: the attribute {key[:80]!r} is not base64") from error
