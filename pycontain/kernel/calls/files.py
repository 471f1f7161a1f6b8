"""Opening files: open, openat, openat2, creat. open(2), openat2(2)."""

from __future__ import annotations

import errno
import os
import struct
from typing import Any

from pycontain.kernel.abi import (
    AT_FDCWD,
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOFOLLOW,
    O_PATH,
    O_TMPFILE_BIT,
    O_TRUNC,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
)
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.access import EXECUTE, READ, WRITE, drop_privileges, is_owner, need, new_mode
from pycontain.kernel.vfs.devfs import DevPts, open_device
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.mount import NODEV, Node
from pycontain.kernel.vfs.procinode import ProcInode
from pycontain.kernel.vfs.walk import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    base_of,
    child_of,
    resolve,
    resolve_parent,
    walk,
)

OPEN_HOW = struct.Struct("<QQQ")
VALID_FLAGS = 0o37777777  # others are ignored (open(2)); openat2 refuses them
MAX_LINKS = 40


def sys_open(task: Task, a: tuple[int, ...]) -> Any:
    return open_path(task, AT_FDCWD, task.string(a[0]), a[1] & 0xFFFFFFFF, a[2])


def sys_creat(task: Task, a: tuple[int, ...]) -> Any:
    return open_path(task, AT_FDCWD, task.string(a[0]), O_CREAT | O_TRUNC | os.O_WRONLY, a[1])


def sys_openat(task: Task, a: tuple[int, ...]) -> Any:
    return open_path(task, a[0], task.string(a[1]), a[2] & 0xFFFFFFFF, a[3])


def sys_openat2(task: Task, a: tuple[int, ...]) -> Any:
    if a[3] < OPEN_HOW.size:
        fail(errno.EINVAL)
    if a[3] > OPEN_HOW.size and any(task.read(a[2] + OPEN_HOW.size, min(a[3], 4096) - OPEN_HOW.size)):
        fail(errno.E2BIG)
    flags, mode, restrict = task.unpack(OPEN_HOW, a[2])
    if restrict & ~31 or restrict & 24 == 24 or flags & ~VALID_FLAGS or mode & ~0o7777:
        fail(errno.EINVAL)
    if mode and not flags & (O_CREAT | O_TMPFILE_BIT):
        fail(errno.EINVAL)
    path = task.string(a[1])
    if not restrict:
        return open_path(task, a[0], path, flags, mode)
    if not path:
        fail(errno.ENOENT)
    if path[:1] == b"/" and restrict & RESOLVE_BENEATH:
        fail(errno.EXDEV)
    base = task.files.root if path[:1] == b"/" and not restrict & RESOLVE_IN_ROOT else base_of(task, a[0])
    if flags & O_CREAT and path[-1:] == b"/" and path.rstrip(b"/"):
        head, slash, name = path.rstrip(b"/").rpartition(b"/")
        if name not in (b".", b".."):
            walk(task, base, head + slash + b".", True, restrict)
            fail(errno.EISDIR)  # whatever is there
    follow = not flags & O_NOFOLLOW and flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL
    for _ in range(MAX_LINKS):
        try:
            node = walk(task, base, path, follow, restrict)
            break
        except FileNotFoundError:
            if not flags & O_CREAT:
                raise
        head, slash, name = path.rstrip(b"/").rpartition(b"/")
        directory = walk(task, base, head + slash or b".", True, restrict)
        if path[-1:] == b"/":
            fail(errno.EISDIR)
        dangling = child_of(task, directory, name)
        if dangling is None:
            return _create_in(task, directory, name, flags, mode)
        if not follow or dangling.mode & S_IFMT != S_IFLNK:
            fail(errno.ELOOP)
        # a symlink to nowhere: the file is made where it points to
        target = directory.mount.fs.readlink(dangling, task)
        path = target if target[:1] == b"/" else head + slash + target
    else:
        fail(errno.ELOOP)
    if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL:
        fail(errno.EEXIST)
    return open_node(task, node, flags)


def open_path(task: Task, dirfd: int, path: bytes, flags: int, mode: int, links: int = 0) -> Any:
    flags &= VALID_FLAGS
    if flags & O_TMPFILE_BIT and not flags & O_PATH:
        return _open_unnamed(task, resolve(task, dirfd, path), flags, mode)
    if flags & O_CREAT and flags & O_DIRECTORY and not flags & O_PATH:
        fail(errno.EINVAL)  # as since Linux 6.4: it never made a directory
    follow = not flags & O_NOFOLLOW and flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL
    if not flags & O_CREAT or flags & O_PATH:
        return open_node(task, resolve(task, dirfd, path, follow), flags)
    if path[-1:] == b"/" and path.rstrip(b"/"):
        directory, name, _ = resolve_parent(task, dirfd, path)
        need(directory.inode, task.credentials, EXECUTE)
        if name not in (b".", b".."):
            fail(errno.EISDIR)  # whatever is there
    try:
        node = resolve(task, dirfd, path, follow)
    except FileNotFoundError:
        return create(task, dirfd, path, flags, mode, links)
    if flags & O_EXCL:
        fail(errno.EEXIST)
    return open_node(task, node, flags)


def create(task: Task, dirfd: int, path: bytes, flags: int, mode: int, links: int) -> Any:
    directory, name, slash = resolve_parent(task, dirfd, path)
    if slash or name in (b"", b".", b".."):
        fail(errno.EISDIR)
    fs = directory.mount.fs
    who = task.credentials
    need(directory.inode, who, EXECUTE)
    dangling = fs.lookup(directory.inode, name)
    if dangling is not None:  # a symlink to nowhere: the file is made where it points to
        if links >= MAX_LINKS or flags & O_NOFOLLOW or dangling.mode & S_IFMT != S_IFLNK:
            fail(errno.ELOOP)
        target = fs.readlink(dangling, task)
        if target[:1] != b"/":
            target = path[: len(path) - len(name)] + target
        return open_path(task, dirfd, target, flags, mode, links + 1)
    return _create_in(task, directory, name, flags, mode)


def _open_unnamed(task: Task, directory: Node, flags: int, mode: int) -> Any:
    """O_TMPFILE: a file in a directory that has no name there, and may get one by linkat(2) unless O_EXCL."""
    if flags & O_CREAT or not flags & O_DIRECTORY or flags & O_ACCMODE not in (os.O_WRONLY, os.O_RDWR):
        fail(errno.EINVAL)
    mount, parent = directory
    if parent.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    if mount.read_only:
        fail(errno.EROFS)
    if parent.nlink == 0:
        fail(errno.ENOENT)
    who = task.credentials
    need(parent, who, WRITE | EXECUTE)
    gid = parent.gid if parent.mode & 0o2000 else who.fsgid
    mode = new_mode(parent, who, mode & 0o7777 & ~task.files.umask)
    _, fd = mount.fs.open_unnamed(mode, who.fsuid, gid, flags, not flags & O_EXCL)
    return task.process.container.kernel.platform.send_fd(task, fd, bool(flags & O_CLOEXEC))


def _create_in(task: Task, directory: Node, name: bytes, flags: int, mode: int) -> Any:
    """A new file in a directory, where nothing has the name."""
    who = task.credentials
    if directory.mount.fs.fixed:
        fail(errno.ENOENT)
    if directory.mount.read_only:
        fail(errno.EROFS)
    if directory.inode.nlink == 0:
        fail(errno.ENOENT)  # it was removed
    need(directory.inode, who, WRITE | EXECUTE)
    gid = directory.inode.gid if directory.inode.mode & 0o2000 else who.fsgid
    mode = new_mode(directory.inode, who, mode & 0o7777 & ~task.files.umask)
    inode = directory.mount.fs.create(directory.inode, name, mode, who.fsuid, gid)
    watches = task.process.container.watches
    if watches:
        watches.created(directory, name, inode)
    return open_node(task, Node(directory.mount, inode), flags & ~O_TRUNC, fresh=True)


def open_node(task: Task, node: Node, flags: int, fresh: bool = False) -> Any:
    """Open what was found; answers the call."""
    mount, inode = node
    container = task.process.container
    platform = container.kernel.platform
    kind = inode.mode & S_IFMT
    if flags & O_PATH:
        if flags & O_DIRECTORY and kind != S_IFDIR:
            fail(errno.ENOTDIR)
        return platform.send_fd(task, container.open_handle(node, path_only=True), bool(flags & O_CLOEXEC), True)
    if kind == S_IFLNK:
        fail(errno.ENOTDIR if flags & O_DIRECTORY else errno.ELOOP)
    access = flags & O_ACCMODE
    wanted = WRITE if access == os.O_WRONLY else READ if access == os.O_RDONLY else READ | WRITE
    if flags & O_TRUNC:
        wanted |= WRITE
    if kind == S_IFDIR:
        if wanted & WRITE or flags & O_CREAT:
            fail(errno.EISDIR)
        need(inode, task.credentials, READ)
        if flags & os.O_NOATIME and not is_owner(inode, task.credentials):
            fail(errno.EPERM)
        if container.watches:
            container.watches.opened(mount, inode, False, False)
        return platform.send_fd(task, container.open_handle(node), bool(flags & O_CLOEXEC), True)
    if flags & O_DIRECTORY:
        fail(errno.ENOTDIR)
    if not fresh:
        need(inode, task.credentials, wanted)
        if wanted & WRITE and mount.read_only and kind == S_IFREG:
            fail(errno.EROFS)
        if wanted & WRITE and inode.mode & 0o111 and container.runs(node):
            fail(errno.ETXTBSY)
    if flags & os.O_NOATIME and not is_owner(inode, task.credentials):
        fail(errno.EPERM)
    fs = mount.fs
    if wanted & WRITE and kind == S_IFREG and not fresh and (inode.mode & 0o6000 or inode.xattrs):
        drop_privileges(node, task.credentials)
    if kind == S_IFIFO:
        return container.kernel.fifos.open(task, fs.pin(inode), flags)
    if kind == S_IFREG or isinstance(inode, ProcInode) or isinstance(fs, DevPts):
        if isinstance(fs, DevPts) and inode.ino == 2:
            fd = container.devpts.open_master(
                flags | os.O_CLOEXEC | os.O_NOCTTY, task.credentials.fsuid
            )
        else:
            fd = fs.open(inode, flags, task)
    elif kind == S_IFCHR and mount.restrictions & NODEV:
        fail(errno.EACCES)
    elif kind == S_IFCHR:
        fd = open_device(container, inode, flags, task)
    elif kind in (S_IFSOCK, S_IFBLK):
        fail(errno.ENXIO)
    else:
        fail(errno.EACCES)
    if container.watches:
        truncated = bool(flags & O_TRUNC) and not fresh
        container.watches.opened(mount, fs.current(inode), bool(wanted & WRITE), truncated)
    return platform.send_fd(task, fd, bool(flags & O_CLOEXEC))
