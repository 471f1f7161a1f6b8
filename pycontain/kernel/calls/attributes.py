"""Changing what inodes say: chmod, chown, times, truncate, extended attributes."""

from __future__ import annotations

import errno
import os
import signal
import struct
import time
from typing import Any

from pycontain.kernel.abi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    BILLION,
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    TIMESPEC,
    UTIME_NOW,
    UTIME_OMIT,
    signed,
    signed_long,
)
from pycontain.kernel.credentials import CAP_FSETID, CAP_SETFCAP, CAP_SYS_ADMIN
from pycontain.kernel.inotify import IN_ATTRIB, IN_MODIFY
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.access import (
    READ,
    STICKY,
    WRITE,
    changed_owner,
    drop_privileges,
    is_owner,
    may,
    need,
)
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.mount import Node
from pycontain.kernel.vfs.proctext import host_file
from pycontain.kernel.vfs.walk import resolve
from pycontain.platforms.base import NATIVE, Sender

UTIMBUF = struct.Struct("<qq")
TIME_MIN, TIME_MAX = -0x80000000 * BILLION, 0x37FFFFFFF * BILLION + BILLION - 1  # as ext4 has it
XATTR_NAME_MAX, XATTR_SIZE_MAX = 255, 65536
XATTRS_MAX = XATTR_SIZE_MAX + XATTR_NAME_MAX  # of one file, names included
XATTR_CREATE, XATTR_REPLACE = 1, 2
FILE_CAPABILITY = b"security.capability"


def _of_fd(task: Task, fd: int) -> Node | None:
    """The node of a descriptor that was truly opened: EBADF for one of O_PATH."""
    container = task.process.container
    info = task.host_stat(signed(fd))
    handle = container.handles.find(info.st_dev, info.st_ino)
    if handle is not None and handle.path_only:
        fail(errno.EBADF)
    return container.node_of_fd(task, signed(fd))


def _at(task: Task, dirfd: int, address: int, flags: int, allowed: int) -> Node | None:
    """The node of an *at call; None for a descriptor that is no file (with AT_EMPTY_PATH)."""
    if flags & ~allowed:
        fail(errno.EINVAL)
    path = task.string(address)
    if not path and flags & AT_EMPTY_PATH:
        if signed(dirfd) == AT_FDCWD:
            return task.files.cwd
        return task.process.container.node_of_fd(task, signed(dirfd))
    return resolve(task, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW)


def _writable(node: Node) -> None:
    if node.mount.read_only:
        fail(errno.EROFS)


def _told(task: Task, node: Node, event: int) -> None:
    """Tell those who watch the file."""
    watches = task.process.container.watches
    if watches:
        watches.itself(node.mount, node.mount.fs.current(node.inode), event)


# -- mode


def sys_chmod(task: Task, a: tuple[int, ...]) -> int:
    return _chmod(task, resolve(task, AT_FDCWD, task.string(a[0])), a[1])


def sys_fchmod(task: Task, a: tuple[int, ...]) -> int:
    node = _of_fd(task, a[0])
    if node is None:
        _chmod_memory(task, signed(a[0]), a[1] & 0o7777)
    return _chmod(task, node, a[1])


def _chmod_memory(task: Task, fd: int, mode: int) -> None:
    """The bits of a memory file are the host's."""
    pinned = os.open(f"/proc/{task.tid}/fd/{fd}", os.O_PATH | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{pinned}"
        if os.readlink(path).startswith("/memfd:"):
            os.chmod(path, mode)
    finally:
        os.close(pinned)


def sys_fchmodat(task: Task, a: tuple[int, ...]) -> int:
    return _chmod(task, resolve(task, a[0], task.string(a[1])), a[2])


def sys_fchmodat2(task: Task, a: tuple[int, ...]) -> int:
    node = _at(task, a[0], a[1], a[3], AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)
    if node is not None and node.inode.mode & S_IFMT == S_IFLNK:
        fail(errno.EOPNOTSUPP)
    return _chmod(task, node, a[2])


def _chmod(task: Task, node: Node | None, mode: int) -> int:
    if node is None:
        return 0  # a pipe, socket or terminal: its bits mean nothing here
    _writable(node)
    who = task.credentials
    if not is_owner(node.inode, who):
        fail(errno.EPERM)
    mode &= 0o7777
    if not who.in_group(node.inode.gid) and not who.has(CAP_FSETID):
        mode &= ~0o2000
    node.mount.fs.set_attr(node.inode, mode=mode)
    _told(task, node, IN_ATTRIB)
    return 0


# -- owner


def sys_chown(task: Task, a: tuple[int, ...]) -> int:
    return _chown(task, resolve(task, AT_FDCWD, task.string(a[0])), a[1], a[2])


def sys_lchown(task: Task, a: tuple[int, ...]) -> int:
    return _chown(task, resolve(task, AT_FDCWD, task.string(a[0]), False), a[1], a[2])


def sys_fchown(task: Task, a: tuple[int, ...]) -> int:
    return _chown(task, _of_fd(task, a[0]), a[1], a[2])


def sys_fchownat(task: Task, a: tuple[int, ...]) -> int:
    return _chown(task, _at(task, a[0], a[1], a[4], AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), a[2], a[3])


def _chown(task: Task, node: Node | None, uid: int, gid: int) -> int:
    if node is None:
        return 0
    _writable(node)
    new_uid = None if signed(uid) == -1 else uid & 0xFFFFFFFF
    new_gid = None if signed(gid) == -1 else gid & 0xFFFFFFFF
    mode = changed_owner(node.inode, task.credentials, new_uid, new_gid)
    drops = mode & 0o7777 != node.inode.mode & 0o7777 and node.inode.mode & S_IFMT == S_IFREG
    if drops and not is_owner(node.inode, task.credentials):
        fail(errno.EPERM)
    node.mount.fs.set_attr(node.inode, uid=new_uid, gid=new_gid)
    _told(task, node, IN_ATTRIB)
    if drops:
        node.mount.fs.set_attr(node.mount.fs.current(node.inode), mode=mode)
    if node.inode.xattrs and FILE_CAPABILITY in node.inode.xattrs:
        node.mount.fs.set_xattr(node.inode, FILE_CAPABILITY, None)
    return 0


# -- times


def sys_utime(task: Task, a: tuple[int, ...]) -> Any:
    node = resolve(task, AT_FDCWD, task.string(a[0]))
    if not a[1]:
        return _utimens(task, node, None, None, now=True)
    atime, mtime = task.unpack(UTIMBUF, a[1])
    return _utimens(task, node, atime * BILLION, mtime * BILLION)


def sys_utimes(task: Task, a: tuple[int, ...]) -> Any:
    return _utimes(task, resolve(task, AT_FDCWD, task.string(a[0])), a[1])


def sys_futimesat(task: Task, a: tuple[int, ...]) -> Any:
    node = _of_fd(task, a[0]) if not a[1] else resolve(task, a[0], task.string(a[1]))
    return NATIVE if node is None else _utimes(task, node, a[2])


def _utimes(task: Task, node: Node, address: int) -> int:
    if not address:
        return _utimens(task, node, None, None, now=True)
    atime, amicro = task.unpack(TIMESPEC, address)
    mtime, mmicro = task.unpack(TIMESPEC, address + 16)
    if not (0 <= amicro < 1000000 and 0 <= mmicro < 1000000):
        fail(errno.EINVAL)
    return _utimens(task, node, atime * BILLION + amicro * 1000, mtime * BILLION + mmicro * 1000)


def sys_utimensat(task: Task, a: tuple[int, ...]) -> Any:
    if a[2] and all(task.unpack(TIMESPEC, a[2] + at)[1] == UTIME_OMIT for at in (0, 16)):
        return 0  # not even the path is looked at
    if not a[1]:
        if signed(a[0]) == AT_FDCWD:
            fail(errno.EFAULT)
        if a[3]:
            fail(errno.EINVAL)
        node = _of_fd(task, a[0])
    else:
        node = _at(task, a[0], a[1], a[3], AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)
    if node is None:
        return 0  # times of pipes and sockets are nobody's
    if not a[2]:
        return _utimens(task, node, None, None, now=True)
    values: list[int | None] = []
    moments = 0
    for address in (a[2], a[2] + 16):
        seconds, nanos = task.unpack(TIMESPEC, address)
        if nanos == UTIME_OMIT:
            values.append(None)
        elif nanos == UTIME_NOW:
            moments += 1
            values.append(time.time_ns())
        elif not 0 <= nanos < BILLION:
            fail(errno.EINVAL)
        else:
            values.append(seconds * BILLION + nanos)
    return _utimens(task, node, values[0], values[1], now=moments == 2)


def _held(moment: int | None) -> int | None:
    """A time within what a file system keeps; Linux cuts it to that too (timestamp_truncate)."""
    return None if moment is None else min(max(moment, TIME_MIN), TIME_MAX)


def _utimens(task: Task, node: Node, atime: int | None, mtime: int | None, now: bool = False) -> int:
    """now: both times are the present one, for which write permission is enough."""
    _writable(node)
    who = task.credentials
    if not is_owner(node.inode, who):
        if not now:
            fail(errno.EPERM)
        if not may(node.inode, who, WRITE):
            fail(errno.EACCES)
    if now and atime is None:
        atime = mtime = time.time_ns()
    node.mount.fs.set_attr(node.inode, atime=_held(atime), mtime=_held(mtime))
    _told(task, node, IN_ATTRIB)
    return 0


# -- size


def sys_truncate(task: Task, a: tuple[int, ...]) -> int:
    size = signed_long(a[1])
    if size < 0:
        fail(errno.EINVAL)
    node = resolve(task, AT_FDCWD, task.string(a[0]))
    kind = node.inode.mode & S_IFMT
    if kind == S_IFDIR:
        fail(errno.EISDIR)
    if kind != S_IFREG:
        fail(errno.EINVAL)
    _writable(node)
    need(node.inode, task.credentials, WRITE)
    if node.inode.mode & 0o111 and task.process.container.runs(node):
        fail(errno.ETXTBSY)
    if size > node.mount.fs.stat(node.inode).size:
        _limit_size(task, size)
    drop_privileges(node, task.credentials)
    node.mount.fs.truncate(node.inode, size)
    _told(task, node, IN_MODIFY)
    return 0


def _limit_size(task: Task, size: int) -> None:
    """RLIMIT_FSIZE: what the host sees to where a file is written or truncated through a descriptor."""
    text = host_file(task.process.pid, "limits").partition(b"Max file size")[2].split(None, 1)
    if text and text[0].isdigit() and size > int(text[0]):
        sender = Sender(task.container.inside(task.process.pid), task.credentials.uid)
        task.container.kernel.platform.kill(task.process.pid, task.tid, signal.SIGXFSZ, sender)
        fail(errno.EFBIG)


# -- extended attributes (xattr(7))


def _name(task: Task, address: int) -> bytes:
    name = task.string(address)
    if not name or len(name) > XATTR_NAME_MAX:
        fail(errno.ERANGE)
    return name


EMPTY_NAMES = (b"user.", b"security.", b"trusted.")


def _known(key: bytes) -> bool:
    return key.startswith((b"user.", b"security.", b"trusted.", b"system.posix_acl_"))


def _get(task: Task, node: Node | None, name: int, address: int, size: int) -> int:
    key = _name(task, name)
    if node is None:
        fail(errno.ENODATA)
    if key.startswith(b"system."):
        fail(errno.EOPNOTSUPP)
    who = task.credentials
    if key.startswith(b"trusted.") and not who.has(CAP_SYS_ADMIN):
        fail(errno.ENODATA)
    if not _known(key):
        need(node.inode, who, READ)
        fail(errno.EOPNOTSUPP)
    if key.startswith(b"user."):
        if node.mount.fs.type == "proc":
            fail(errno.EOPNOTSUPP)
        if node.inode.mode & S_IFMT not in (S_IFREG, S_IFDIR):
            fail(errno.ENODATA)
        if not may(node.inode, who, READ):
            fail(errno.EACCES)
    if key in EMPTY_NAMES:
        fail(errno.EINVAL)
    value = node.mount.fs.xattrs(node.inode).get(key)
    if value is None:
        fail(errno.ENODATA)
    return _return(task, value, address, size)


def _return(task: Task, value: bytes, address: int, size: int) -> int:
    if size == 0:
        return len(value)
    if len(value) > size:
        fail(errno.ERANGE)
    task.io.write(address, value)
    return len(value)


def _list(task: Task, node: Node | None, address: int, size: int) -> int:
    if node is None:
        return 0
    hidden = not task.credentials.has(CAP_SYS_ADMIN)
    names = [n for n in node.mount.fs.xattrs(node.inode) if not (hidden and n.startswith(b"trusted."))]
    return _return(task, b"".join(n + b"\0" for n in sorted(names)), address, size)


def _change(task: Task, node: Node | None, key: bytes, value: bytes | None, flags: int) -> int:
    if node is None:
        fail(errno.EPERM)
    _writable(node)
    who = task.credentials
    kind = node.inode.mode & S_IFMT
    if key.startswith(b"system."):
        fail(errno.EOPNOTSUPP)
    if not _known(key):
        need(node.inode, who, WRITE)
        fail(errno.EOPNOTSUPP)
    if key.startswith(b"user."):
        if kind not in (S_IFREG, S_IFDIR):
            fail(errno.EPERM)
        if kind == S_IFDIR and node.inode.mode & STICKY and not is_owner(node.inode, who):
            fail(errno.EPERM)
        need(node.inode, who, WRITE)
    elif key == FILE_CAPABILITY:
        if value is not None and (len(value), value[3:4]) not in ((20, b"\2"), (24, b"\3")):
            fail(errno.EINVAL)  # neither VFS_CAP_REVISION_2 nor _3
        if not who.has(CAP_SETFCAP):
            fail(errno.EPERM)
    elif not who.has(CAP_SYS_ADMIN):
        fail(errno.EPERM)
    if key in EMPTY_NAMES:
        fail(errno.EINVAL)
    if node.mount.fs.type == "proc":
        fail(errno.EOPNOTSUPP)
    exists = key in node.mount.fs.xattrs(node.inode)
    if value is None and not exists:
        fail(errno.ENODATA)
    if flags & XATTR_CREATE and exists:
        fail(errno.EEXIST)
    if flags & XATTR_REPLACE and not exists:
        fail(errno.ENODATA)
    if value is not None:
        others = sum(len(n) + len(v) for n, v in node.mount.fs.xattrs(node.inode).items() if n != key)
        if others + len(key) + len(value) > XATTRS_MAX:
            fail(errno.ENOSPC)  # as ext4 answers: each change writes all of them to the journal
    node.mount.fs.set_xattr(node.inode, key, value)
    _told(task, node, IN_ATTRIB)
    return 0


def _set(task: Task, node: Node | None, a: tuple[int, ...]) -> int:
    if a[4] & ~3:
        fail(errno.EINVAL)
    key = _name(task, a[1])
    if a[3] > XATTR_SIZE_MAX:
        fail(errno.E2BIG)
    return _change(task, node, key, task.read(a[2], a[3]) if a[3] else b"", a[4])


def _path(task: Task, address: int, follow: bool = True) -> Node:
    return resolve(task, AT_FDCWD, task.string(address), follow)


def sys_getxattr(task: Task, a: tuple[int, ...]) -> int:
    return _get(task, _path(task, a[0]), a[1], a[2], a[3])


def sys_lgetxattr(task: Task, a: tuple[int, ...]) -> int:
    return _get(task, _path(task, a[0], False), a[1], a[2], a[3])


def sys_fgetxattr(task: Task, a: tuple[int, ...]) -> int:
    return _get(task, _of_fd(task, a[0]), a[1], a[2], a[3])


def sys_setxattr(task: Task, a: tuple[int, ...]) -> int:
    return _set(task, _path(task, a[0]), a)


def sys_lsetxattr(task: Task, a: tuple[int, ...]) -> int:
    return _set(task, _path(task, a[0], False), a)


def sys_fsetxattr(task: Task, a: tuple[int, ...]) -> int:
    return _set(task, _of_fd(task, a[0]), a)


def sys_listxattr(task: Task, a: tuple[int, ...]) -> int:
    return _list(task, _path(task, a[0]), a[1], a[2])


def sys_llistxattr(task: Task, a: tuple[int, ...]) -> int:
    return _list(task, _path(task, a[0], False), a[1], a[2])


def sys_flistxattr(task: Task, a: tuple[int, ...]) -> int:
    return _list(task, _of_fd(task, a[0]), a[1], a[2])


def sys_removexattr(task: Task, a: tuple[int, ...]) -> int:
    return _change(task, _path(task, a[0]), _name(task, a[1]), None, 0)


def sys_lremovexattr(task: Task, a: tuple[int, ...]) -> int:
    return _change(task, _path(task, a[0], False), _name(task, a[1]), None, 0)


def sys_fremovexattr(task: Task, a: tuple[int, ...]) -> int:
    return _change(task, _of_fd(task, a[0]), _name(task, a[1]), None, 0)
