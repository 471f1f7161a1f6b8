"""A read-only EROFS image written from a union tree: a machine's root file system.

Owners, modes, devices, extended attributes and times come from the tree, never from the host's inodes, so an
ordinary user writes a root file system that is exact. Uncompressed, without the host's help (no mkfs, no mount).

On disk (Linux, fs/erofs/erofs_fs.h), in blocks of 4096 bytes:

    block 0     super block at byte 1024, then the inodes from byte 1152 on (nid = byte / 32)
    inodes      64 bytes ("extended": ns times, 32-bit owners), extended attributes, and, where they are short,
                the bytes of the file itself: links, directories, small files
    data        the other directories and files, each from a block's start, without gaps
"""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING

from pycontain.errors import MachineError
from pycontain.vm.erofs_content import Contents

if TYPE_CHECKING:
    from pycontain.unionfs.inode import Inode
    from pycontain.unionfs.tree import Tree

BLOCK = 4096
MAGIC = 0xE0F5E1E2
SUPER = 1024
FIRST_INODE = 1152
INODE = struct.Struct("<HHHHQIIIIQII16x")
DIRENT = struct.Struct("<QHBB")
PLAIN, INLINE = 0, 2
INLINE_LIMIT = 2048
"""Bytes. A longer file starts on a block of its own: then it is copied by the kernel alone."""
FILE_TYPES = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}
PREFIXES = (
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
)
ACLS = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}


class _Placed:
    """An inode on its way into the image. at: byte of the inode; block: first data block (plain layout)."""

    __slots__ = ("at", "block", "inode", "layout", "names", "nlink", "number", "parent", "size", "xattrs")

    def __init__(self, inode: Inode, parent: _Placed | None) -> None:
        self.inode = inode
        self.parent = parent
        self.names: list[tuple[bytes, _Placed]] = []
        self.xattrs = b""
        self.size = 0
        self.layout = PLAIN
        self.at = 0
        self.block = 0
        self.nlink = 1
        self.number = 0

    @property
    def nid(self) -> int:
        return self.at // 32


def write_image(tree: Tree, path: str) -> int:
    """Write the whole tree as an EROFS image; returns its size in bytes.

    Raises MachineError where the tree has something that EROFS cannot hold; OSError (ENOSPC and the like).
    """
    found = _collect(tree)
    with Contents(tree) as contents:
        metadata, data = _place(found, contents)
        buffer = bytearray(metadata)
        _write_super(buffer, found, data)
        for item in found:
            _write_inode(buffer, item, contents)
        with open(path, "wb", buffering=0) as file:
            contents.copy_all(
                file.fileno(),
                buffer,
                [item.inode for item in found if _has_blocks(item)],
                _directories(found),
            )
            size = data * BLOCK
            if os.fstat(file.fileno()).st_size != size:
                raise MachineError(
                    f"write root file system {path}: a file's content is not as long as promised"
                )
    return size


def _has_blocks(item: _Placed) -> bool:
    return item.layout == PLAIN and item.inode.is_regular and item.size > 0


def _directories(found: list[_Placed]) -> bytes:
    """The blocks of the directories that are too long to lie with their inode; they come first in the data."""
    return b"".join(
        _directory(item).ljust((item.size + BLOCK - 1) // BLOCK * BLOCK, b"\0")
        for item in found
        if item.layout == PLAIN and item.inode.children is not None
    )


def _collect(tree: Tree) -> list[_Placed]:
    """All inodes once, the root first, then directory by directory."""
    root = _Placed(tree.root, None)
    root.parent = root
    found = [root]
    by_number: dict[int, _Placed] = {tree.root.ino: root}
    todo = [root]
    while todo:
        directory = todo.pop()
        links = 2
        children = directory.inode.children or {}
        for name in sorted(children):
            child = tree.lookup(directory.inode, name)
            if child is None:
                continue
            item = by_number.get(child.ino)
            if item is None:
                item = by_number[child.ino] = _Placed(child, directory)
                found.append(item)
                if child.children is not None:
                    todo.append(item)
            else:
                item.nlink += 1
            if child.children is not None:
                links += 1
            directory.names.append((name, item))
        directory.nlink = links
    for number, item in enumerate(found, 1):
        item.number = number
    return found


def _place(found: list[_Placed], contents: Contents) -> tuple[int, int]:
    """Give every inode its byte and its blocks; returns the metadata's bytes and the image's blocks."""
    at = FIRST_INODE
    for item in found:
        inode = item.inode
        if inode.xattrs:
            item.xattrs = _pack_xattrs(inode.xattrs)
        head = INODE.size + len(item.xattrs)
        if inode.children is not None:
            item.size = _directory_size(item)
        elif inode.is_symlink:
            item.size = len(inode.target or b"")
        elif inode.is_regular:
            item.size = contents.size(inode)
        limit = BLOCK - head if not inode.is_regular else min(INLINE_LIMIT, BLOCK - head)
        item.layout = INLINE if 0 < item.size <= limit else PLAIN
        if inode.is_symlink and item.layout != INLINE:
            raise MachineError(f"write root file system: a link's target has {item.size} bytes")
        length = head + (item.size if item.layout == INLINE else 0)
        room = BLOCK - at % BLOCK
        if room < (length if item.layout == INLINE else INODE.size):
            at += room
        item.at = at
        at = (at + length + 31) // 32 * 32
    metadata = (at + BLOCK - 1) // BLOCK * BLOCK
    block = metadata // BLOCK
    for wanted in (True, False):  # directories, then files
        for item in found:
            if item.layout == PLAIN and item.size and (item.inode.children is not None) is wanted:
                item.block = block
                block += (item.size + BLOCK - 1) // BLOCK
    if block >= 1 << 32:
        raise MachineError("write root file system: more than 16 TiB")
    return metadata, block


def _write_super(buffer: bytearray, found: list[_Placed], blocks: int) -> None:
    struct.pack_into(
        "<IIIBBHQQIIII16s16sI",
        buffer,
        SUPER,
        MAGIC,
        0,  # checksum: not used
        2,  # compatible feature: inodes carry mtime
        12,
        0,
        found[0].nid,
        len(found),
        0,
        0,
        blocks,
        0,  # meta_blkaddr
        0,
        bytes(16),
        b"",
        0,
    )


def _write_inode(buffer: bytearray, item: _Placed, contents: Contents) -> None:
    inode = item.inode
    kind = stat.S_IFMT(inode.mode)
    where = item.block
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        major, minor = os.major(inode.rdev), os.minor(inode.rdev)
        where = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    seconds, nanoseconds = divmod(contents.mtime(inode), 10**9)
    INODE.pack_into(
        buffer,
        item.at,
        1 | item.layout << 1,
        (len(item.xattrs) - 12) // 4 + 1 if item.xattrs else 0,
        inode.mode & 0xFFFF,
        0,
        item.size,
        where,
        item.number,
        inode.uid,
        inode.gid,
        seconds & 0xFFFF_FFFF_FFFF_FFFF,
        nanoseconds,
        item.nlink,
    )
    at = item.at + INODE.size
    if item.xattrs:
        buffer[at : at + len(item.xattrs)] = item.xattrs
        at += len(item.xattrs)
    if item.layout == INLINE:
        if inode.children is not None:
            data: bytes | memoryview = _directory(item)
        elif inode.is_symlink:
            data = inode.target or b""
        else:
            data = contents.view(inode)
        buffer[at : at + item.size] = data


def _entries(item: _Placed) -> list[tuple[bytes, int, int]]:
    """Names, nids and types, in the order in which EROFS looks them up: by bytes, with . and .."""
    assert item.parent is not None
    entries = [(b".", item.nid, 2), (b"..", item.parent.nid, 2)]
    entries += [
        (name, child.nid, FILE_TYPES.get(stat.S_IFMT(child.inode.mode), 0)) for name, child in item.names
    ]
    entries.sort()
    return entries


def _directory_size(item: _Placed) -> int:
    size = used = 0
    for length in sorted_lengths(item):
        if used + DIRENT.size + length > BLOCK:
            size += BLOCK
            used = 0
        used += DIRENT.size + length
    return size + used


def sorted_lengths(item: _Placed) -> list[int]:
    """The lengths of the names in their order; what a directory's size depends on."""
    return [len(name) for name in sorted([b".", b"..", *(name for name, _ in item.names)])]


def _directory(item: _Placed) -> bytes:
    """A directory's bytes: in every block the entries, then their names; the last one ends with its last name."""
    blocks: list[bytes] = []
    group: list[tuple[bytes, int, int]] = []
    used = 0
    for entry in _entries(item):
        need = DIRENT.size + len(entry[0])
        if used + need > BLOCK:
            blocks.append(_directory_block(group).ljust(BLOCK, b"\0"))
            group, used = [], 0
        group.append(entry)
        used += need
    blocks.append(_directory_block(group))
    return b"".join(blocks)


def _directory_block(group: list[tuple[bytes, int, int]]) -> bytes:
    offset = DIRENT.size * len(group)
    heads, names = [], []
    for name, nid, kind in group:
        heads.append(DIRENT.pack(nid, offset, kind, 0))
        names.append(name)
        offset += len(name)
    return b"".join(heads + names)


def _pack_xattrs(xattrs: dict[bytes, bytes]) -> bytes:
    """The inline attributes after an inode; those of a kind that EROFS does not know are an error."""
    body = bytearray(12)
    for name, value in sorted(xattrs.items()):
        index, rest = ACLS.get(name, 0), b""
        for prefix, number in PREFIXES:
            if name.startswith(prefix):
                index, rest = number, name[len(prefix) :]
        if not index:
            raise MachineError(f"write root file system: extended attribute {name!r} has no place in EROFS")
        if len(rest) > 255 or len(value) > 0xFFFF:
            raise MachineError(f"write root file system: extended attribute {name!r} is too long")
        body += struct.pack("<BBH", len(rest), index, len(value)) + rest + value
        body += bytes(-len(body) % 4)
    return bytes(body)
