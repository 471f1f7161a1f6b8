"""Reading directories: getdents64(2) and its older form.

A position is the number of entries before it in a listing of the directory, made when it is read from its start:
entries come once each, whatever changes meanwhile.
"""

from __future__ import annotations

import errno
import os
from array import array
from bisect import bisect_right

from pycontain.kernel.abi import DIRENT64, S_IFDIR, S_IFMT, signed
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import Filesystem, Listing, fail
from pycontain.kernel.vfs.handles import Handle
from pycontain.unionfs.inode import Inode

MAX_BUFFER = 1 << 20
NAME = DIRENT64.size  # offset of the name in struct linux_dirent64


def sys_getdents64(task: Task, a: tuple[int, ...]) -> int:
    handle, listing, position, size = _directory(task, a)
    ends = listing.ends
    count = len(ends)
    if position >= count:
        return 0
    start = ends[position - 1] if position else 0
    stop = count if ends[-1] - start <= size else bisect_right(ends, start + size)
    if stop <= position:
        fail(errno.EINVAL)  # no room for one
    task.io.write(a[1], listing.records[start : ends[stop - 1]])
    os.lseek(handle.fd, stop, os.SEEK_SET)
    return ends[stop - 1] - start


def sys_getdents(task: Task, a: tuple[int, ...]) -> int:
    """The same in struct linux_dirent, whose last byte is the type."""
    handle, listing, position, size = _directory(task, a)
    parts: list[bytes] = []
    total = 0
    for number in range(position, len(listing.ends)):
        record = listing.records[listing.ends[number - 1] if number else 0 : listing.ends[number]]
        ino, offset, _, kind = DIRENT64.unpack_from(record)
        name = record[NAME : record.index(b"\0", NAME)]
        length = (18 + len(name) + 2 + 7) & ~7
        if total + length > size:
            if not parts:
                fail(errno.EINVAL)
            break
        head = DIRENT64.pack(ino, offset, length, 0)[:18]
        parts.append((head + name).ljust(length - 1, b"\0") + bytes([kind]))
        total += length
    if parts:
        task.io.write(a[1], b"".join(parts))
        os.lseek(handle.fd, position + len(parts), os.SEEK_SET)
    return total


def _directory(task: Task, a: tuple[int, ...]) -> tuple[Handle, Listing, int, int]:
    """(handle, its listing, position, size of the caller's buffer). Raises EBADF, ENOTDIR, ENOENT."""
    info = task.host_stat(signed(a[0]))
    handle = task.process.container.handles.find(info.st_dev, info.st_ino)
    if handle is None:
        fail(errno.ENOTDIR)
    if handle.path_only:
        fail(errno.EBADF)
    mount, kept = handle.node
    inode = mount.fs.current(kept)
    if inode.nlink == 0:
        fail(errno.ENOENT)  # it was removed
    if inode.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    position = os.lseek(handle.fd, 0, os.SEEK_CUR)
    listing = handle.listing
    if listing is None or position == 0:
        listing = handle.listing = mount.fs.listing(inode, list_directory)
    return handle, listing, position, min(a[2] & 0xFFFFFFFF, MAX_BUFFER)


def list_directory(fs: Filesystem, inode: Inode) -> Listing:
    """All entries of a directory, as it is now."""
    up = inode if inode.ino == fs.root.ino else fs.parent(inode)
    pack, header = DIRENT64.pack, DIRENT64.size
    parts: list[bytes] = []
    ends = array("I")
    end = 0
    for position, (name, ino, mode) in enumerate(
        ((b".", inode.ino, S_IFDIR), (b"..", up.ino, S_IFDIR), *fs.names(inode)), 1
    ):
        length = (header + len(name) + 8) & ~7  # with a NUL byte at least
        parts.append((pack(ino, position, length, mode >> 12 & 15) + name).ljust(length, b"\0"))
        end += length
        ends.append(end)
    return Listing(b"".join(parts), ends)
