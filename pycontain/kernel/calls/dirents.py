"""Reading directories: getdents64(2) and its older form.

A position is the number of entries before it in a snapshot of the directory, taken when it is read from its
start: entries come once each, whatever changes meanwhile.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from pycontain.kernel.abi import DIRENT64, S_IFDIR, S_IFMT, dirent_type, signed
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.kernel.vfs.handles import Handle
from pycontain.unionfs.inode import Inode

MAX_BUFFER = 1 << 20

Layout = Callable[[int, int, int, bytes], bytes]


def sys_getdents64(task: Task, a: tuple[int, ...]) -> int:
    handle, position, size = _directory(task, a)
    mount, kept = handle.node
    inode = _listed(mount.fs, kept)
    if position and position == handle.count:
        return 0
    if position == 0:
        packed = mount.fs.packed_entries(inode, _pack)
        if packed is not None and len(packed[0]) <= size:
            task.io.write(a[1], packed[0])
            handle.entries, handle.count = None, packed[1]
            os.lseek(handle.fd, packed[1], os.SEEK_SET)
            return len(packed[0])
    return _put(task, handle, inode, position, a[1], size, dirent64)


def sys_getdents(task: Task, a: tuple[int, ...]) -> int:
    handle, position, size = _directory(task, a)
    return _put(task, handle, _listed(handle.node.mount.fs, handle.node.inode), position, a[1], size, dirent)


def dirent64(ino: int, position: int, kind: int, name: bytes) -> bytes:
    """struct linux_dirent64."""
    size = (19 + len(name) + 1 + 7) & ~7
    return (DIRENT64.pack(ino, position, size, kind) + name).ljust(size, b"\0")


def dirent(ino: int, position: int, kind: int, name: bytes) -> bytes:
    """struct linux_dirent: the type is the last byte."""
    size = (18 + len(name) + 2 + 7) & ~7
    head = DIRENT64.pack(ino, position, size, 0)[:18]
    return (head + name).ljust(size - 1, b"\0") + bytes([kind])


def _directory(task: Task, a: tuple[int, ...]) -> tuple[Handle, int, int]:
    """(handle, position, size of the caller's buffer). Raises EBADF, ENOTDIR."""
    container = task.process.container
    info = task.host_stat(signed(a[0]))
    handle = container.handles.find(info.st_dev, info.st_ino)
    if handle is None:
        fail(errno.ENOTDIR)
    if handle.path_only:
        fail(errno.EBADF)
    return handle, os.lseek(handle.fd, 0, os.SEEK_CUR), min(a[2] & 0xFFFFFFFF, MAX_BUFFER)


def _listed(fs: Filesystem, kept: Inode) -> Inode:
    inode = fs.current(kept)
    if inode.nlink == 0:
        fail(errno.ENOENT)
    if inode.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    return inode


def _entries(fs: Filesystem, inode: Inode) -> list[tuple[bytes, int, int]]:
    up = inode if inode.ino == fs.root.ino else fs.parent(inode)
    return [(b".", inode.ino, S_IFDIR), (b"..", up.ino, S_IFDIR), *fs.names(inode)]


def _pack(fs: Filesystem, inode: Inode) -> tuple[bytes, int]:
    entries = _entries(fs, inode)
    packed = [
        dirent64(ino, place, dirent_type(mode), name) for place, (name, ino, mode) in enumerate(entries, 1)
    ]
    return b"".join(packed), len(entries)


def _put(
    task: Task, handle: Handle, inode: Inode, position: int, address: int, size: int, layout: Layout
) -> int:
    if handle.entries is None or position == 0:
        handle.entries = _entries(handle.node.mount.fs, inode)
        handle.count = len(handle.entries)
    parts: list[bytes] = []
    total = 0
    for name, ino, mode in handle.entries[position:]:
        record = layout(ino, position + 1, dirent_type(mode), name)
        if total + len(record) > size:
            if not parts:
                fail(errno.EINVAL)
            break
        parts.append(record)
        total += len(record)
        position += 1
    if parts:
        task.io.write(address, b"".join(parts))
        os.lseek(handle.fd, position, os.SEEK_SET)
    return total
