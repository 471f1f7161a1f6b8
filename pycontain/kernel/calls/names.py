"""Making and removing names: mkdir, unlink, rename, link, symlink, mknod, chdir, chroot."""

from __future__ import annotations

import errno
import os
from typing import Any

from pycontain.kernel.abi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
    signed,
)
from pycontain.kernel.credentials import CAP_MKNOD, CAP_SYS_CHROOT
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.access import EXECUTE, WRITE, is_owner, need, need_removable, new_mode
from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.kernel.vfs.mount import Node
from pycontain.kernel.vfs.preparation import Job
from pycontain.kernel.vfs.unionfs import LARGE, UnionFs
from pycontain.kernel.vfs.walk import resolve, resolve_parent
from pycontain.platforms.base import DEFERRED
from pycontain.unionfs.inode import Inode

INTERVAL = 0.001  # seconds between looks whether a large file is gone
DOTS = (b"", b".", b"..")
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT, RENAME_FLAGS = 1, 2, 4, 7


def _new_name(task: Task, dirfd: int, path: bytes, directory_wanted: bool = False) -> tuple[Node, bytes, int]:
    """(directory, name, group of the new object) for a call that makes a name."""
    directory, name = _free_name(task, dirfd, path, directory_wanted)
    _enterable(task, directory)
    return (
        directory,
        name,
        directory.inode.gid if directory.inode.mode & 0o2000 else task.credentials.fsgid,
    )


def _free_name(task: Task, dirfd: int, path: bytes, directory_wanted: bool = False) -> tuple[Node, bytes]:
    """Where a new name goes, if nothing is there. Whether it may be made is _enterable's to say."""
    directory, name, slash = _old_name(task, dirfd, path)
    if name in DOTS:
        fail(errno.EEXIST)
    if directory.inode.nlink == 0:
        fail(errno.ENOENT)  # it was removed
    if directory.mount.fs.lookup(directory.inode, name) is not None:
        fail(errno.EEXIST)
    if directory.mount.fs.fixed:
        fail(errno.ENOENT)
    if slash and not directory_wanted:
        fail(errno.ENOENT)
    if directory.mount.read_only:
        fail(errno.EROFS)
    return directory, name


def _enterable(task: Task, directory: Node) -> None:
    if directory.inode.nlink == 0:
        fail(errno.ENOENT)  # it was removed
    need(directory.inode, task.credentials, WRITE | EXECUTE)


def sys_mkdir(task: Task, a: tuple[int, ...]) -> int:
    return _mkdir(task, AT_FDCWD, a[0], a[1])


def sys_mkdirat(task: Task, a: tuple[int, ...]) -> int:
    return _mkdir(task, a[0], a[1], a[2])


def _mkdir(task: Task, dirfd: int, address: int, mode: int) -> int:
    directory, name, gid = _new_name(task, dirfd, task.string(address), True)
    mode = mode & 0o1777 & ~task.files.umask
    if directory.inode.mode & 0o2000:
        mode |= 0o2000
    inode = directory.mount.fs.mkdir(directory.inode, name, mode, task.credentials.fsuid, gid)
    _created(task, directory, name, inode)
    return 0


def _created(task: Task, directory: Node, name: bytes, inode: Inode) -> None:
    watches = task.process.container.watches
    if watches:
        watches.created(directory, name, inode)


def _removed(task: Task, directory: Node, name: bytes, victim: Inode) -> None:
    watches = task.process.container.watches
    if watches:
        watches.removed(directory, name, directory.mount.fs.current(victim))


def sys_symlink(task: Task, a: tuple[int, ...]) -> int:
    return _symlink(task, a[0], AT_FDCWD, a[1])


def sys_symlinkat(task: Task, a: tuple[int, ...]) -> int:
    return _symlink(task, a[0], a[1], a[2])


def _symlink(task: Task, target_address: int, dirfd: int, address: int) -> int:
    target = task.string(target_address)
    if not target:
        fail(errno.ENOENT)
    directory, name, gid = _new_name(task, dirfd, task.string(address))
    inode = directory.mount.fs.symlink(directory.inode, name, target, task.credentials.fsuid, gid)
    _created(task, directory, name, inode)
    return 0


def sys_mknod(task: Task, a: tuple[int, ...]) -> int:
    return _mknod(task, AT_FDCWD, a[0], a[1], a[2])


def sys_mknodat(task: Task, a: tuple[int, ...]) -> int:
    return _mknod(task, a[0], a[1], a[2], a[3])


def _mknod(task: Task, dirfd: int, address: int, mode: int, dev: int) -> int:
    mode &= 0o177777
    kind = mode & S_IFMT or S_IFREG
    if kind not in (S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK):
        fail(errno.EPERM if kind == S_IFDIR else errno.EINVAL)
    directory, name, gid = _new_name(task, dirfd, task.string(address))
    who = task.credentials
    if kind in (S_IFCHR, S_IFBLK) and not who.has(CAP_MKNOD):
        fail(errno.EPERM)
    mode = kind | new_mode(directory.inode, who, mode & 0o7777 & ~task.files.umask)
    dev &= 0xFFFFFFFF
    rdev = os.makedev(dev >> 8 & 0xFFF, dev & 0xFF | dev >> 12 & 0xFFF00)
    inode = directory.mount.fs.mknod(directory.inode, name, mode, rdev, who.fsuid, gid)
    _created(task, directory, name, inode)
    return 0


def sys_link(task: Task, a: tuple[int, ...]) -> int:
    return _link(task, AT_FDCWD, a[0], AT_FDCWD, a[1], 0)


def sys_linkat(task: Task, a: tuple[int, ...]) -> int:
    return _link(task, a[0], a[1], a[2], a[3], a[4])


def _link(task: Task, old_fd: int, old: int, new_fd: int, new: int, flags: int) -> int:
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        fail(errno.EINVAL)
    old_path = task.string(old)
    if not old_path and flags & AT_EMPTY_PATH:
        found = task.process.container.node_of_fd(task, signed(old_fd))
        if found is None:
            fail(errno.EXDEV)
        source = found
    else:
        source = resolve(task, old_fd, old_path, bool(flags & AT_SYMLINK_FOLLOW))
    directory, name = _free_name(task, new_fd, task.string(new))
    if source.mount is not directory.mount:
        fail(errno.EXDEV)
    if not is_owner(source.inode, task.credentials) and not _safe_source(task, source):
        fail(errno.EPERM)  # protected_hardlinks, proc(5)
    _enterable(task, directory)
    if source.inode.mode & S_IFMT == S_IFDIR:
        fail(errno.EPERM)
    if source.inode.nlink == 0 and not source.mount.fs.linkable(source.inode):
        fail(errno.ENOENT)
    inode = directory.mount.fs.link(source.inode, directory.inode, name)
    _created(task, directory, name, inode)
    return 0


def _safe_source(task: Task, source: Node) -> bool:
    mode = source.inode.mode
    if mode & S_IFMT != S_IFREG or mode & 0o4000 or mode & 0o2010 == 0o2010:
        return False
    try:
        need(source.inode, task.credentials, 6)
    except PermissionError:
        return False
    return True


def _old_name(task: Task, dirfd: int, path: bytes) -> tuple[Node, bytes, bool]:
    directory, name, slash = resolve_parent(task, dirfd, path)
    if name:  # nothing is looked up for "/"
        need(directory.inode, task.credentials, EXECUTE)
    return directory, name, slash


def _check_removal(task: Task, directory: Node, name: bytes) -> Inode:
    if directory.mount.read_only:
        fail(errno.EROFS)
    victim = directory.mount.fs.lookup(directory.inode, name)
    if victim is None:
        fail(errno.ENOENT)
    need_removable(directory.inode, victim, task.credentials)
    if victim.ino in directory.mount.covered:
        fail(errno.EBUSY)
    return victim


def sys_unlink(task: Task, a: tuple[int, ...]) -> Any:
    return _unlink(task, AT_FDCWD, task.string(a[0]))


def sys_rmdir(task: Task, a: tuple[int, ...]) -> Any:
    return _rmdir(task, AT_FDCWD, task.string(a[0]))


def sys_unlinkat(task: Task, a: tuple[int, ...]) -> Any:
    if a[2] & ~AT_REMOVEDIR:
        fail(errno.EINVAL)
    path = task.string(a[1])
    return _rmdir(task, a[0], path) if a[2] & AT_REMOVEDIR else _unlink(task, a[0], path)


def _unlink(task: Task, dirfd: int, path: bytes) -> Any:
    directory, name, slash = _old_name(task, dirfd, path)
    if name in DOTS:
        fail(errno.EISDIR)
    if slash and not directory.mount.read_only:
        victim = directory.mount.fs.lookup(directory.inode, name)
        if victim is None:
            fail(errno.ENOENT)
        fail(errno.EISDIR if victim.mode & S_IFMT == S_IFDIR else errno.ENOTDIR)
    victim = _check_removal(task, directory, name)
    held = _hold(directory.mount.fs, victim)
    try:
        directory.mount.fs.unlink(directory.inode, name)
        _removed(task, directory, name, victim)
    except BaseException:
        if held >= 0:
            os.close(held)
        raise
    return _let_go(task, held)


def _hold(fs: Filesystem, victim: Inode) -> int:
    """Of a large file that is about to lose its last name, a descriptor that keeps its bytes; else -1."""
    if not isinstance(fs, UnionFs) or victim.content is not None or victim.nlink != 1:
        return -1
    if victim.mode & S_IFMT != S_IFREG:
        return -1
    path = fs.backing(victim)
    try:
        if os.stat(path).st_blocks * 512 < LARGE:
            return -1
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return -1  # then it goes at once, as a small one


def _let_go(task: Task, held: int) -> Any:
    """The host frees what nobody holds any more, and the call is over then."""
    if held < 0:
        return 0
    kernel = task.process.container.kernel
    job = Job(lambda: os.close(held), kernel.processors)

    def look() -> None:
        if not job.over:
            kernel.loop.later(INTERVAL, look)
        elif kernel.tasks.get(task.tid) is task:
            kernel.platform.finish(task, 0)

    kernel.loop.later(INTERVAL, look)
    return DEFERRED


def _rmdir(task: Task, dirfd: int, path: bytes) -> int:
    directory, name, _ = _old_name(task, dirfd, path)
    if name == b".":
        fail(errno.EINVAL)
    if name == b"..":
        fail(errno.ENOTEMPTY)
    if not name:
        fail(errno.EBUSY)
    victim = _check_removal(task, directory, name)
    directory.mount.fs.rmdir(directory.inode, name)
    _removed(task, directory, name, victim)
    return 0


def sys_rename(task: Task, a: tuple[int, ...]) -> Any:
    return _rename(task, AT_FDCWD, a[0], AT_FDCWD, a[1], 0)


def sys_renameat(task: Task, a: tuple[int, ...]) -> Any:
    return _rename(task, a[0], a[1], a[2], a[3], 0)


def sys_renameat2(task: Task, a: tuple[int, ...]) -> Any:
    return _rename(task, a[0], a[1], a[2], a[3], a[4])


def _rename(task: Task, old_fd: int, old: int, new_fd: int, new: int, flags: int) -> Any:
    """The order of what is checked is that of do_renameat2() and vfs_rename() in the host's fs/namei.c."""
    if flags & ~RENAME_FLAGS or (flags & RENAME_EXCHANGE and flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)):
        fail(errno.EINVAL)
    if flags & RENAME_WHITEOUT:
        fail(errno.EINVAL)  # as a file system without whiteouts answers
    source, old_name, old_slash = _old_name(task, old_fd, task.string(old))
    target, new_name, new_slash = _old_name(task, new_fd, task.string(new))
    if source.mount is not target.mount:
        fail(errno.EXDEV)
    if old_name in DOTS or new_name in DOTS:
        fail(errno.EEXIST if flags & RENAME_NOREPLACE and old_name not in DOTS else errno.EBUSY)
    if source.mount.read_only:
        fail(errno.EROFS)
    fs = source.mount.fs
    exchange = flags & RENAME_EXCHANGE
    moving = fs.lookup(source.inode, old_name)
    if moving is None or target.inode.nlink == 0:
        fail(errno.ENOENT)
    victim = fs.lookup(target.inode, new_name)
    if victim is None:
        if exchange or fs.fixed:
            fail(errno.ENOENT)
    elif flags & RENAME_NOREPLACE:
        fail(errno.EEXIST)
    elif exchange and new_slash and victim.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    is_dir = moving.mode & S_IFMT == S_IFDIR
    if (old_slash or (new_slash and not exchange)) and not is_dir:
        fail(errno.ENOTDIR)
    if source.inode.ino != target.inode.ino:
        if is_dir and _lies_in(fs, target.inode, moving):
            fail(errno.EINVAL)
        if victim is not None and victim.mode & S_IFMT == S_IFDIR and _lies_in(fs, source.inode, victim):
            fail(errno.EINVAL if exchange else errno.ENOTEMPTY)
    if victim is not None and victim.ino == moving.ino:
        return 0
    _check_removal(task, source, old_name)
    who = task.credentials
    if victim is not None:
        _check_removal(task, target, new_name)
        if not exchange and is_dir != (victim.mode & S_IFMT == S_IFDIR):
            fail(errno.ENOTDIR if is_dir else errno.EISDIR)
    else:
        _enterable(task, target)
    if source.inode.ino != target.inode.ino:  # the .. of a directory changes
        if is_dir:
            need(moving, who, WRITE)
        if exchange and victim is not None and victim.mode & S_IFMT == S_IFDIR:
            need(victim, who, WRITE)
    held = -1 if victim is None or exchange else _hold(fs, victim)
    try:
        fs.rename(source.inode, old_name, target.inode, new_name, flags)
        watches = task.process.container.watches
        if watches:
            watches.moved(source, old_name, target, new_name, fs.current(moving))
    except BaseException:
        if held >= 0:
            os.close(held)
        raise
    return _let_go(task, held)


def _lies_in(fs: Filesystem, inode: Inode, top: Inode) -> bool:
    while inode.ino != top.ino:
        if inode.ino == fs.root.ino:
            return False
        inode = fs.current(fs.parent(inode))
    return True


def sys_chdir(task: Task, a: tuple[int, ...]) -> int:
    return _chdir(task, resolve(task, AT_FDCWD, task.string(a[0])))


def sys_fchdir(task: Task, a: tuple[int, ...]) -> int:
    node = task.process.container.node_of_fd(task, signed(a[0]))
    if node is None:
        fail(errno.ENOTDIR)
    return _chdir(task, node)


def _chdir(task: Task, node: Node) -> int:
    if node.inode.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    need(node.inode, task.credentials, EXECUTE)
    task.files.cwd = node
    return 0


def sys_chroot(task: Task, a: tuple[int, ...]) -> int:
    node = resolve(task, AT_FDCWD, task.string(a[0]))
    if node.inode.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    need(node.inode, task.credentials, EXECUTE)
    if not task.credentials.has(CAP_SYS_CHROOT):
        fail(errno.EPERM)
    task.files.root = node
    return 0


def sys_umask(task: Task, a: tuple[int, ...]) -> int:
    files = task.files
    old, files.umask = files.umask, a[0] & 0o777
    return old
