"""What a case uses to look at the system it runs on. Imported by cases, on the host and in the container alike.

A case is a function that prints what it saw. It runs in a process and a scratch directory of its own, as root,
umask 022. What legitimately differs between two runs (inode numbers, times, process numbers) it does not print.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# x86-64 numbers of calls that Python's os module has not
NR = {
    "getdents64": 217, "setfsuid": 122, "setfsgid": 123, "capget": 125, "capset": 126, "renameat2": 316,
    "execveat": 322, "statx": 332, "openat2": 437, "faccessat2": 439, "fchmodat2": 452, "close_range": 436,
    "mknodat": 259, "linkat": 265, "unlinkat": 263, "symlinkat": 266, "readlinkat": 267, "fchownat": 260,
    "newfstatat": 262, "utimensat": 280, "futimesat": 261, "creat": 85, "open": 2, "access": 21, "faccessat": 269,
    "getcwd": 79, "readlink": 89, "rename": 82, "mkdir": 83, "rmdir": 84, "link": 86, "symlink": 88, "tgkill": 234, "rt_sigqueueinfo": 129,
    "tkill": 200, "gettid": 186, "kill": 62, "fallocate": 285, "truncate": 76, "prlimit64": 302, "umask": 95,
    "statfs": 137, "fstatfs": 138, "sched_getaffinity": 204, "vfork": 58, "clone": 56, "clone3": 435, "fork": 57,
    "memfd_create": 319, "waitid": 247, "signalfd4": 289, "timerfd_create": 283, "timerfd_settime": 286,
    "getdents": 78, "utime": 132, "utimes": 235, "mknod": 133, "fcntl": 72, "dup3": 292, "chroot": 161,
    "set_tid_address": 218, "pidfd_open": 434, "pidfd_send_signal": 424, "setxattr": 188, "getxattr": 191,
    "openat": 257, "mkdirat": 258, "chown": 92, "lchown": 94, "fchmodat": 268, "ioprio_get": 252, "dup2": 33,
    "copy_file_range": 326, "sendfile": 40, "splice": 275, "sched_getattr": 315, "setgroups": 116,
    "io_setup": 206, "io_destroy": 207, "io_getevents": 208, "io_submit": 209, "mq_open": 240, "mq_unlink": 241, "inotify_init1": 294, "inotify_add_watch": 254, "personality": 135, "getrandom": 318, "sethostname": 170,
}  # fmt: skip
AT_FDCWD = -100
O_PATH, O_TMPFILE, O_DIRECTORY, O_NOFOLLOW = os.O_PATH, os.O_TMPFILE, os.O_DIRECTORY, os.O_NOFOLLOW
AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, AT_EACCESS = (
    0x100,
    0x200,
    0x400,
    0x1000,
    0x200,
)
ALICE, BOB = 1000, 1001  # users without a name


class Case(NamedTuple):
    name: str
    function: Callable[[], None]
    program: str | None
    timeout: float


registry: dict[str, Case] = {}


def case(
    function: Callable[[], None] | None = None, *, program: str | None = None, timeout: float = 10.0
) -> Any:
    """Register a case. program: one of programs/*.c that it needs; timeout in seconds."""

    def enter(function: Callable[[], None]) -> Callable[[], None]:
        name = f"{function.__module__.rpartition('.')[2]}/{function.__name__}"
        if name in registry:
            raise ValueError(f"two cases are named {name}")
        registry[name] = Case(name, function, program, timeout)
        return function

    return enter if function is None else enter(function)


class Failed(Exception):
    """What a raw call that failed is shown as."""


def name_of(code: int | None) -> str:
    return (
        errno.errorcode.get(code or 0, str(code))
        .replace("EWOULDBLOCK", "EAGAIN")
        .replace("ENOTSUP", "EOPNOTSUPP")
    )


def outcome(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """The value, or the name of the errno."""
    try:
        return function(*args, **named)
    except OSError as error:
        return name_of(error.errno)


def tell(label: str, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Print what a call gives; the value, or None if it failed."""
    value = outcome(function, *args, **named)
    print(f"{label}: {value!r}" if not isinstance(value, str) else f"{label}: {value}")
    return None if isinstance(value, str) else value


def opens(
    label: str, path: Any, flags: int = os.O_RDONLY, mode: int = 0o666, dir_fd: int | None = None
) -> None:
    """Open, say whether it worked, close."""
    fd = outcome(os.open, path, flags, mode, dir_fd=dir_fd)
    if isinstance(fd, int):
        os.close(fd)
        print(f"{label}: opened")
    else:
        print(f"{label}: {fd}")


def raw(name: str, *args: Any) -> int:
    """A system call by number. Raises OSError."""
    ctypes.set_errno(0)
    words = [
        a if isinstance(a, (bytes, ctypes.Array, ctypes.c_void_p)) or a is None else ctypes.c_long(a)
        for a in args
    ]
    result: int = libc.syscall(ctypes.c_long(NR[name]), *words)
    if result == -1 and ctypes.get_errno():
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def put(path: Any, data: bytes = b"", mode: int = 0o644) -> Any:
    """Make a file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)
    os.chmod(path, mode)
    return path


def get(path: Any) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def describe(path: Any, follow: bool = False, dir_fd: int | None = None) -> str:
    """Type, mode, links, owner, size."""
    try:
        return described(os.stat(path, dir_fd=dir_fd, follow_symlinks=follow))
    except OSError as error:
        return name_of(error.errno)


def described(info: os.stat_result) -> str:
    size = f" size {info.st_size}" if not stat.S_ISDIR(info.st_mode) else ""
    rdev = f" rdev {os.major(info.st_rdev)}:{os.minor(info.st_rdev)}" if info.st_rdev else ""
    return (
        f"{stat.filemode(info.st_mode)} links {info.st_nlink} owner {info.st_uid}:{info.st_gid}{size}{rdev}"
    )


def look(*paths: Any) -> None:
    for path in paths:
        print(f"{os.fsdecode(path)}: {describe(path)}")


def tree(top: str = ".") -> None:
    """Every name below a directory."""
    for where, directories, files in os.walk(top):
        directories.sort()
        for name in sorted(directories + files):
            print(f"{os.path.join(where, name)}: {describe(os.path.join(where, name))}")


def become(uid: int, gid: int | None = None, groups: list[int] | None = None) -> None:
    """Another user for good."""
    os.setgroups(groups or [])
    os.setresgid(*[uid if gid is None else gid] * 3)
    os.setresuid(uid, uid, uid)


@contextmanager
def effective(uid: int, gid: int | None = None) -> Iterator[None]:
    """Another effective user for a while."""
    os.setegid(uid if gid is None else gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def child(function: Callable[..., Any], *args: Any) -> int:
    """Run in a forked process; its exit status (negative: the signal)."""
    return waited(spawn(function, *args))


def spawn(function: Callable[..., Any], *args: Any) -> int:
    """Start a forked process, return its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        result = function(*args)
        if isinstance(result, int) and not isinstance(result, bool):
            code = result
    except OSError as error:
        print(f"{function.__name__}: {name_of(error.errno)}")
        code = 99
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


def waited(pid: int) -> int:
    while True:
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)


def as_user(
    uid: int,
    function: Callable[..., Any],
    *args: Any,
    gid: int | None = None,
    groups: list[int] | None = None,
) -> int:
    """Run in a child that has become another user."""

    def run() -> Any:
        become(uid, gid, groups)
        return function(*args)

    run.__name__ = getattr(function, "__name__", "function")
    return child(run)


def until(condition: Callable[[], Any], seconds: float = 5.0) -> bool:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.002)
    return False


def state_of(pid: int) -> str:
    """The letter of /proc/PID/stat: S sleeping, T stopped, Z zombie; - if it is gone."""
    try:
        text = get(f"/proc/{pid}/stat")
    except OSError:
        return "-"
    return text[text.rindex(b")") + 2 :].split()[0].decode()


def run(*argv: str, **environment: str) -> None:
    """Run a program with an environment of its own; print its output and status."""
    import subprocess

    sys.stdout.flush()
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, env={"PATH": "/usr/bin:/bin", **environment}
    )
    print(f"{argv[0]}: status {done.returncode}")
    sys.stdout.write(done.stdout.decode("utf-8", "replace"))
    if done.stderr:
        sys.stdout.write("stderr: " + done.stderr.decode("utf-8", "replace"))


class Handled:
    """Counts a signal with a handler; restart: with SA_RESTART."""

    def __init__(self, signum: int, restart: bool = False) -> None:
        self.count = 0
        signal.signal(signum, self._arrived)
        signal.siginterrupt(signum, not restart)

    def _arrived(self, signum: int, frame: Any) -> None:
        self.count += 1
