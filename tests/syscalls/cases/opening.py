"""open(2), openat(2), creat(2): flags and errors."""

from __future__ import annotations

import fcntl
import os

from probe import AT_FDCWD, case, describe, get, look, opens, outcome, put, raw, tell


@case
def create_and_exclusive() -> None:
    opens("missing", "a")
    opens("create", "a", os.O_CREAT | os.O_WRONLY, 0o640)
    opens("create again", "a", os.O_CREAT | os.O_WRONLY, 0o777)
    look("a")
    opens("exclusive, exists", "a", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    opens("exclusive, new", "b", os.O_CREAT | os.O_EXCL | os.O_RDWR)
    os.symlink("nowhere", "link")
    opens("exclusive on a dangling link", "link", os.O_CREAT | os.O_EXCL | os.O_RDWR)
    opens("create through a dangling link", "link", os.O_CREAT | os.O_RDWR)
    look("nowhere")
    os.mkdir("d")
    opens("exclusive on a directory", "d", os.O_CREAT | os.O_EXCL)
    opens("create on a directory", "d", os.O_CREAT)
    opens("exclusive without create", "a", os.O_EXCL)


@case
def modes_and_umask() -> None:
    for mask, mode in ((0, 0o7777), (0o077, 0o666), (0o777, 0o777), (0o022, 0o1777), (0o022, 0o6755)):
        os.umask(mask)
        fd = os.open("f", os.O_CREAT | os.O_WRONLY, mode)
        os.close(fd)
        print(f"{mask:o} {mode:o}: {describe('f')}")
        os.unlink("f")
    os.umask(0o022)
    fd = os.open("none", os.O_CREAT | os.O_RDWR, 0)  # readable all the same through this descriptor
    print(os.write(fd, b"abc"), os.pread(fd, 3, 0))
    os.close(fd)
    look("none")


@case
def access_modes() -> None:
    put("f", b"hello")
    for name in ("O_RDONLY", "O_WRONLY", "O_RDWR"):
        fd = os.open("f", getattr(os, name))
        print(name, fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE)
        tell("  read", os.read, fd, 2)
        tell("  write", os.write, fd, b"x")
        os.close(fd)
    fd = os.open("f", 3)
    print("access mode 3:", fcntl.fcntl(fd, fcntl.F_GETFL) & 3)
    tell("  read", os.read, fd, 2)
    tell("  write", os.write, fd, b"x")


@case
def truncate() -> None:
    put("f", b"hello")
    opens("O_TRUNC with O_RDONLY", "f", os.O_TRUNC)
    print(get("f"))
    put("f", b"hello")
    opens("O_TRUNC with O_WRONLY", "f", os.O_TRUNC | os.O_WRONLY)
    print(get("f"))
    os.mkdir("d")
    opens("O_TRUNC on a directory", "d", os.O_TRUNC)
    opens("O_TRUNC of an image's file", "/image/changed/file2", os.O_TRUNC | os.O_WRONLY)
    look("/image/changed/file2")
    os.close(raw("creat", b"f", 0o600))
    look("f")


@case
def append() -> None:
    put("f", b"abc")
    one = os.open("f", os.O_WRONLY | os.O_APPEND)
    two = os.open("f", os.O_WRONLY | os.O_APPEND)
    os.write(one, b"1")
    os.write(two, b"2")
    os.lseek(one, 0, os.SEEK_SET)
    os.write(one, b"3")
    print(get("f"), os.lseek(one, 0, os.SEEK_CUR))
    print(os.pwrite(one, b"4", 0), get("f"))
    print(fcntl.fcntl(one, fcntl.F_GETFL) & os.O_APPEND == os.O_APPEND)
    fcntl.fcntl(one, fcntl.F_SETFL, 0)
    os.pwrite(one, b"Z", 0)
    print(get("f"))


@case
def directory_flag() -> None:
    put("f")
    os.mkdir("d")
    os.symlink("d", "to-d")
    os.symlink("f", "to-f")
    for path in ("f", "d", "to-d", "to-f", "missing", "f/", "d/", "to-d/", "d/.", "f/."):
        for name in ("O_RDONLY", "O_DIRECTORY", "O_WRONLY", "O_RDWR", "O_NOFOLLOW", "O_PATH"):
            opens(f"{path} {name}", path, getattr(os, name))
        opens(f"{path} O_DIRECTORY|O_NOFOLLOW", path, os.O_DIRECTORY | os.O_NOFOLLOW)
        opens(f"{path} O_PATH|O_NOFOLLOW", path, os.O_PATH | os.O_NOFOLLOW)
        opens(f"{path} O_PATH|O_DIRECTORY", path, os.O_PATH | os.O_DIRECTORY)


@case
def creating_with_slashes() -> None:
    os.mkdir("d")
    put("f")
    for path in (
        "new/",
        "f/",
        "d/",
        "d/new/",
        "missing/new",
        "f/new",
        "d/.",
        "d/..",
        ".",
        "/",
        "",
        "d//new2",
        "./d/./new3",
    ):
        opens(f"create {path!r}", path, os.O_CREAT | os.O_WRONLY)
        opens(f"create exclusively {path!r}", path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    print(sorted(os.listdir("d")))


@case
def create_with_directory_flag() -> None:
    os.mkdir("d")
    for path in ("d", "new"):
        opens(f"O_CREAT|O_DIRECTORY {path}", path, os.O_CREAT | os.O_DIRECTORY)
    print(sorted(os.listdir(".")))


@case
def path_descriptors() -> None:
    put("f", b"hello", 0o000)
    fd = os.open("f", os.O_PATH)
    tell("read", os.read, fd, 1)
    tell("write", os.write, fd, b"x")
    tell("fchmod", os.fchmod, fd, 0o600)
    tell("fchown", os.fchown, fd, 1, 1)
    tell("fgetxattr", os.getxattr, fd, "user.x")
    tell("size", lambda: os.fstat(fd).st_size)
    tell("reopened", lambda: os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 5))
    os.mkdir("d")
    put("d/inner")
    directory = os.open("d", os.O_PATH)
    tell("openat below", lambda: os.close(os.open("inner", os.O_RDONLY, dir_fd=directory)))
    tell("listdir", os.listdir, directory)
    tell("fchdir", os.fchdir, directory)
    print(os.path.basename(os.getcwd()))


@case
def path_descriptors_in_native_calls() -> None:
    put("f", b"hello")
    fd = os.open("f", os.O_PATH)
    tell("ftruncate", os.ftruncate, fd, 0)
    tell("lseek", os.lseek, fd, 0, 0)
    tell("fsync", os.fsync, fd)
    tell("flags", lambda: fcntl.fcntl(fd, fcntl.F_GETFL) == os.O_PATH)


@case
def path_of_a_symlink() -> None:
    os.symlink("target", "link")
    fd = os.open("link", os.O_PATH | os.O_NOFOLLOW)
    print(oct(os.fstat(fd).st_mode), os.fstat(fd).st_size)
    tell("readlink", os.readlink, "", dir_fd=fd)
    tell("reopen", os.open, f"/proc/self/fd/{fd}", os.O_RDONLY)


@case
def directory_descriptors() -> None:
    os.mkdir("d")
    put("d/f", b"in d")
    put("f", b"outside")
    d, f = os.open("d", os.O_RDONLY), os.open("f", os.O_RDONLY)
    tell("below a directory", lambda: os.read(os.open("f", os.O_RDONLY, dir_fd=d), 9))
    opens("below a file", "f", dir_fd=f)
    opens("below a closed descriptor", "f", dir_fd=999)
    opens("absolute, below a closed descriptor", "/image/plain", dir_fd=999)
    opens("below -1", "f", dir_fd=-1)
    opens("dotdot", "../f", dir_fd=d)
    tell("empty", raw, "openat", d, b"", 0)
    tell("openat of AT_FDCWD", lambda: os.close(raw("openat", AT_FDCWD, b"f", 0)))
    tell("read a directory", os.read, d, 10)
    tell("write a directory", os.write, d, b"x")
    tell("ftruncate a directory", os.ftruncate, d, 0)
    tell("fsync a directory", os.fsync, d)
    pipe = os.pipe()
    opens("below a pipe", "f", dir_fd=pipe[0])


@case
def bad_pointers() -> None:
    tell("open NULL", raw, "open", None, 0)
    tell("open 1", raw, "open", 1, 0)
    tell("openat NULL", raw, "openat", AT_FDCWD, None, 0)
    tell("stat NULL buffer", raw, "newfstatat", AT_FDCWD, b".", None, 0)
    tell("mkdir NULL", raw, "mkdir", None, 0)
    tell("rename NULL", raw, "rename", b"a", None)
    tell("getcwd NULL", raw, "getcwd", None, 4096)
    tell("readlink NULL buffer", raw, "readlink", b"/image/symlink", None, 10)


@case
def special_files() -> None:
    os.mkfifo("fifo")
    opens("fifo, write, nonblocking, no reader", "fifo", os.O_WRONLY | os.O_NONBLOCK)
    opens("fifo, read, nonblocking", "fifo", os.O_RDONLY | os.O_NONBLOCK)
    opens("fifo, read and write", "fifo", os.O_RDWR)
    opens("fifo as directory", "fifo", os.O_DIRECTORY)
    import socket

    s = socket.socket(socket.AF_UNIX)
    s.bind("sock")
    opens("socket", "sock")
    opens("socket as path", "sock", os.O_PATH)
    opens("null, truncated", "/dev/null", os.O_WRONLY | os.O_TRUNC)
    opens("null, exclusively", "/dev/null", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    opens("null, created", "/dev/null", os.O_WRONLY | os.O_CREAT)
    opens("null below", "/dev/null/x")
    opens("tty without one", "/dev/tty", os.O_RDWR)
    opens("null of the image", "/image/null", os.O_RDWR)


@case
def many_descriptors() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    while isinstance(fd := outcome(os.open, "/image/plain", os.O_RDONLY), int):
        held.append(fd)
    print(fd, max(held), len(held) > 50)
    print(outcome(os.open, "/image/directory", os.O_RDONLY), outcome(os.pipe))
    os.close(10)
    print(os.open("/image/plain", os.O_RDONLY))


@case
def lowest_descriptor() -> None:
    for fd in (5, 7, 9):
        os.dup2(1, fd)
    os.close(7)
    first = os.open("/image/plain", os.O_RDONLY)
    second = os.open("/image", os.O_RDONLY)
    print(first < second, os.get_inheritable(first))
    fd = os.open("/image/plain", os.O_RDONLY | os.O_CLOEXEC)
    print(fcntl.fcntl(fd, fcntl.F_GETFD))
    print(fcntl.fcntl(raw("openat", AT_FDCWD, b"/image/plain", 0), fcntl.F_GETFD))


@case
def shared_offset() -> None:
    put("f", b"0123456789")
    one = os.open("f", os.O_RDONLY)
    two = os.dup(one)
    other = os.open("f", os.O_RDONLY)
    print(os.read(one, 3), os.read(two, 3), os.read(other, 3))


@case
def noatime_and_friends() -> None:
    put("f", b"x")
    for name in ("O_NOATIME", "O_SYNC", "O_DSYNC", "O_NONBLOCK", "O_NOCTTY", "O_LARGEFILE", "O_ASYNC"):
        flag = getattr(os, name)
        fd = outcome(os.open, "f", os.O_RDWR | flag)
        if isinstance(fd, int):
            print(name, fcntl.fcntl(fd, fcntl.F_GETFL) & flag == flag)
            os.close(fd)
        else:
            print(name, fd)
    from probe import as_user

    as_user(1000, opens, "O_NOATIME of another's file", "f", os.O_NOATIME)


@case
def status_flags() -> None:
    put("f", b"x")
    for flags in (
        0,
        os.O_RDWR,
        os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW,
        os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK,
    ):
        fd = os.open("f", flags)
        print(oct(fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_LARGEFILE & ~0o100000))
        os.close(fd)
    fd = os.open(".", os.O_DIRECTORY)
    print(oct(fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_LARGEFILE & ~0o100000))


@case
def status_flags_of_directories() -> None:
    for flags in (0, os.O_DIRECTORY | os.O_NONBLOCK | os.O_NOFOLLOW):
        fd = os.open(".", flags)
        print(oct(fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_LARGEFILE & ~0o100000))
