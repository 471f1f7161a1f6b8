"""Tar archives: ADD's automatic extraction, and a build context that comes as a tar on standard input.

What is extracted goes into a union tree, so names and links of a hostile archive cannot reach the host; names
with ".." are refused, absolute ones are made relative.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from pycontain.build.owners import Owner
from pycontain.build.placing import Placer, show
from pycontain.errors import LayerError
from pycontain.store.compression import Limits, decompress

if TYPE_CHECKING:
    from pycontain.unionfs.inode import Inode
    from pycontain.unionfs.tree import Tree

COMPRESSIONS = ("none", "gzip", "bzip2", "xz", "zstd")
MAX_ENTRIES = 1_000_000
CHUNK = 1 << 20


class Unpacked:
    """The uncompressed bytes of a host file. `read` raises LayerError where they are damaged, or a bomb."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115, closed by close()
        chunks = iter(lambda: self._file.read(CHUNK), b"")
        try:
            _, self._pieces = decompress(chunks, Limits.from_environment(), COMPRESSIONS)
        except BaseException:
            self._file.close()
            raise
        self._rest = b""

    def read(self, size: int) -> bytes:
        """At most size bytes; b"" at the end only."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        self._file.close()


@contextmanager
def opened(path: str) -> Iterator[tuple[tarfile.TarFile, Unpacked]]:
    """A tar archive for reading once, front to back, and the stream under it.

    Raises tarfile.TarError or LayerError where it is none.
    """
    # surrogateescape keeps names that are no UTF-8 as they are.
    with (
        closing(Unpacked(path)) as stream,
        tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as archive,  # type: ignore[call-overload]
    ):
        yield archive, stream


def is_archive(path: str) -> bool:
    """Whether a file is a tar archive, compressed or not, with at least one entry."""
    try:
        with opened(path) as (archive, _):
            return archive.next() is not None
    except (tarfile.TarError, LayerError):
        return False


def extract(
    path: str, tree: Tree, destination: bytes, *, owner: Owner | None = None, mtime: int | None = None
) -> None:
    """Unpack an archive below an absolute destination. Raises ValueError with the reason.

    owner and mtime (ns) replace what the archive says; None keeps it. Directories that exist take the
    archive's modes and owners; files replace files.
    """
    placer = Placer(tree, owner=owner, mtime=mtime)
    placer.directory(destination)
    base = placer.locate(destination)
    times: list[tuple[Inode, int]] = []
    try:
        with opened(path) as (archive, stream):
            for count, member in enumerate(archive):
                if count >= MAX_ENTRIES:
                    raise ValueError(f"the archive holds more than {MAX_ENTRIES} files")
                inode = _place(archive, member, tree, placer, base, owner)
                if inode is not None:
                    times.append((inode, member_time(member) if mtime is None else mtime))
            while stream.read(CHUNK):
                pass  # to the end, where gzip and the others have their checksum
    except tarfile.TarError as error:
        raise ValueError(f"the archive is damaged: {error}") from None
    except LayerError as error:
        raise ValueError(f"the archive is damaged: {error}") from None
    for inode, when in reversed(times):
        tree.set_attr(inode, mtime=when, atime=when)


def member_time(member: tarfile.TarInfo) -> int:
    """A member's time in ns; a PAX record has the fraction, which a float would round."""
    text = member.pax_headers.get("mtime", "")
    if re.fullmatch(r"\d{1,12}\.\d{1,9}", text):
        seconds, _, fraction = text.partition(".")
        return int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
    return int(member.mtime) * 10**9


def inside(base: bytes, name: str) -> bytes:
    """Where a member's name leads, relative to the tree's root."""
    raw = name.encode("utf-8", "surrogateescape")
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ValueError(f"the archive holds the name {name!r}, which leads out of the destination")
    if b"\0" in raw or any(len(part) > 255 for part in parts) or len(raw) > 4096:
        raise ValueError(f"the archive holds a name that no file can have: {name[:60]!r}")
    return b"/".join([base, *parts] if base else parts)


def _place(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    tree: Tree,
    placer: Placer,
    base: bytes,
    owner: Owner | None,
) -> Inode | None:
    """Put one member into the tree; what takes its time afterwards."""
    where = inside(base, member.name)
    uid, gid = owner or (member.uid, member.gid)
    mode = member.mode & 0o7777
    if not 0 <= uid < 1 << 32 or not 0 <= gid < 1 << 32:
        raise ValueError(f"the archive gives {member.name!r} the owner {uid}:{gid}")
    if member.isdir():
        placer.directory(b"/" + where)
        found = placer.find(placer.locate(where))
        return tree.set_attr(found, mode=mode, uid=uid, gid=gid) if found is not None else None
    parent, _, name = where.rpartition(b"/")
    placer.directory(b"/" + parent)
    directory = placer.find(placer.locate(parent))
    if directory is None or not name:
        raise ValueError(f"the archive holds a file with the name {member.name!r}")
    existing = tree.lookup(directory, name)
    if existing is not None:
        if existing.is_dir:
            raise ValueError(f"cannot replace the directory /{show(where)} with a file of the archive")
        if not member.islnk():
            tree.unlink(directory, name)
            directory = tree.current(directory)
    if member.islnk():
        return _link(tree, placer, inside(base, member.linkname), directory, name, existing)
    if member.issym():
        target = member.linkname.encode("utf-8", "surrogateescape")
        return tree.symlink(directory, name, target, uid, gid)
    if member.isreg():
        inode = tree.create(directory, name, mode, uid, gid)
        content = archive.extractfile(member)
        if content is not None:
            with open(tree.backing(inode), "wb") as file:
                while chunk := content.read(CHUNK):
                    file.write(chunk)
        _attributes(tree, inode, member)
        return inode
    if member.isfifo():
        return tree.mknod(directory, name, stat.S_IFIFO | mode, 0, uid, gid)
    if member.ischr() or member.isblk():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        return tree.mknod(
            directory, name, kind | mode, os.makedev(member.devmajor, member.devminor), uid, gid
        )
    raise ValueError(f"the archive holds {member.name!r} of an unknown type {member.type!r}")


def _link(
    tree: Tree, placer: Placer, target: bytes, directory: Inode, name: bytes, existing: Inode | None
) -> Inode | None:
    """A hard link to what the archive has placed before."""
    found = placer.find(target)
    if found is None or found.is_dir:
        raise ValueError(f"the archive holds a hard link to /{show(target)}, which is no file")
    if existing is not None:
        if existing.ino == found.ino:
            return None
        tree.unlink(directory, name)
        directory = tree.current(directory)
    tree.link(found, directory, name)
    return None


def _attributes(tree: Tree, inode: Inode, member: tarfile.TarInfo) -> None:
    for key, value in member.pax_headers.items():
        if key.startswith("SCHILY.xattr."):
            name = key.removeprefix("SCHILY.xattr.").encode("utf-8", "surrogateescape")
            tree.set_xattr(inode, name, value.encode("utf-8", "surrogateescape"))
