"""Asking about files: stat family, access, readlink, statfs, getcwd."""

from __future__ import annotations

import errno

from pycontain.kernel.abi import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    BLOCK_SIZE,
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    STATFS,
    pack_stat,
    pack_statx,
    signed,
)
from pycontain.kernel.credentials import Credentials
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.access import WRITE, may
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.mount import Mount, Node
from pycontain.kernel.vfs.walk import path_of, resolve

STATX_RESERVED = 0x80000000
PIPEFS_MAGIC, SOCKFS_MAGIC, ANON_MAGIC = 0x50495045, 0x534F434B, 0x09041934


def sys_stat(task: Task, a: tuple[int, ...]) -> int:
    return _put(task, resolve(task, AT_FDCWD, task.string(a[0])), a[1])


def sys_lstat(task: Task, a: tuple[int, ...]) -> int:
    return _put(task, resolve(task, AT_FDCWD, task.string(a[0]), False), a[1])


def sys_fstat(task: Task, a: tuple[int, ...]) -> int:
    container = task.process.container
    host = task.host_stat(signed(a[0]))
    key = host.st_dev, host.st_ino
    handle = container.handles.open_handles.get(key)
    if handle is not None:
        mount, inode = handle.node
        packed = mount.fs.packed_stat(mount.fs.current(inode))
    else:
        packed = container.unchanged(key) or pack_stat(*container.stat_host(task, host))
    task.io.write(a[1], packed)
    return 0


def sys_newfstatat(task: Task, a: tuple[int, ...]) -> int:
    path = task.string(a[1])
    flags = a[3]
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | 0x800):
        fail(errno.EINVAL)
    if not path and flags & AT_EMPTY_PATH:
        if signed(a[0]) == AT_FDCWD:
            return _put(task, task.files.cwd, a[2])
        return sys_fstat(task, (a[0], a[2]))
    return _put(task, resolve(task, a[0], path, not flags & AT_SYMLINK_NOFOLLOW), a[2])


def _put(task: Task, node: Node, address: int) -> int:
    task.io.write(address, node.mount.fs.packed_stat(node.inode))
    return 0


def sys_statx(task: Task, a: tuple[int, ...]) -> int:
    path = task.string(a[1]) if a[1] else b""
    flags = a[2]
    if flags & ~0x7900 or flags & 0x6000 == 0x6000 or a[3] & STATX_RESERVED:
        fail(errno.EINVAL)
    number = task.process.container.root_mount.number
    if not path and flags & AT_EMPTY_PATH and signed(a[0]) != AT_FDCWD:
        dev, info = task.process.container.stat_fd(task, signed(a[0]))
    else:
        if not path and flags & AT_EMPTY_PATH:
            node = task.files.cwd
        else:
            node = resolve(task, a[0], path, not flags & AT_SYMLINK_NOFOLLOW)
        dev, info, number = node.mount.fs.dev, node.mount.fs.stat(node.inode), node.mount.number
    task.io.write(a[4], pack_statx(dev, info, number))
    return 0


def sys_access(task: Task, a: tuple[int, ...]) -> int:
    return _access(task, AT_FDCWD, a[0], a[1], 0)


def sys_faccessat(task: Task, a: tuple[int, ...]) -> int:
    return _access(task, a[0], a[1], a[2], 0)


def sys_faccessat2(task: Task, a: tuple[int, ...]) -> int:
    return _access(task, a[0], a[1], a[2], a[3])


def _access(task: Task, dirfd: int, address: int, mode: int, flags: int) -> int:
    mode &= 0xFFFFFFFF
    if mode & ~7 or flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        fail(errno.EINVAL)
    path = task.string(address)
    real = task.credentials
    if not flags & AT_EACCESS and (real.uid != real.fsuid or real.gid != real.fsgid):
        # the real ids count, on the way, too; and a non-root real user has no capabilities here (access(2))
        real = real.with_gids(real.gid, real.gid, real.gid).with_uids(real.uid, real.uid, real.uid)
    if not path and flags & AT_EMPTY_PATH:
        found = task.process.container.node_of_fd(task, signed(dirfd))
        if found is None:
            return 0  # a pipe or a socket: its owner asks
        node = found
    else:
        node = _resolve_as(task, real, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW)
    if not mode:
        return 0
    if mode & WRITE and node.mount.read_only and node.inode.mode & S_IFMT in (0o100000, S_IFDIR, S_IFLNK):
        fail(errno.EROFS)
    if not may(node.inode, real, mode):
        fail(errno.EACCES)
    return 0


def _resolve_as(task: Task, who: Credentials, dirfd: int, path: bytes, follow: bool) -> Node:
    if who is task.credentials:
        return resolve(task, dirfd, path, follow)
    own, task.credentials = task.credentials, who
    try:
        return resolve(task, dirfd, path, follow)
    finally:
        task.credentials = own


def sys_readlink(task: Task, a: tuple[int, ...]) -> int:
    return _readlink(task, AT_FDCWD, a[0], a[1], a[2])


def sys_readlinkat(task: Task, a: tuple[int, ...]) -> int:
    return _readlink(task, a[0], a[1], a[2], a[3])


def _readlink(task: Task, dirfd: int, address: int, buffer: int, size: int) -> int:
    size = signed(size)
    if size <= 0:
        fail(errno.EINVAL)
    path = task.string(address)
    if not path and signed(dirfd) != AT_FDCWD:
        found = task.process.container.node_of_fd(task, signed(dirfd))
        if found is None or found.inode.mode & S_IFMT != S_IFLNK:
            fail(errno.ENOENT)
        node = found
    else:
        node = resolve(task, dirfd, path, False)
    if node.inode.mode & S_IFMT != S_IFLNK:
        return -errno.EINVAL  # nearly all of them: realpath(3) asks it of every directory of a path
    target = node.mount.fs.readlink(node.inode, task)[:size]
    task.io.write(buffer, target)
    return len(target)


def sys_getcwd(task: Task, a: tuple[int, ...]) -> int:
    files = task.files
    node = files.cwd
    inode = node.mount.fs.current(node.inode)
    if inode.nlink == 0:
        fail(errno.ENOENT)
    node = Node(node.mount, inode)
    path = path_of(files.root, node) + b"\0"
    if files.root.inode.ino != task.process.container.root.inode.ino and not _below(files.root, node):
        path = b"(unreachable)" + path  # getcwd(2): outside of its root directory
    if len(path) > a[1]:
        fail(errno.ERANGE)
    task.io.write(a[0], path)
    return len(path)


def _below(root: Node, node: Node) -> bool:
    mount, inode = node
    while True:
        if mount is root.mount and inode.ino == root.inode.ino:
            return True
        if inode.ino != mount.root.ino:
            inode = mount.fs.parent(inode)
        elif mount.parent is None:
            return False
        else:
            mount, inode = mount.parent, mount.below


def sys_statfs(task: Task, a: tuple[int, ...]) -> int:
    node = resolve(task, AT_FDCWD, task.string(a[0]))
    return _statfs(task, node.mount, a[1])


def sys_fstatfs(task: Task, a: tuple[int, ...]) -> int:
    container = task.process.container
    info = task.host_stat(signed(a[0]))
    node = container.identify(info)
    if node is not None:
        return _statfs(task, node.mount, a[1])
    kind = info.st_mode & S_IFMT
    magic = PIPEFS_MAGIC if kind == 0o010000 else SOCKFS_MAGIC if kind == 0o140000 else ANON_MAGIC
    task.io.write(a[1], STATFS.pack(magic, BLOCK_SIZE, 0, 0, 0, 0, 0, 0, 0, 255, BLOCK_SIZE, 0, 0, 0, 0, 0))
    return 0


def _statfs(task: Task, mount: Mount, address: int) -> int:
    fs = mount.fs
    blocks, free, available, files, free_files = fs.statfs()
    flags = 0x20 | (1 if mount.read_only else 0)  # ST_VALID, ST_RDONLY
    task.io.write(
        address,
        STATFS.pack(
            fs.magic, BLOCK_SIZE, blocks, free, available, files, free_files,
            fs.dev, 0, 255, BLOCK_SIZE, flags, 0, 0, 0, 0,
        ),
    )  # fmt: skip
    return 0
