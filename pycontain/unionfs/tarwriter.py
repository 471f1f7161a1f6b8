"""Tars, written byte for byte as Go's archive/tar writes them, and so as BuildKit and containerd do.

A member has a ustar header if that can hold its values, else a pax header before it. User and group
names stay empty, device numbers are always written, the end is exactly two blocks of zeros.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping

from pycontain.errors import LayerError
from pycontain.unionfs.paxrecords import XATTR

BLOCK = 512
CHUNK = 1 << 20
_NAME, _PREFIX = 100, 155
_ZEROS = bytes(BLOCK)

_TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}


class TarWriter:
    """Writes members one after the other to `write`, in the order in which they are added.

    subsecond: keep nanoseconds, by pax records where they are not zero. False cuts them off, as BuildKit
    does; then the same files give BuildKit's bytes.
    """

    def __init__(self, write: Callable[[bytes], object], *, subsecond: bool = True) -> None:
        self._write = write
        self._subsecond = subsecond

    def add(
        self,
        path: bytes,
        *,
        mode: int,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        size: int = 0,
        rdev: int = 0,
        link: bytes | None = None,
        hardlink: bool = False,
        xattrs: Mapping[bytes, bytes] | None = None,
        content: int | Iterable[bytes] | None = None,
    ) -> None:
        """Write one member.

        path: relative, b"" is the root; mode: with S_IFMT bits; link: a symbolic link's target, or with
        `hardlink` the path of the member that shares its content; content: a descriptor (read from where
        it stands) or pieces, which must come to `size` bytes. LayerError if they do not, or for a socket.
        """
        kind = b"1" if hardlink else _TYPES.get(stat.S_IFMT(mode))
        if kind is None:
            raise LayerError(f"write tar: {path!r} of mode {mode:o} has no place in a tar")
        name = path or b"."
        if kind == b"5":
            name += b"/"
        size = size if kind == b"0" else 0
        seconds, fraction = divmod(mtime_ns, 1_000_000_000)
        if not self._subsecond:
            fraction = 0
        major, minor = (os.major(rdev), os.minor(rdev)) if kind in b"34" else (0, 0)
        records = {XATTR + key: value for key, value in (xattrs or {}).items()}
        link = (link or b"") if kind in b"12" else b""
        prefix, short = _split(name)
        long_name = len(name) > _NAME or not name.isascii()
        if long_name and not prefix:
            records[b"path"] = name
        if len(link) > _NAME or not link.isascii():
            records[b"linkpath"] = link
        for key, value, width in ((b"size", size, 12), (b"uid", uid, 8), (b"gid", gid, 8)):
            if not _fits(value, width):
                records[key] = b"%d" % value
        if fraction or not _fits(seconds, 12):
            records[b"mtime"] = _pax_time(seconds, fraction)
        numbers = (mode & 0o7777, uid, gid, size, seconds, major, minor)
        if records:
            if long_name:
                records[b"path"] = name  # Go does not split a name that has a pax header
            self._write_pax(name, records)
            self._write(_header(_ascii(name), b"", kind, _ascii(link), numbers))
        else:
            self._write(_header(short, prefix, kind, link, numbers))
        if size:
            self._copy(path, size, content)

    def whiteout(self, path: bytes, mtime_ns: int = 0) -> None:
        """Write the mark that hides `path` of the layers below."""
        head, slash, base = path.rpartition(b"/")
        self.add(head + slash + b".wh." + base, mode=stat.S_IFREG, mtime_ns=mtime_ns)

    def opaque(self, directory: bytes, mtime_ns: int = 0) -> None:
        """Write the mark that hides everything the layers below have in `directory`."""
        self.add(
            directory + b"/.wh..wh..opq" if directory else b".wh..wh..opq",
            mode=stat.S_IFREG,
            mtime_ns=mtime_ns,
        )

    def close(self) -> None:
        """Write the end of the archive."""
        self._write(_ZEROS * 2)

    def _write_pax(self, name: bytes, records: dict[bytes, bytes]) -> None:
        payload = b"".join(_record(key, records[key]) for key in sorted(records))
        head, slash, base = name.rpartition(b"/")
        parts = [part for part in (head + slash).split(b"/") if part and part != b"."]
        holder = b"/".join([*parts, b"PaxHeaders.0", *([base] if base else [])])
        short = _ascii(holder)[:_NAME].rstrip(b"/")
        self._write(_header(short, b"", b"x", b"", (0, 0, 0, len(payload), 0, None, None)))
        self._write(payload + bytes(-len(payload) % BLOCK))

    def _copy(self, path: bytes, size: int, content: int | Iterable[bytes] | None) -> None:
        written = 0
        for piece in _pieces(content, size):
            written += len(piece)
            if written > size:
                break
            self._write(piece)
        if written != size:
            raise LayerError(
                f"write tar: {path!r} has {'more' if written > size else written} bytes, not {size}",
                hint="did it change meanwhile?",
            )
        if size % BLOCK:
            self._write(bytes(-size % BLOCK))


def _pieces(content: int | Iterable[bytes] | None, size: int) -> Iterable[bytes]:
    """The content in pieces; of a descriptor no more than `size` bytes."""
    if not isinstance(content, int):
        yield from content or ()
        return
    left = size
    while left:
        piece = os.read(content, min(left, CHUNK))
        if not piece:
            return
        left -= len(piece)
        yield piece


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Prefix and name of a ustar header; the prefix is empty where the name is short or cannot be split."""
    length = len(name)
    if length <= _NAME or not name.isascii():
        return b"", name
    if length > _PREFIX + 1:
        length = _PREFIX + 1
    elif name.endswith(b"/"):
        length -= 1
    at = name.rfind(b"/", 0, length)
    rest = len(name) - at - 1
    if at <= 0 or not 0 < rest <= _NAME or at > _PREFIX:
        return b"", name
    return name[:at], name[at + 1 :]


def _header(name: bytes, prefix: bytes, kind: bytes, link: bytes, numbers: tuple[int | None, ...]) -> bytes:
    """One ustar block. numbers: mode uid gid size mtime devmajor devminor; None leaves a field empty."""
    mode, uid, gid, size, mtime, major, minor = numbers
    block = b"".join(
        (
            _text(name, _NAME),
            _octal(mode, 8),
            _octal(uid, 8),
            _octal(gid, 8),
            _octal(size, 12),
            _octal(mtime, 12),
            b"        ",
            kind,
            _text(link, _NAME),
            b"ustar\x0000",
            bytes(64),
            _octal(major, 8),
            _octal(minor, 8),
            _text(prefix, _PREFIX),
            bytes(12),
        )
    )
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])


def _text(value: bytes, width: int) -> bytes:
    if len(value) > width:
        value = value[:width]
        if value.endswith(b"/"):  # readers take a slash at the end for a directory; Go cuts it too
            value = value[:-1].rstrip(b"/")
    return value.ljust(width, b"\0")


def _fits(value: int, width: int) -> bool:
    return 0 <= value < 1 << 3 * (width - 1)


def _octal(value: int | None, width: int) -> bytes:
    """Octal digits and a NUL; 0 for what does not fit (a pax record has the value then)."""
    if value is None:
        return bytes(width)
    return b"%0*o\0" % (width - 1, value if _fits(value, width) else 0)


def _ascii(value: bytes) -> bytes:
    """Only the ASCII characters, as Go fills a field whose true value stands in a pax record."""
    return value if value.isascii() else bytes(byte for byte in value if byte < 0x80)


def _record(key: bytes, value: bytes) -> bytes:
    """ "<length> key=value\\n", where the length counts its own digits."""
    size = len(key) + len(value) + 3
    length = size + len(str(size))
    if size + len(str(length)) != length:
        length = size + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _pax_time(seconds: int, fraction: int) -> bytes:
    """Seconds with as many decimals as needed; seconds is rounded down, so a negative time is put right."""
    if not fraction:
        return b"%d" % seconds
    sign = b""
    if seconds < 0:
        sign, seconds, fraction = b"-", -(seconds + 1), 1_000_000_000 - fraction
    return (b"%b%d.%09d" % (sign, seconds, fraction)).rstrip(b"0")
