"""A tar, read while it streams past: what it holds, and at which offset.

Formats: V7, POSIX.1-1988 ustar, POSIX.1-2001 pax (path, linkpath, size, uid, gid, mtime and extended
attributes by SCHILY.xattr.* or LIBARCHIVE.xattr.*), GNU long names. Where writers disagree, Go's
archive/tar decides, because Docker, containerd and podman read with it: a global pax header says
nothing about members, types without content have none whatever their size field claims, a stream that
ends without the two zero blocks is whole if it ends between members.

A layer's names are hostile until shown otherwise. Every rule here raises LayerError.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from pycontain.errors import LayerError
from pycontain.unionfs.index import HARD_LINK, NODE, OPAQUE, WHITEOUT, Entry
from pycontain.unionfs.paxrecords import Pax, parse_pax

BLOCK = 512
NAME_MAX = 255
PATH_MAX = 4096
DEPTH_MAX = 500
"""Components of a path. Far more than any tree in use has; code that walks trees may recurse."""
SPECIAL_MAX = 1 << 20
"""Bytes of one pax header or GNU long name (Go's limit too)."""

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_ZEROS = bytes(BLOCK)
_ADLER = 65521

_TYPES = {
    b"0": stat.S_IFREG,
    b"\0": stat.S_IFREG,
    b"7": stat.S_IFREG,
    b"1": stat.S_IFREG,
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
}


class Limits(NamedTuple):
    """How much a tar may hold. metadata: bytes of names, link targets and extended attributes."""

    entries: int = 1_000_000
    metadata: int = 256 << 20


class TarParser:
    """Takes a tar in pieces of any size and collects its entries.

    `feed` every piece in order, then `finish`. whiteouts=False takes names that begin with ".wh." as they
    are, for archives that are not layers.
    """

    def __init__(self, *, whiteouts: bool = True, limits: Limits | None = None) -> None:
        self.ended = False
        """Whether the end-of-archive mark has been seen; what follows it is not looked at."""
        self._whiteouts = whiteouts
        self._limits = limits or Limits()
        self._entries: list[Entry] = []
        self._metadata = 0
        self._position = 0  # of the next byte to come
        self._wanted = 0  # position of the next header
        self._rest = b""  # bytes from _wanted on that were too few
        self._zero_block = False
        self._pax: Pax | None = None
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        self._clean: dict[bytes, bytes] = {b"": b""}  # directory as written -> clean

    @property
    def wanted(self) -> int:
        """The position of the next header: a caller that can seek may `skip` to it."""
        return self._wanted

    def skip(self, position: int) -> None:
        """The next piece comes from `position`, which is not behind `wanted`."""
        if self._rest or position > self._wanted:
            raise ValueError("only what lies before the next header can be skipped")
        self._position = position

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        start = self._position
        self._position += len(data)
        if self.ended or self._position <= self._wanted:
            return
        if self._rest:
            start = self._wanted
            data = self._rest + data
            self._rest = b""
        at = self._wanted - start
        length = len(data)
        while at + BLOCK <= length:
            size = self._header(data, at, start)
            if self.ended:
                return
            if size < 0:
                break
            at += size
        self._wanted = start + at
        if at < length:
            self._rest = data[at:]

    def finish(self) -> list[Entry]:
        """The entries, once all has been fed: of equal names only the last, and no name through a link."""
        if self._pending or (not self.ended and (self._rest or self._position < self._wanted)):
            raise LayerError(f"read tar: it is truncated after {self._position} bytes")
        return _settle(self._entries)

    @property
    def _pending(self) -> bool:
        return self._pax is not None or self._long_name is not None or self._long_link is not None

    def _header(self, data: bytes, at: int, start: int) -> int:
        """Take the header at data[at]; returns how far the next one is, -1 where more bytes are needed."""
        fields = _FIELDS.unpack_from(data, at)
        kind: bytes = fields[7]
        if fields[0][:1] == b"\0" and data[at : at + BLOCK] == _ZEROS:
            self.ended = self._zero_block
            self._zero_block = True
            return BLOCK
        if self._zero_block:
            raise LayerError(f"read tar: a single block of zeros before byte {start + at}")
        _check_sum(data, at, fields[6], start)
        size = number(fields[4], "size")
        padded = (size + BLOCK - 1) & -BLOCK
        if kind in b"xLKg":
            if size > SPECIAL_MAX:
                raise LayerError(f"read tar: a header of {size} bytes at byte {start + at}")
            if at + BLOCK + padded > len(data):
                return -1
            if kind != b"g":
                self._special(kind, data[at + BLOCK : at + BLOCK + size])
            return BLOCK + padded
        pax, self._pax = self._pax, None
        if pax is not None and pax.size is not None:
            size = pax.size
            padded = (size + BLOCK - 1) & -BLOCK
        mode = _TYPES.get(kind)
        if mode is None:
            raise _unsupported(kind)
        name = self._name(fields, pax)
        if kind == b"\0" and name[-1:] == b"/":
            mode = stat.S_IFDIR
        if mode != stat.S_IFREG or kind == b"1":
            size = padded = 0
        self._add(fields, pax, name, kind, mode, size, start + at + BLOCK)
        return BLOCK + padded

    def _special(self, kind: bytes, payload: bytes) -> None:
        """Remember what a pax or GNU header says about the member that follows it."""
        if kind == b"x":
            self._pax = parse_pax(payload)
        elif kind == b"L":
            self._long_name = payload.partition(b"\0")[0]
        else:
            self._long_link = payload.partition(b"\0")[0]

    def _name(self, fields: tuple[bytes, ...], pax: Pax | None) -> bytes:
        if self._long_name is not None:
            name, self._long_name = self._long_name, None
            return name
        if pax is not None and pax.path is not None:
            return pax.path
        name = fields[0].partition(b"\0")[0]
        # GNU's magic is "ustar  "; there the prefix's place holds times.
        if fields[9] == b"ustar\x0000" and fields[12][:1] != b"\0":
            name = fields[12].partition(b"\0")[0] + b"/" + name
        return name

    def _add(
        self,
        fields: tuple[bytes, ...],
        pax: Pax | None,
        name: bytes,
        kind: bytes,
        mode: int,
        size: int,
        offset: int,
    ) -> None:
        """Make the entry of a member whose header is complete."""
        link: bytes | None = None
        rdev = 0
        if kind == b"1" or kind == b"2":
            link = self._link(fields, pax)
        elif kind == b"3" or kind == b"4":
            rdev = _device(fields)
        self._long_link = None
        path = self._path(name)
        uid = pax.uid if pax is not None and pax.uid is not None else number(fields[2], "uid")
        gid = pax.gid if pax is not None and pax.gid is not None else number(fields[3], "gid")
        if uid > 0xFFFFFFFF or gid > 0xFFFFFFFF:
            raise LayerError(f"read tar: {_show(name)} belongs to {uid}:{gid}, which is no user and group")
        mtime = pax.mtime if pax is not None and pax.mtime is not None else _seconds(fields[5])
        xattrs = pax.xattrs if pax is not None else None
        self._count(path, link, xattrs)
        if not path and mode != stat.S_IFDIR:
            raise LayerError(f"read tar: {_show(name)} makes the root something else than a directory")
        if self._whiteouts and b".wh." in path and self._whiteout(path, uid, gid, mtime):
            return
        entry_kind = NODE
        if kind == b"1":
            entry_kind = HARD_LINK
            link = (link or b"").lstrip(b"/")
            link = self._path(link) if link else b""
            if link == path or not link:
                raise LayerError(f"read tar: {_show(name)} is a hard link to itself or to nothing")
        has_content = mode == stat.S_IFREG and entry_kind == NODE
        self._entries.append(
            Entry(
                path,
                mode | (number(fields[1], "mode") & 0o7777),
                uid,
                gid,
                mtime,
                size,
                offset if has_content else -1,
                rdev,
                link,
                entry_kind,
                xattrs,
            )
        )

    def _link(self, fields: tuple[bytes, ...], pax: Pax | None) -> bytes:
        if self._long_link is not None:
            link = self._long_link
        elif pax is not None and pax.linkpath is not None:
            link = pax.linkpath
        else:
            link = fields[8].partition(b"\0")[0]
        if len(link) >= PATH_MAX:
            raise LayerError(f"read tar: a link's target of {len(link)} bytes ({_show(link)})")
        if not link:
            raise LayerError("read tar: a link without a target")
        return link

    def _path(self, name: bytes) -> bytes:
        """The clean form of a name. Directories repeat, so their clean forms are kept."""
        head, slash, tail = name.rpartition(b"/")
        if head in self._clean and tail and tail != b"." and tail != b".." and len(tail) <= NAME_MAX:
            if slash and not head:
                raise LayerError(f"read tar: the name {_show(name)} is absolute")
            head = self._clean[head]
            path = head + b"/" + tail if head else tail
        else:
            path = clean_path(name)
            if tail:
                self._clean[head] = path.rpartition(b"/")[0] if tail != b"." else path
        if len(path) >= PATH_MAX:
            raise LayerError(
                f"read tar: the name {_show(name)} has {len(path)} bytes, more than {PATH_MAX - 1}"
            )
        return path

    def _whiteout(self, path: bytes, uid: int, gid: int, mtime: int) -> bool:
        """Take a whiteout (image-spec layer.md, "Whiteouts"); False where the path is not one."""
        head, _, base = path.rpartition(b"/")
        if any(part.startswith(b".wh.") for part in head.split(b"/")):
            if b".wh..wh." in head:
                return True  # below AUFS's own directories, which say nothing about the layer; as Docker does
            raise LayerError(f"read tar: {_show(path)} lies in a whiteout")
        if not base.startswith(b".wh."):
            return False
        hidden = base[4:]
        if hidden == b".wh..opq":
            self._entries.append(Entry(head, 0, uid, gid, mtime, kind=OPAQUE))
            return True
        if hidden.startswith(b".wh."):
            return True  # AUFS's own files, as above
        if hidden in (b"", b".", b".."):
            raise LayerError(
                f"read tar: {_show(path)} is a whiteout of the directory it lies in, or of its parent"
            )
        self._entries.append(
            Entry(head + b"/" + hidden if head else hidden, 0, uid, gid, mtime, kind=WHITEOUT)
        )
        return True

    def _count(self, path: bytes, link: bytes | None, xattrs: dict[bytes, bytes] | None) -> None:
        self._metadata += len(path) + (len(link) if link else 0)
        if xattrs:
            self._metadata += sum(len(key) + len(value) for key, value in xattrs.items())
        if self._metadata > self._limits.metadata:
            raise LayerError(f"read tar: names and attributes of more than {self._limits.metadata} bytes")
        if len(self._entries) >= self._limits.entries:
            raise LayerError(f"read tar: more than {self._limits.entries} entries")


def read_tar(chunks: Iterable[bytes], *, whiteouts: bool = True, limits: Limits | None = None) -> list[Entry]:
    """The entries of the tar that `chunks` make up. LayerError if it is malformed or hostile."""
    parser = TarParser(whiteouts=whiteouts, limits=limits)
    for chunk in chunks:
        parser.feed(chunk)
    return parser.finish()


def read_tar_file(
    fd: int, *, whiteouts: bool = True, limits: Limits | None = None, whole: bool = False
) -> list[Entry]:
    """The entries of the tar file `fd`, contents skipped by seeking. LayerError; OSError.

    whole: the end mark must be there, since nothing else tells whether all of it is.
    """
    parser = TarParser(whiteouts=whiteouts, limits=limits)
    position, end = 0, os.fstat(fd).st_size
    while position < end and not parser.ended:
        piece = os.pread(fd, 16 << 10, position)
        parser.feed(piece)
        position += len(piece)
        if parser.wanted > position:
            position = min(parser.wanted, end)
            parser.skip(position)
    entries = parser.finish()
    if whole and not parser.ended:
        raise LayerError(f"read tar: it is truncated after {end} bytes; its end mark is missing")
    return entries


def clean_path(name: bytes) -> bytes:
    """ "./usr//bin/" -> "usr/bin"; "./" and "/" are the root, "". LayerError if it could lead elsewhere."""
    if name[:1] == b"/" and name.strip(b"/"):
        raise LayerError(f"read tar: the name {_show(name)} is absolute")
    if b"\0" in name:
        raise LayerError(f"read tar: the name {_show(name)} holds a NUL byte")
    if not name:
        raise LayerError("read tar: a member without a name")
    parts = [part for part in name.split(b"/") if part and part != b"."]
    if b".." in parts:
        raise LayerError(f"read tar: the name {_show(name)} leads out of the root with '..'")
    if len(parts) > DEPTH_MAX:
        raise LayerError(f"read tar: {_show(name)} is {len(parts)} directories deep, over {DEPTH_MAX}")
    if parts and len(max(parts, key=len)) > NAME_MAX:
        raise LayerError(f"read tar: the name {_show(name)} has a part of more than {NAME_MAX} bytes")
    return b"/".join(parts)


def number(field: bytes, what: str) -> int:
    """A header's number: octal digits, or base 256 where the first bit is set. Never negative."""
    digits = field[:-1]
    try:
        if digits.isdigit() and field[-1] == 0:  # what nearly every writer writes
            return int(digits, 8)
    except ValueError:
        pass
    if field[0] & 0x80:
        value = int.from_bytes(field[1:], "big") | (field[0] & 0x7F) << 8 * (len(field) - 1)
        if field[0] & 0x40 or value >> 63:
            raise LayerError(f"read tar: the {what} is negative or over 64 bits")
        return value
    digits = field.strip(b"\0 ").partition(b"\0")[0]
    if not digits:
        return 0
    try:
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:
        pass
    raise LayerError(f"read tar: the {what} {_show(digits)} is not an octal number")


def _seconds(field: bytes) -> int:
    """mtime in ns. A time before 1970 or after 2262 counts as 1970: it would not fit an inode."""
    if field[0] & 0x80 and field[0] & 0x40:
        return 0
    value = number(field, "mtime") * 1_000_000_000
    return value if value < 1 << 63 else 0


def _device(fields: tuple[bytes, ...]) -> int:
    major, minor = number(fields[10], "device's major"), number(fields[11], "device's minor")
    if major >= 1 << 12 or minor >= 1 << 20:
        raise LayerError(f"read tar: a device numbered {major}:{minor}")
    return os.makedev(major, minor)


def _check_sum(data: bytes, at: int, field: bytes, start: int) -> None:
    """The sum of a header's bytes, its own field counted as spaces.

    The low half of Adler-32 is that sum plus one, modulo 65521, at the speed of C.
    """
    block = data[at : at + BLOCK]
    blanks = 8 * 0x20 - sum(field)
    promised = number(field, "checksum")
    if ((zlib.adler32(block) & 0xFFFF) - 1 + blanks - promised) % _ADLER == 0:
        return
    signed = sum(struct.unpack("512b", block)) + 8 * 0x20 - sum(struct.unpack("8b", field))
    if signed != promised:  # some old writers summed signed characters
        raise LayerError(f"read tar: no header at byte {start + at} (checksum)", hint="truncated or damaged?")


def _unsupported(kind: bytes) -> LayerError:
    if kind == b"S":
        return LayerError(
            "read tar: GNU sparse members are not supported", hint="make the archive without --sparse"
        )
    return LayerError(f"read tar: members of type {_show(kind)} are not supported")


def _show(name: bytes) -> str:
    """A name for an error message: printable, and not too long."""
    text = ascii(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 120 else text[:100] + "…" + text[-1:]


def _settle(entries: list[Entry]) -> list[Entry]:
    """Of entries with the same path the last; LayerError if one lies beneath a node that is no directory."""
    nodes: dict[bytes, Entry] = {}
    hides: dict[tuple[int, bytes], Entry] = {}
    for entry in entries:
        if entry.kind <= HARD_LINK:
            nodes[entry.path] = entry
        else:
            hides[entry.kind, entry.path] = entry
    sound = {b""}
    for path in (*nodes, *(path for _, path in hides)):
        head = path.rpartition(b"/")[0] if (OPAQUE, path) not in hides else path
        unknown = []
        while head not in sound:
            unknown.append(head)
            head = head.rpartition(b"/")[0]
        for head in unknown:
            above = nodes.get(head)
            if above is not None and above.mode & 0o170000 != stat.S_IFDIR:
                what = "a symbolic link" if stat.S_ISLNK(above.mode) else "no directory"
                raise LayerError(f"read tar: {_show(path)} lies beneath {_show(head)}, which is {what}")
        sound.update(unknown)
    if len(nodes) + len(hides) == len(entries):
        return entries
    last = {id(entry) for entry in (*nodes.values(), *hides.values())}
    return [entry for entry in entries if id(entry) in last]
