"""getdents, seekdir, rewinddir, names that change while they are read; getcwd, chdir."""

from __future__ import annotations

import ctypes
import os
import struct

from probe import ALICE, as_user, case, describe, look, outcome, put, raw, tell

libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long


def entries(fd: int, size: int = 32768) -> list[tuple[bytes, int, int]]:
    """(name, type, offset) of one getdents64."""
    buffer = ctypes.create_string_buffer(size)
    length = raw("getdents64", fd, buffer, size)
    found, at = [], 0
    while at < length:
        _, offset, record, kind = struct.unpack_from("<QqHB", buffer.raw, at)
        found.append((buffer.raw[at + 19 : at + record].split(b"\0")[0], kind, offset))
        at += record
    return found


def everything(fd: int, size: int = 32768) -> list[bytes]:
    found: list[bytes] = []
    while block := entries(fd, size):
        found += [name for name, _, _ in block]
    return found


def fill(path: str, count: int) -> None:
    os.mkdir(path)
    for i in range(count):
        put(f"{path}/{i:04}")


@case
def types() -> None:
    os.mkdir("d")
    os.mkdir("d/sub")
    put("d/f")
    os.symlink("f", "d/l")
    os.mkfifo("d/p")
    os.mknod("d/c", 0o20644, os.makedev(1, 3))
    import socket

    s = socket.socket(socket.AF_UNIX)
    s.bind("d/s")
    fd = os.open("d", os.O_RDONLY)
    print(sorted((name, kind) for name, kind, _ in entries(fd)))
    print(entries(fd))


@case
def small_buffers() -> None:
    fill("d", 50)
    fd = os.open("d", os.O_RDONLY)
    for size in (0, 1, 20, 23):
        print(size, outcome(entries, fd, size))
    print(sorted(everything(fd, 32)) == sorted([b".", b"..", *(b"%04d" % i for i in range(50))]))
    os.lseek(fd, 0, 0)
    print(len(everything(fd, 100)), len(everything(fd)))
    tell("of a file", entries, os.open("d/0001", os.O_RDONLY))
    tell("of a pipe", entries, os.pipe()[0])
    tell("of nothing", entries, 99)
    tell("bad buffer", raw, "getdents64", os.open("d", os.O_RDONLY), 1, 4096)


@case
def positions() -> None:
    fill("d", 200)
    fd = os.open("d", os.O_RDONLY)
    first = entries(fd, 2000)
    rest = everything(fd, 2000)
    print(len(first) + len(rest))
    for name, _, offset in first[3::7]:
        os.lseek(fd, offset, os.SEEK_SET)
        again = everything(fd)
        following = [n for n, _, _ in first[[n for n, _, _ in first].index(name) + 1 :]] + rest
        print(again == following)
    os.lseek(fd, 0, os.SEEK_SET)
    print(len(everything(fd)))
    print(outcome(os.lseek, fd, -1, 0))
    print(outcome(entries, fd))


@case
def rewind_sees_changes() -> None:
    fill("d", 5)
    fd = os.open("d", os.O_RDONLY)
    print(len(everything(fd)))
    put("d/new")
    os.unlink("d/0000")
    os.lseek(fd, 0, 0)
    print(sorted(everything(fd)))


@case
def removal_while_reading() -> None:
    """What rm -r does: every name is seen although each is removed when it is seen."""
    fill("d", 500)
    fd = os.open("d", os.O_RDONLY)
    seen = 0
    while block := entries(fd, 1000):
        for name, _, _ in block:
            if name not in (b".", b".."):
                os.unlink(b"d/" + name)
                seen += 1
    print(seen, os.listdir("d"))
    tell("rmdir", os.rmdir, "d")
    tell("read on", entries, fd)
    os.lseek(fd, 0, 0)
    tell("after rewind", entries, fd)


@case
def creation_while_reading() -> None:
    fill("d", 100)
    fd = os.open("d", os.O_RDONLY)
    names: list[bytes] = []
    while block := entries(fd, 500):
        names += [n for n, _, _ in block]
        if len(names) < 300:
            put(f"d/new{len(names)}")
    print(len(names) == len(set(names)), {b"%04d" % i for i in range(100)} <= set(names))


@case
def seekdir_and_telldir() -> None:
    fill("d", 30)
    directory = ctypes.c_void_p(libc.opendir(b"d"))

    def read() -> bytes | None:
        entry = libc.readdir(directory)
        return None if not entry else ctypes.string_at(entry + 19)

    names, marks = [], []
    while True:
        marks.append(libc.telldir(directory))
        name = read()
        if name is None:
            break
        names.append(name)
    print(len(names), len(set(marks)) == len(marks))
    for i in (0, 5, 17, 29, 31):
        libc.seekdir(directory, ctypes.c_long(marks[i]))
        print(read() == names[i])
    libc.rewinddir(directory)
    print(read() == names[0])


@case
def two_readers() -> None:
    fill("d", 20)
    one, two = os.open("d", os.O_RDONLY), os.open("d", os.O_RDONLY)
    a = entries(one, 300)
    b = entries(two)
    print(len(b), len(a) < len(b), len(a) + len(everything(one)))
    shared = os.dup(two)
    os.lseek(two, 0, 0)
    first = entries(two, 300)
    print(len(first) + len(everything(shared)))


@case
def inode_numbers_agree() -> None:
    os.mkdir("d")
    put("d/f")
    os.symlink("f", "d/l")
    os.mkdir("d/sub")
    print(all(e.inode() == os.lstat(e.path).st_ino for e in os.scandir("d")))
    print(all(e.inode() == os.lstat(e.path).st_ino for e in os.scandir("/image")))
    print(os.stat("d/sub/..").st_ino == os.stat("d").st_ino, os.stat("/..").st_ino == os.stat("/").st_ino)
    fd = os.open("d/sub", os.O_RDONLY)
    buffer = ctypes.create_string_buffer(1000)
    size = raw("getdents64", fd, buffer, 1000)
    found = {}
    at = 0
    while at < size:
        ino, _, record, _ = struct.unpack_from("<QqHB", buffer.raw, at)
        found[buffer.raw[at + 19 : at + record].split(b"\0")[0]] = ino
        at += record
    print(found[b"."] == os.stat("d/sub").st_ino, found[b".."] == os.stat("d").st_ino)


@case
def merged_directories() -> None:
    """A directory of the image with names added, removed and replaced."""
    top = "/image/changed/directory0"
    print(sorted(os.listdir(top)))
    put(f"{top}/added")
    os.unlink(f"{top}/f")
    os.mkdir(f"{top}/f")
    print(sorted((e.name, e.is_dir()) for e in os.scandir(top)))
    os.rmdir(f"{top}/f")
    os.unlink(f"{top}/sub/g")
    os.rmdir(f"{top}/sub")
    os.mkdir(f"{top}/sub")
    print(os.listdir(f"{top}/sub"), sorted(os.listdir(top)))
    look(top, f"{top}/sub")
    print(os.listdir("/image/hollow"))


@case
def current_directory() -> None:
    top = os.getcwd()
    os.makedirs("a/b")
    os.chdir("a/b")
    print(os.path.relpath(os.getcwd(), top))
    for size in (0, 1, 5, len(os.getcwd()), len(os.getcwd()) + 1):
        buffer = ctypes.create_string_buffer(size or 1)
        value = outcome(raw, "getcwd", buffer, size)
        print(size - len(os.getcwd()), value if isinstance(value, str) else value - len(os.getcwd()))
    os.rename("../../a", "../../z")
    print(os.path.relpath(os.getcwd(), top), outcome(os.stat, "../../a"))
    fd = os.open("..", os.O_RDONLY)
    os.chdir("/")
    print(os.getcwd(), os.listdir(fd))
    os.fchdir(fd)
    print(os.path.relpath(os.getcwd(), top))
    os.chdir("..")
    tell("chdir to a file", os.chdir, "/image/plain")
    tell("fchdir to a file", os.fchdir, os.open("/image/plain", os.O_RDONLY))
    tell("fchdir to nothing", os.fchdir, 99)
    tell("fchdir to a pipe", os.fchdir, os.pipe()[0])
    os.symlink(top + "/z/b", "link")
    os.chdir("link")
    print(os.path.relpath(os.getcwd(), top))
    as_user(ALICE, lambda: print(outcome(os.chdir, "/root"), outcome(os.chdir, "/image/private")))


@case
def working_directory_of_processes() -> None:
    """A child has its own; a thread shares it."""
    import threading

    os.mkdir("d")
    top = os.getcwd()
    pid = os.fork()
    if pid == 0:
        os.chdir("d")
        os._exit(0)
    os.waitpid(pid, 0)
    print(os.getcwd() == top)
    thread = threading.Thread(target=lambda: os.chdir("d"))
    thread.start()
    thread.join()
    print(os.path.relpath(os.getcwd(), top))


@case
def removed_parents() -> None:
    os.makedirs("a/b/c")
    fd = os.open("a/b/c", os.O_RDONLY)
    os.chdir("a/b/c")
    os.rmdir("../c")
    os.rmdir("/" + os.path.relpath(os.readlink("/proc/self/cwd").split(" ")[0] + "/..", "/"))
    tell("cwd", os.getcwd)
    print(describe("."), describe("..")[:10])
    tell("open ..", lambda: os.listdir(".."))
    tell("create by descriptor", os.open, "x", os.O_CREAT, dir_fd=fd)
    tell("listdir by descriptor", os.listdir, fd)


@case
def root_directory() -> None:
    look("/")
    print(os.path.samefile("/", "/.."), os.path.samefile("/..", "/../../.."))
    tell("mkdir", os.mkdir, "/")
    tell("unlink", os.unlink, "/")
    tell("rename", os.rename, "/", "/x")
    names = {b"bin", b"dev", b"etc", b"image", b"proc", b"usr"}
    print(names <= set(os.listdir(b"/")))
