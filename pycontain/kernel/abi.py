"""Structures and constants of the Linux system call interface (x86-64) that calls read and write."""

from __future__ import annotations

import os
import struct

from pycontain.unionfs.inode import Stat

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_NO_AUTOMOUNT, AT_EMPTY_PATH = (
    0x100,
    0x200,
    0x400,
    0x800,
    0x1000,
)
AT_EACCESS = 0x200

O_PATH, O_TMPFILE, O_DIRECTORY, O_NOFOLLOW = 0o10000000, 0o20200000, 0o200000, 0o400000
O_TMPFILE_BIT = 0o20000000
O_CREAT, O_EXCL, O_TRUNC, O_ACCMODE, O_CLOEXEC, O_NONBLOCK = 0o100, 0o200, 0o1000, 3, 0o2000000, 0o4000

S_IFMT, S_IFDIR, S_IFREG, S_IFLNK, S_IFCHR, S_IFIFO, S_IFSOCK, S_IFBLK = (
    0o170000,
    0o040000,
    0o100000,
    0o120000,
    0o020000,
    0o010000,
    0o140000,
    0o060000,
)
UTIME_NOW, UTIME_OMIT = 0x3FFFFFFF, 0x3FFFFFFE
BILLION = 1_000_000_000

# struct stat, arch/x86/include/uapi/asm/stat.h
STAT = struct.Struct("<QQQIIIIQqqqqqqqqqqqq")
# struct statx, include/uapi/linux/stat.h
STATX = struct.Struct("<IIQIIIHHQQQQqIiqIiqIiqIiIIIIQ")
STATX_SIZE, STATX_BASIC = 256, 0x7FF
STATX_MNT_ID = 0x1000
# struct statfs, include/uapi/asm-generic/statfs.h
STATFS = struct.Struct("<QQQQQQQiiQQQ4Q")
TIMESPEC = struct.Struct("<qq")
DIRENT64 = struct.Struct("<QqHB")
BLOCK_SIZE = 4096


def signed(value: int) -> int:
    """An int argument, of which the register's high half means nothing."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


def signed_long(value: int) -> int:
    return value - (1 << 64) if value & (1 << 63) else value


def pack_stat(dev: int, s: Stat) -> bytes:
    atime, mtime, ctime = divmod(s.atime, BILLION), divmod(s.mtime, BILLION), divmod(s.ctime, BILLION)
    return STAT.pack(
        dev, s.ino, s.nlink, s.mode, s.uid, s.gid, 0, s.rdev, s.size, BLOCK_SIZE, s.blocks,
        atime[0], atime[1], mtime[0], mtime[1], ctime[0], ctime[1], 0, 0, 0,
    )  # fmt: skip


def pack_statx(dev: int, s: Stat, mount: int) -> bytes:
    atime, mtime, ctime = divmod(s.atime, BILLION), divmod(s.mtime, BILLION), divmod(s.ctime, BILLION)
    return STATX.pack(
        STATX_BASIC | STATX_MNT_ID, BLOCK_SIZE, 0, s.nlink, s.uid, s.gid, s.mode & 0xFFFF, 0,
        s.ino, s.size, s.blocks, 0,
        atime[0], atime[1], 0, 0, 0, 0, ctime[0], ctime[1], 0, mtime[0], mtime[1], 0,
        os.major(s.rdev), os.minor(s.rdev), os.major(dev), os.minor(dev), mount,
    ).ljust(STATX_SIZE, b"\0")  # fmt: skip


def host_stat(info: os.stat_result, uid: int, gid: int) -> Stat:
    """A host object's stat with the owner that the container sees."""
    return Stat(
        info.st_ino,
        info.st_mode,
        info.st_nlink,
        uid,
        gid,
        info.st_rdev,
        info.st_size,
        info.st_blocks,
        info.st_atime_ns,
        info.st_mtime_ns,
        info.st_ctime_ns,
    )


