"""What has been asked for before is asked for again, after something has changed: a kernel that remembers answers
(dentries, attributes, listings, who may do what) has to know when they are not true any more.
"""

from __future__ import annotations

import ctypes
import os
import random
import stat

from probe import (
    ALICE,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_NOFOLLOW,
    BOB,
    case,
    child,
    describe,
    described,
    effective,
    get,
    name_of,
    outcome,
    put,
    raw,
)  # fmt: skip

TIMES = 3  # how often everything is asked: the first time may be another way than the second


def again(label: str, function, *args, **named) -> None:
    """The same answer each time, and this one."""
    answers = [outcome(function, *args, **named) for _ in range(TIMES)]
    print(f"{label}: {answers[0]!r}" if len({repr(a) for a in answers}) == 1 else f"{label}: {answers!r}")


def seen(path, follow=False, dir_fd=None) -> None:
    again(os.fsdecode(path), describe, path, follow, dir_fd)


@case
def names_come_and_go() -> None:
    seen("a")
    put("a", b"1")
    seen("a")
    os.rename("a", "b")
    seen("a")
    seen("b")
    os.link("b", "c")
    seen("b")
    os.unlink("b")
    seen("b")
    seen("c")
    os.mkdir("b")
    seen("b")
    again("as a directory", os.rmdir, "c")
    again("nothing", os.rmdir, "a")
    again("nothing to remove", os.unlink, "a")
    again("nothing by descriptor", raw, "unlinkat", AT_FDCWD, b"a", AT_REMOVEDIR)
    put("a", b"22")
    seen("a")
    os.unlink("a")
    os.symlink("b", "a")
    seen("a")
    seen("a", True)
    seen("a/")
    seen("a/.")
    os.rmdir("b")
    seen("a", True)
    again("link", os.readlink, "a")
    again("no link", os.readlink, "c")


@case
def many_names() -> None:
    """A directory of which more and more names are known."""
    os.mkdir("d")
    for n in range(30):
        put(f"d/{n}", b"x" * n)
        seen(f"d/{n}")
        seen(f"d/{n + 1}")
        seen(f"d/no{n}")
    for n in range(0, 30, 3):
        os.unlink(f"d/{n}")
    for n in range(30):
        seen(f"d/{n}")
    os.rename("d", "e")
    seen("d/1")
    seen("e/1")
    put("e/no3")
    seen("e/no3")
    long = "n" * 200
    seen(f"e/{long}")
    put(f"e/{long}", b"1")
    seen(f"e/{long}")
    os.unlink(f"e/{long}")
    seen(f"e/{long}")
    seen("e/" + "n" * 256)


@case
def directories_move() -> None:
    os.makedirs("one/two/three")
    put("one/two/three/f", b"f")
    os.symlink("one/two", "link")
    seen("one/two/three/f")
    seen("link/three/f")
    seen("one/two/three/../../two/three/f")
    os.mkdir("other")
    os.rename("one/two", "other/two")
    seen("one/two/three/f")
    seen("link/three/f")
    seen("other/two/three/../../two/three/f")
    os.chdir("other/two/three")
    seen("f")
    seen("../three/f")
    seen("../../two")
    top = os.path.realpath("../../..")
    os.rename(f"{top}/other/two", f"{top}/moved")
    seen("f")
    seen("../three/f")
    seen("../../moved/three/f")
    seen("../../other")
    seen("../../other/two")


@case
def attributes_change() -> None:
    put("f", b"123")
    os.mkdir("d")
    put("d/g")
    for mode in (0o600, 0o644, 0o000, 0o4711):
        os.chmod("f", mode)
        seen("f")
    for uid in (0, ALICE, BOB):
        os.chown("f", uid, uid)
        seen("f")
    with open("f", "ab") as file:
        seen("f")
        file.write(b"456")
        file.flush()
        seen("f")
        again("size", lambda: os.fstat(file.fileno()).st_size)
        file.truncate(1)
        seen("f")
    os.truncate("f", 100)
    seen("f")
    os.utime("f", ns=(10**18, 10**18 + 5))
    again("time", lambda: os.stat("f").st_mtime_ns)
    os.utime("d", (5, 6))
    again("of a directory", lambda: os.stat("d").st_mtime_ns)
    put("d/h")
    again("of a directory that changed", lambda: os.stat("d").st_mtime_ns > 10**18)
    os.mkdir("d/sub")
    seen("d")
    os.rmdir("d/sub")
    seen("d")


@case
def another_user() -> None:
    os.mkdir("closed", 0o700)
    put("closed/f", b"f")
    put("mine", b"m", 0o600)
    os.mkdir("groups", 0o750)
    os.chown("groups", 0, 2000)
    put("groups/f")
    for _ in range(2):
        for path in ("closed/f", "closed/no", "mine", "groups/f"):
            seen(path)
            again(f"open {path}", opened, path, os.O_RDONLY)
            again(f"access {path}", os.access, path, os.R_OK)
            with effective(ALICE):
                seen(path)
                again(f"open {path}", opened, path, os.O_RDONLY)
                again(f"access {path}", os.access, path, os.R_OK)
                again(f"effectively {path}", os.access, path, os.R_OK, effective_ids=True)
    os.chown("closed", ALICE, 0)
    with effective(ALICE):
        seen("closed/f")
    os.chmod("closed", 0o711)
    with effective(BOB):
        seen("closed/f")
        again("list", os.listdir, "closed")
    os.chmod("closed", 0o700)
    with effective(BOB):
        seen("closed/f")
    os.setgroups([2000])
    with effective(BOB):
        seen("groups/f")
    os.setgroups([])
    with effective(BOB):
        seen("groups/f")


@case
def for_good() -> None:
    """Users who are somebody else from here on, with and without capabilities."""
    os.mkdir("closed", 0o700)
    put("closed/f")

    def ask(how: int) -> None:
        seen("closed/f")
        if how == 0:
            os.setuid(ALICE)
        elif how == 1:
            os.setresuid(0, ALICE, 0)
        elif how == 2:
            raw("setfsuid", ALICE)
        else:
            os.setgid(ALICE)
        seen("closed/f")
        again("ids", lambda: (os.getuid(), os.geteuid(), os.getgid(), os.getegid()))

    for how in range(4):
        child(ask, how)


@case
def another_root() -> None:
    os.makedirs("new/etc")
    put("new/etc/f", b"inner")
    os.makedirs("etc")
    put("etc/f", b"outer one")

    def ask() -> None:
        seen("etc/f")
        seen("/etc/f")
        os.chroot("new")
        seen("/etc/f")
        seen("etc/f")
        os.chdir("/")
        seen("etc/f")
        seen("../etc/f")
        seen("/../../etc/f")

    child(ask)
    seen("etc/f")


@case
def something_is_mounted() -> None:
    os.makedirs("point/below")
    put("point/f", b"under it")
    os.mkdir("source")
    put("source/f", b"of the source")
    seen("point/f")
    seen("point/below")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"source", b"point", None, ctypes.c_ulong(4096), None) < 0:
        print("bind", name_of(ctypes.get_errno()))
        return
    seen("point/f")
    seen("point/below")
    seen("point/../source/f")
    put("source/new")
    seen("point/new")
    libc.umount2(b"point", 0)
    seen("point/f")
    seen("point/below")
    seen("point/new")


def opened(path, flags, dir_fd=None) -> str:
    fd = os.open(path, flags, dir_fd=dir_fd)
    try:
        return described(os.fstat(fd))
    finally:
        os.close(fd)


@case
def descriptors_are_reused() -> None:
    """The number stays, what it stands for does not."""
    os.mkdir("d")
    put("d/f", b"f")
    for path in ("d", "d/f", "/image/plain", "/image", "/dev/null", "d"):
        fd = os.open(path, os.O_RDONLY)
        for _ in range(TIMES):
            print(path, described(os.fstat(fd)))
            if os.path.isdir(path):
                print(sorted(os.listdir(fd)))
        os.close(fd)
    fd = os.open("d", os.O_RDONLY)
    again("below", describe, "f", False, fd)
    os.unlink("d/f")
    again("below", describe, "f", False, fd)
    os.rmdir("d")
    again("the directory that is gone", lambda: os.fstat(fd).st_nlink)
    again("below", describe, "f", False, fd)
    again("in it", opened, "x", os.O_CREAT | os.O_WRONLY, fd)
    gone = os.open("f", os.O_RDWR | os.O_CREAT)
    os.write(gone, b"123")
    again("open", lambda: described(os.fstat(gone)))
    os.unlink("f")
    again("unlinked", lambda: described(os.fstat(gone)))
    put("f", b"another one")
    again("unlinked", lambda: described(os.fstat(gone)))
    seen("f")


@case
def descriptors_of_paths() -> None:
    """O_PATH: what it stands for changes, and it tells."""
    put("f", b"123")
    fd = os.open("f", os.O_PATH)
    again("file", lambda: described(os.fstat(fd)))
    put("f", b"x" * 70000)
    again("file", lambda: described(os.fstat(fd)))
    os.truncate("f", 5)
    again("file", lambda: described(os.fstat(fd)))
    again("below", describe, "f", False, fd)
    os.mkdir("d")
    put("d/g")
    fd = os.open("d", os.O_PATH)
    again("directory", lambda: described(os.fstat(fd)))
    again("below", describe, "g", False, fd)
    again("list", lambda: os.listdir(fd))
    os.symlink("f", "l")
    fd = os.open("l", os.O_PATH | os.O_NOFOLLOW)
    again("link", lambda: described(os.fstat(fd)))


@case
def listings() -> None:
    os.mkdir("d")
    for n in range(5):
        put(f"d/{n}")
        again("names", lambda: sorted(os.listdir("d")))
    fd = os.open("d", os.O_RDONLY)
    again("by descriptor", lambda: sorted(os.listdir(fd)))
    buffer = ctypes.create_string_buffer(65536)
    os.lseek(fd, 0, os.SEEK_SET)
    first = raw("getdents64", fd, buffer, 65536)
    print(first > 0, raw("getdents64", fd, buffer, 65536), raw("getdents64", fd, buffer, 65536))
    put("d/new")
    os.lseek(fd, 0, os.SEEK_SET)
    print(raw("getdents64", fd, buffer, 65536) > first)
    for path in ("/image/directory", "/image/links"):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        for size in (65536, 65536, 48, 65536):
            os.lseek(fd, 0, os.SEEK_SET)
            total = []
            while True:
                count = outcome(raw, "getdents64", fd, buffer, size)
                total.append(count)
                if not isinstance(count, int) or not count:
                    break
            print(path, size, sum(total), total[-1] == 0)
        twin = os.dup(fd)
        os.lseek(fd, 0, os.SEEK_SET)
        print(raw("getdents64", twin, buffer, 65536) > 0, raw("getdents64", fd, buffer, 65536))
        again("no room", raw, "getdents64", fd, buffer, 0)


@case
def of_an_image() -> None:
    """Files that nobody has changed, until somebody does."""
    for path in ("/image/changed/file18", "/image/changed/pair9a", "/image/changed/pair9b"):
        seen(path)
        again("open", opened, path, os.O_RDONLY)
    os.chmod("/image/changed/file18", 0o600)
    seen("/image/changed/file18")
    again("open", opened, "/image/changed/file18", os.O_RDONLY)
    reading = os.open("/image/changed/pair9a", os.O_RDONLY)
    with open("/image/changed/pair9a", "ab") as file:
        file.write(b"more")
    seen("/image/changed/pair9a")
    seen("/image/changed/pair9b")
    again("open", opened, "/image/changed/pair9b", os.O_RDONLY)
    again("bytes", get, "/image/changed/pair9b")
    os.close(reading)
    os.rename("/image/changed/directory9", "/image/changed/renamed9")
    seen("/image/changed/directory9/f")
    seen("/image/changed/renamed9/f")
    seen("/image/changed/renamed9/sub/../f")
    again("names", lambda: sorted(os.listdir("/image/changed/renamed9")))
    os.unlink("/image/changed/renamed9/f")
    again("names", lambda: sorted(os.listdir("/image/changed/renamed9")))
    seen("/image/changed/renamed9/f")


@case
def wrong_arguments() -> None:
    put("f")
    bad = ctypes.c_void_p(8)
    fd = os.open("f", os.O_RDONLY)
    for label, *call in (
        ("stat from nowhere", "newfstatat", AT_FDCWD, bad, bad, 0),
        ("stat to nowhere", "newfstatat", AT_FDCWD, b"f", bad, 0),
        ("stat of nothing to nowhere", "newfstatat", AT_FDCWD, b"no", bad, 0),
        ("flags", "newfstatat", AT_FDCWD, b"f", bad, 0x40000),
        ("no descriptor", "newfstatat", 99, b"f", bad, 0),
        ("a file as directory", "newfstatat", fd, b"f", bad, 0),
        ("an empty path", "newfstatat", fd, b"", bad, 0),
        ("by descriptor to nowhere", "newfstatat", fd, b"", bad, AT_EMPTY_PATH),
        ("readlink to nowhere", "readlinkat", AT_FDCWD, b"/image/symlink", bad, 10),
        ("readlink of no size", "readlinkat", AT_FDCWD, b"/image/symlink", bad, 0),
        ("readlink of no link to nowhere", "readlinkat", AT_FDCWD, b"f", bad, 10),
        ("access of a mode", "faccessat", AT_FDCWD, b"f", 8),
        ("open of nowhere", "openat", AT_FDCWD, bad, 0, 0),
        ("directory of a file", "openat", AT_FDCWD, b"f", os.O_DIRECTORY, 0),
        ("slash after a file", "openat", AT_FDCWD, b"f/", 0, 0),
        ("link not followed", "openat", AT_FDCWD, b"/image/symlink", os.O_NOFOLLOW, 0),
        ("write to a directory", "openat", AT_FDCWD, b"/image", os.O_WRONLY, 0),
    ):
        again(label, raw, *call)
    buffer = ctypes.create_string_buffer(256)
    again("empty path, not followed", raw, "newfstatat", fd, b"", buffer, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)
    again("path without an end", raw, "newfstatat", AT_FDCWD, b"x" * 5000, buffer, 0)
    again("long path", raw, "newfstatat", AT_FDCWD, b"./" * 200 + b"f", buffer, 0)


NAMES = ("a", "b", "c", "d")
MAKERS = ("put", "mkdir", "symlink", "link", "rename", "unlink", "rmdir", "chmod", "chown", "append", "truncate", "chdir")


def path_of(dice: random.Random) -> str:
    path = "/".join(dice.choice(NAMES) for _ in range(dice.choice((1, 1, 2, 2, 3))))
    shape = dice.random()
    if shape < 0.06:
        return path + "/"
    if shape < 0.1:
        return "./" + path
    if shape < 0.14:
        return path + "/.."
    if shape < 0.18:
        return f"{dice.choice(NAMES)}/../{path}"
    if shape < 0.2:
        return path + "/."
    return path


def change(dice: random.Random, top: str) -> tuple[str, str]:
    what, path = dice.choice(MAKERS), path_of(dice)
    if what == "put":
        result = outcome(put, path, b"x" * dice.randrange(9))
    elif what == "symlink":
        result = outcome(os.symlink, dice.choice((path_of(dice), f"{top}/{path_of(dice)}")), path)
    elif what in ("link", "rename"):
        result = outcome(getattr(os, what), path_of(dice), path)
    elif what == "chmod":
        result = outcome(os.chmod, path, dice.choice((0o755, 0o700, 0o644, 0o000, 0o1777)))
    elif what == "chown":
        result = outcome(os.chown, path, dice.choice((0, ALICE)), -1)
    elif what == "append":
        result = outcome(append, path)
    elif what == "truncate":
        result = outcome(os.truncate, path, dice.randrange(9))
    elif what == "chdir":
        result = outcome(os.chdir, path if dice.random() < 0.5 else top)
    else:
        result = outcome(getattr(os, what), path)
    return f"{what} {path}", result if isinstance(result, str) and result.isupper() else "done"


def append(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"yz")


def look_at(dice: random.Random) -> tuple[str, object]:
    path, how = path_of(dice), dice.randrange(7)
    if how == 0:
        return f"lstat {path}", describe(path)
    if how == 1:
        return f"stat {path}", describe(path, True)
    if how == 2:
        return f"access {path}", outcome(os.access, path, dice.choice((os.F_OK, os.R_OK, os.W_OK, os.X_OK)))
    if how == 3:
        return f"readlink {path}", outcome(os.readlink, path)
    if how == 4:
        flags = dice.choice((os.O_RDONLY, os.O_RDONLY | os.O_NOFOLLOW, os.O_RDONLY | os.O_DIRECTORY, os.O_WRONLY, os.O_RDWR))
        return f"open {flags:o} {path}", outcome(opened, path, flags)
    if how == 5:
        names = outcome(os.listdir, path)
        return f"list {path}", names if isinstance(names, str) else sorted(names)
    fd = outcome(os.open, path, os.O_RDONLY | os.O_DIRECTORY)
    if isinstance(fd, str):
        return f"below {path}", fd
    try:
        return f"below {path}", [describe(name, False, fd) for name in NAMES]
    finally:
        os.close(fd)


def sequence(seed: int, steps: int, user: int) -> None:
    """Changes in a small place, and everything asked twice after each."""
    dice = random.Random(seed)
    os.chmod(".", 0o777)
    top = os.getcwd()
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    for number in range(steps):
        name, result = change(dice, top)
        print(number, name, result)
        for _ in range(3):
            state = dice.getstate()
            what, first = look_at(dice)
            dice.setstate(state)
            _, second = look_at(dice)
            print(" ", what, first if first == second else (first, second))
    for where, directories, files in os.walk(top):
        directories.sort()
        for name in sorted(directories + files):
            info = os.lstat(os.path.join(where, name))
            print(os.path.relpath(os.path.join(where, name), top), stat.filemode(info.st_mode), info.st_nlink)


def _register(seed: int, user: int) -> None:
    def run() -> None:
        child(sequence, seed, 150, user)

    run.__name__ = f"sequence_{seed}_{'user' if user else 'root'}"
    run.__module__ = __name__
    case(run, timeout=60)


for _seed in range(12):
    _register(_seed, ALICE if _seed % 3 == 2 else 0)
