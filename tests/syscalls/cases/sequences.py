"""Sequences of file system calls, chosen by chance but the same for a seed, on few names so that they meet.

The cases take the first seeds; others, and longer ones, are run by hand:

    python tests/syscalls/compare.py --sequences 100-123 --length 3000
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import stat
import sys
from collections.abc import Callable
from typing import Any

from probe import ALICE, AT_FDCWD, BOB, Case, name_of, raw, registry

SEEDS = 4  # of the tests
LENGTH = 500
TREES = 24  # directories of the image, of which a seed takes one, see world.py
NAMES = ("a", "b", "c", "d", "e", "one", "two", "three", "dir", "link", "deep")
TIMES = [seconds * 10**9 for seconds in (1, 10**9, 1_500_000_000)]  # that are set; others are the clock's
USERS = ((0, 0, [0]), (ALICE, ALICE, []), (BOB, BOB, [ALICE]))
OPEN_FLAGS = (
    os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_APPEND | os.O_CREAT,
    os.O_RDONLY | os.O_DIRECTORY, os.O_RDONLY | os.O_NOFOLLOW, os.O_PATH, os.O_PATH | os.O_NOFOLLOW,
    os.O_PATH | os.O_DIRECTORY, os.O_RDWR | os.O_TMPFILE, os.O_WRONLY | os.O_TMPFILE | os.O_EXCL,
    os.O_RDONLY | os.O_TRUNC, os.O_RDWR | os.O_NOFOLLOW, os.O_RDONLY | os.O_CREAT,
    os.O_RDONLY | os.O_NOATIME,
)  # fmt: skip
# no setuid bits for files: when a write takes them away is known to differ
MODES = (0o777, 0o755, 0o644, 0o600, 0o444, 0o000, 0o1777, 0o711, 0o222)
DIRECTORY_MODES = (*MODES, 0o4755, 0o2775, 0o6777)
SIZES = (0, 1, 5, 100, 4096, 70000)
RENAME_FLAGS = (0, 0, 0, 0, 1, 2, 2, 3)
KEYS = (b"user.one", b"user.two", b"trusted.x", b"security.y", b"user.", b"other.z", b"one")
SLOTS = 6


class Sequence:
    def __init__(self, seed: int, tree: str) -> None:
        self.random = random.Random(seed)
        self.readers: set[int] = set()  # descriptors whose contents are known to differ after a copy-up
        self.base = os.getcwd()
        self.places = (self.base, tree, tree)
        self.fds: list[int] = []

    # -- what calls are about

    def path(self) -> str:
        chance = self.random
        words = [chance.choice(NAMES) for _ in range(chance.choice((1, 1, 1, 2, 2, 3)))]
        if chance.random() < 0.06:
            words.insert(chance.randrange(1, len(words) + 1), chance.choice((".", "..", "")))
        text = "/".join(words)
        if chance.random() < 0.05:
            text += "/"
        if chance.random() < 0.3:
            text = f"{chance.choice(self.places)}/{text}"
        return text if chance.random() > 0.01 else chance.choice(("", "/"))

    def below(self) -> str:
        """One that is not the root directory, which all sequences share."""
        path = self.path()
        return path if path != "/" else "."

    def fd(self) -> int:
        return self.random.choice(self.fds) if self.fds and self.random.random() < 0.95 else 77

    def directory(self) -> int:
        return self.fd() if self.random.random() < 0.3 else AT_FDCWD

    def kept(self, fd: int) -> str:
        self.fds.append(fd)
        self.readers.discard(fd)
        if not fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_PATH) and stat.S_ISREG(os.fstat(fd).st_mode):
            self.readers.add(fd)
        if len(self.fds) > SLOTS:
            os.close(self.fds.pop(self.random.randrange(SLOTS)))
        return f"descriptor {fd}"

    def path_only(self, fd: int) -> bool:
        """Was it opened by O_PATH? Native calls on such a one are known to differ."""
        return fd in self.fds and fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_PATH | 3) in (3, os.O_PATH)

    def data(self) -> bytes:
        return bytes([65 + self.random.randrange(26)]) * self.random.choice(SIZES)

    def described(self, info: os.stat_result, fd: int = -1) -> str:
        """What of struct stat must be the same, and which open descriptors are the same file."""
        kind = stat.S_IFMT(info.st_mode)
        same = [] if kind == stat.S_IFCHR else [other for other in self.fds if self.is_same(info, other)]
        mode = info.st_mode
        if fd >= 0 and kind == stat.S_IFCHR:
            return "a device"  # its descriptor is the host's
        unknown = fd in self.readers or (info.st_nlink == 0 and self.path_only(fd))
        size = "" if unknown or kind == stat.S_IFDIR else f" size {info.st_size}"
        time = info.st_mtime_ns // 10**9 if info.st_mtime_ns in TIMES and kind in (stat.S_IFREG, stat.S_IFDIR) else "now"
        if unknown:
            time = "some time"
        owner = f"{info.st_uid}:{info.st_gid}"
        return f"{stat.filemode(mode)} {info.st_nlink} {owner}{size} {time} {info.st_rdev} {same}"

    def is_same(self, info: os.stat_result, fd: int) -> bool:
        other = os.fstat(fd)
        return (info.st_dev, info.st_ino) == (other.st_dev, other.st_ino)

    # -- the calls; each returns what is to be seen of it

    def op_open(self) -> Any:
        path, flags, mode, at = self.path(), self.random.choice(OPEN_FLAGS), self.random.choice(MODES), self.directory()
        return f"open {path} {flags:o} {mode:o} at {at}", lambda: self.kept(
            raw("openat", at, path.encode(), flags | os.O_NONBLOCK * (not flags & os.O_PATH), mode)
        )

    def op_openat2(self) -> Any:
        path, flags, at = self.path(), self.random.choice(OPEN_FLAGS[:5]), self.directory()
        restrict = self.random.choice((0, 1, 2, 4, 8, 16, 4 | 8))
        mode = 0o640 if flags & os.O_CREAT else 0
        how = b"".join(value.to_bytes(8, "little") for value in (flags | os.O_NONBLOCK, mode, restrict))
        return f"openat2 {path} {flags:o} {restrict} at {at}", lambda: self.kept(
            raw("openat2", at, path.encode(), how, len(how))
        )

    def op_reopen(self) -> Any:
        fd, flags = self.fd(), self.random.choice((os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_PATH))
        if self.is_device(fd) or ((self.path_only(fd) or fd in self.readers) and os.fstat(fd).st_nlink == 0):
            return f"skip {fd}", lambda: None  # these do not keep the bytes of what has no name
        return f"reopen {fd} {flags:o}", lambda: self.kept(os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK))

    def op_close(self) -> Any:
        fd = self.fd()

        def close() -> None:
            if fd in self.fds:
                self.fds.remove(fd)
            os.close(fd)

        return f"close {fd}", close

    def op_dup(self) -> Any:
        fd = self.fd()
        return f"dup {fd}", lambda: self.kept(os.dup(fd))

    def op_read(self) -> Any:
        fd, size = self.fd(), self.random.choice(SIZES)

        def read() -> str:
            data = os.read(fd, size)
            return "something" if fd in self.readers else f"{len(data)} {data[:4]!r} {data[-2:]!r}"

        return f"read {fd} {size}", read

    def op_pread(self) -> Any:
        fd, size, place = self.fd(), self.random.choice(SIZES), self.random.choice((0, 3, 5000))
        return f"pread {fd} {size} {place}", lambda: (
            "something" if os.pread(fd, size, place) is not None and fd in self.readers else os.pread(fd, size, place)[:8]
        )

    def op_write(self) -> Any:
        fd, data = self.fd(), self.data()
        return f"write {fd} {len(data)}", lambda: os.write(fd, data)

    def op_pwrite(self) -> Any:
        fd, data, place = self.fd(), self.data(), self.random.choice((0, 10, 9000))
        return f"pwrite {fd} {len(data)} {place}", lambda: os.pwrite(fd, data, place)

    def op_lseek(self) -> Any:
        fd, place, whence = self.fd(), self.random.choice((0, 1, -1, 100)), self.random.choice((0, 1, 2, 5))
        if self.path_only(fd):
            return f"skip {fd}", lambda: None
        if fd in self.fds and (stat.S_ISDIR(os.fstat(fd).st_mode) or fd in self.readers):
            whence, place = 0, 0  # what a position in a directory means is the file system's affair
        return f"lseek {fd} {place} {whence}", lambda: os.lseek(fd, place, whence)

    def op_ftruncate(self) -> Any:
        fd, size = self.fd(), self.random.choice(SIZES)
        if self.path_only(fd):
            return f"skip {fd}", lambda: None
        return f"ftruncate {fd} {size}", lambda: os.ftruncate(fd, size)

    def op_fallocate(self) -> Any:
        fd, mode, place, size = self.fd(), self.random.choice((0, 1)), self.random.choice((0, 50)), 300
        if fd in self.fds and not stat.S_ISREG(os.fstat(fd).st_mode):
            return f"skip {fd}", lambda: None
        return f"fallocate {fd} {mode} {place}", lambda: raw("fallocate", fd, mode, place, size)

    def op_copy(self) -> Any:
        source, target, size = self.fd(), self.fd(), self.random.choice(SIZES)
        if source in self.readers:
            return f"skip {source}", lambda: None
        for fd in (source, target):
            if fd in self.fds and not stat.S_ISREG(os.fstat(fd).st_mode):
                return f"skip {fd}", lambda: None
        return f"sendfile {source} {target} {size}", lambda: os.sendfile(target, source, None, size)

    def op_truncate(self) -> Any:
        path, size = self.path(), self.random.choice(SIZES)
        return f"truncate {path} {size}", lambda: os.truncate(path, size)

    def op_mkdir(self) -> Any:
        path, mode, at = self.path(), self.random.choice(DIRECTORY_MODES), self.directory()
        return f"mkdir {path} {mode:o} at {at}", lambda: raw("mkdirat", at, path.encode(), mode)

    def op_rmdir(self) -> Any:
        path = self.path()
        return f"rmdir {path}", lambda: os.rmdir(path)

    def op_unlink(self) -> Any:
        path, at, flags = self.path(), self.directory(), self.random.choice((0, 0, 0, 0x200, 1))
        return f"unlink {path} {flags} at {at}", lambda: raw("unlinkat", at, path.encode(), flags)

    def op_rename(self) -> Any:
        old, new, flags = self.path(), self.path(), self.random.choice(RENAME_FLAGS)
        one, two = self.directory(), self.directory()
        return f"rename {old} {new} {flags} at {one} {two}", lambda: raw(
            "renameat2", one, old.encode(), two, new.encode(), flags
        )

    def op_link(self) -> Any:
        old, new, flags, at = self.path(), self.path(), self.random.choice((0, 0x400, 0, 3)), self.directory()
        return f"link {old} {new} {flags} at {at}", lambda: raw(
            "linkat", at, old.encode(), AT_FDCWD, new.encode(), flags
        )

    def op_link_descriptor(self) -> Any:
        fd, new = self.fd(), self.path()
        if self.is_device(fd) or ((self.path_only(fd) or fd in self.readers) and os.fstat(fd).st_nlink == 0):
            return f"skip {fd}", lambda: None
        return f"link descriptor {fd} {new}", lambda: raw(
            "linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, new.encode(), 0x400
        )

    def op_symlink(self) -> Any:
        target, path, at = self.path().rstrip("/"), self.path(), self.directory()
        return f"symlink {target} {path} at {at}", lambda: raw("symlinkat", target.encode(), at, path.encode())

    def op_readlink(self) -> Any:
        path, at = self.path(), self.directory()
        return f"readlink {path} at {at}", lambda: self.shortened(raw_readlink(at, path))

    def shortened(self, text: str) -> str:
        return text.replace(self.base, "BASE").replace(self.places[1], "TREE")

    def op_mknod(self) -> Any:
        path, kind = self.path(), self.random.choice((stat.S_IFIFO, stat.S_IFCHR, stat.S_IFREG, 0))
        device = os.makedev(1, 3) if kind == stat.S_IFCHR else 0
        return f"mknod {path} {kind:o}", lambda: raw("mknodat", AT_FDCWD, path.encode(), kind | 0o640, device)

    def op_stat(self) -> Any:
        path, flags, at = self.path(), self.random.choice((0, 0x100, 0x1000)), self.directory()
        return f"stat {path} {flags:x} at {at}", lambda: self.described(
            os.stat(path, dir_fd=at, follow_symlinks=not flags & 0x100) if at != AT_FDCWD
            else os.stat(path, follow_symlinks=not flags & 0x100)
        )  # fmt: skip

    def op_fstat(self) -> Any:
        fd = self.fd()
        return f"fstat {fd}", lambda: self.described(os.fstat(fd), fd)

    def op_where(self) -> Any:
        fd = self.fd()
        if fd in self.fds and not stat.S_ISDIR(os.fstat(fd).st_mode):
            return f"skip {fd}", lambda: None  # it may have several names
        return f"where {fd}", lambda: self.shortened(os.readlink(f"/proc/self/fd/{fd}"))

    def op_chmod(self) -> Any:
        path = self.below()
        mode = self.random.choice(DIRECTORY_MODES if os.path.isdir(path) else MODES)
        return f"chmod {path} {mode:o}", lambda: os.chmod(path, mode)

    def is_device(self, fd: int) -> bool:
        """A descriptor of a device is the host's; what concerns its owner and mode is known to differ."""
        return fd in self.fds and stat.S_ISCHR(os.fstat(fd).st_mode)

    def op_fchmod(self) -> Any:
        fd, mode = self.fd(), self.random.choice(MODES)
        if self.is_device(fd):
            return f"skip {fd}", lambda: None
        return f"fchmod {fd} {mode:o}", lambda: os.fchmod(fd, mode)

    def op_chown(self) -> Any:
        path, uid, gid = self.below(), self.random.choice((-1, 0, ALICE, BOB)), self.random.choice((-1, 0, ALICE, BOB))
        follow = self.random.random() < 0.7
        return f"chown {path} {uid} {gid} {follow}", lambda: os.chown(path, uid, gid, follow_symlinks=follow)

    def op_fchown(self) -> Any:
        fd, uid, gid = self.fd(), self.random.choice((-1, 0, ALICE)), self.random.choice((-1, 0, BOB))
        if self.is_device(fd):
            return f"skip {fd}", lambda: None
        return f"fchown {fd} {uid} {gid}", lambda: os.fchown(fd, uid, gid)

    def op_utime(self) -> Any:
        path, value = self.below(), self.random.choice(TIMES)
        follow = self.random.random() < 0.7
        return f"utime {path} {value} {follow}", lambda: os.utime(path, ns=(value, value), follow_symlinks=follow)

    def op_utime_now(self) -> Any:
        path = self.path()
        return f"utime now {path}", lambda: os.utime(path)

    def op_access(self) -> Any:
        path, mode = self.path(), self.random.choice((0, 1, 2, 4, 6, 7))
        flags = self.random.choice((0, 0x200, 0x100))
        return f"access {path} {mode} {flags:x}", lambda: raw("faccessat2", AT_FDCWD, path.encode(), mode, flags)

    def op_chdir(self) -> Any:
        path = self.path() if self.random.random() < 0.5 else self.random.choice(self.places)
        return f"chdir {path}", lambda: os.chdir(path)

    def op_fchdir(self) -> Any:
        fd = self.fd()
        return f"fchdir {fd}", lambda: os.fchdir(fd)

    def op_getcwd(self) -> Any:
        return "getcwd", lambda: self.shortened(os.getcwd())

    def op_list(self) -> Any:
        path = self.path() if self.random.random() < 0.6 else "."
        return f"list {path}", lambda: sorted(
            (entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in os.scandir(path)
        )

    def op_list_descriptor(self) -> Any:
        fd = self.fd()
        return f"list descriptor {fd}", lambda: sorted(os.listdir(fd))

    def op_xattr(self) -> Any:
        path, key, value = self.below(), self.random.choice(KEYS), self.data()[:100]
        which = self.random.randrange(4)
        if which == 0:
            flags = self.random.choice((0, 1, 2))
            return f"setxattr {path} {key!r} {flags}", lambda: os.setxattr(path, key, value, flags)
        if which == 1:
            return f"getxattr {path} {key!r}", lambda: os.getxattr(path, key)[:10]
        if which == 2:
            return f"removexattr {path} {key!r}", lambda: os.removexattr(path, key)
        return f"listxattr {path}", lambda: sorted(n for n in os.listxattr(path) if not n.startswith("security.s"))

    def op_flock(self) -> Any:
        fd, kind = self.fd(), self.random.choice((fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN))
        return f"flock {fd} {kind}", lambda: fcntl.flock(fd, kind | fcntl.LOCK_NB)

    def op_umask(self) -> Any:
        mask = self.random.choice((0, 0o22, 0o77, 0o27, 0o777 & 0o333))
        return f"umask {mask:o}", lambda: os.umask(mask)

    def op_become(self) -> Any:
        uid, gid, groups = self.random.choice(USERS)

        def become() -> None:
            os.seteuid(0)
            os.setgroups(groups)
            os.setegid(gid)
            os.seteuid(uid)

        return f"become {uid}", become

    def run(self, length: int) -> None:
        every = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("op_")]
        weights = [WEIGHTS.get(one.__name__[3:], 3) for one in every]
        for number in range(length):
            text, call = self.random.choices(every, weights)[0]()
            print(f"{number} {self.shortened(text)[:150]}: {outcome_of(call)}")
        os.seteuid(0)


WEIGHTS = {"open": 14, "mkdir": 8, "rename": 10, "unlink": 6, "rmdir": 4, "link": 5, "symlink": 5, "stat": 10, "fstat": 6,
           "write": 6, "become": 2, "umask": 1, "close": 1, "chdir": 2, "fchdir": 1, "list": 4, "chmod": 4}  # fmt: skip


def outcome_of(call: Callable[[], Any]) -> str:
    try:
        return str(call())
    except OSError as error:
        return name_of(error.errno)


def raw_readlink(at: int, path: str) -> str:
    buffer = ctypes.create_string_buffer(4097)
    size = raw("readlinkat", at, path.encode(), buffer, 4096)
    return os.fsdecode(buffer.raw[:size])


def register(name: str, seed: int, length: int) -> None:
    def body() -> None:
        os.umask(0o022)
        Sequence(seed, f"/image/sequences/{seed % TREES}").run(length)

    registry[name] = Case(name, body, None, 60.0)


for _seed in range(SEEDS):
    register(f"sequences/seed_{_seed}", _seed, LENGTH)
for _word in sys.argv[1:]:  # of the driver
    if _word.startswith("sequences/seed_") and _word.count("_") == 2:
        register(_word, *map(int, _word.split("_")[1:]))
