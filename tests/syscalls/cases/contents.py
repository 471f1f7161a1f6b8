"""Bytes: seeking, holes, fallocate, positioned and vectored calls, mmap, copying, files that lost their name."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from typing import Any

from probe import (
    ALICE,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_FOLLOW,
    as_user,
    case,
    child,
    describe,
    get,
    look,
    name_of,
    opens,
    outcome,
    put,
    raw,
    run,
    tell,
    until,
)


@case
def seeking() -> None:
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"0123456789")
    for offset, whence in ((0, 0), (5, 0), (-2, 1), (-3, 2), (10, 2), (-1, 0), (0, 7), (1 << 40, 0)):
        tell(f"{offset} {whence}", os.lseek, fd, offset, whence)
    tell("read beyond", os.read, fd, 5)
    tell("pread negative", os.pread, fd, 1, -1)
    tell("pwrite", os.pwrite, fd, b"AB", 2)
    tell("position", os.lseek, fd, 0, 1)
    print(get("f"))
    r, w = os.pipe()
    tell("pipe", os.lseek, r, 0, 0)
    tell("pipe pread", os.pread, r, 1, 0)


@case
def holes() -> None:
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"end", 1 << 20)
    print(os.fstat(fd).st_size, os.fstat(fd).st_blocks < 100)
    print(os.pread(fd, 5, 1000), os.pread(fd, 10, (1 << 20) - 2))
    print(
        os.lseek(fd, 0, os.SEEK_DATA) > 0,
        os.lseek(fd, 0, os.SEEK_HOLE),
        outcome(os.lseek, fd, 1 << 21, os.SEEK_DATA),
    )


@case
def fallocate() -> None:
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 100)
    tell("grow", raw, "fallocate", fd, 0, 0, 8192)
    print(os.fstat(fd).st_size)
    tell("keep size", raw, "fallocate", fd, 1, 0, 65536)
    print(os.fstat(fd).st_size)
    tell("punch", raw, "fallocate", fd, 3, 0, 50)
    print(os.pread(fd, 55, 0).count(b"x"))
    tell("zero length", raw, "fallocate", fd, 0, 0, 0)
    tell("negative", raw, "fallocate", fd, 0, -1, 10)
    tell("posix", os.posix_fallocate, fd, 0, 10000)
    ro = os.open("f", os.O_RDONLY)
    tell("read-only", raw, "fallocate", ro, 0, 0, 100)
    r, w = os.pipe()
    tell("pipe", raw, "fallocate", w, 0, 0, 100)
    tell("directory", raw, "fallocate", os.open(".", os.O_RDONLY), 0, 0, 10)


@case
def vectors() -> None:
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    print(os.writev(fd, [b"abc", b"", b"def"]))
    a, b = bytearray(2), bytearray(10)
    print(os.preadv(fd, [a, b], 1), a, b)
    print(os.pwritev(fd, [b"X", b"Y"], 3), get("f"))
    print(outcome(os.preadv, fd, [a], -2))


@case
def file_size_limit() -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    tell("write", os.write, fd, b"x" * 2000)
    tell("again", os.write, fd, b"x")
    tell("ftruncate", os.ftruncate, fd, 1001)
    tell("truncate", os.truncate, "f", 1001)
    tell("fallocate", raw, "fallocate", fd, 0, 0, 2000)
    look("f")


@case
def file_size_limit_kills() -> None:
    import resource

    def writer() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.write(os.open("f", os.O_RDWR | os.O_CREAT), b"x" * 10)
        os.truncate("f", 100)

    print(child(writer))


@case
def shared_mapping() -> None:
    """A mapping is one with read and write, and between processes."""
    put("f", b"a" * 8192)
    fd = os.open("f", os.O_RDWR)
    memory = mmap.mmap(fd, 8192)

    def other() -> None:
        again = mmap.mmap(os.open("f", os.O_RDWR), 8192)
        again[4096:4100] = b"BBBB"

    child(other)
    print(memory[4094:4102])
    memory[0:3] = b"CCC"
    print(os.pread(fd, 5, 0), get("f")[:5])
    os.pwrite(fd, b"DD", 1)
    print(memory[:5])
    os.unlink("f")
    memory[5:6] = b"E"
    print(os.pread(fd, 7, 0))


@case
def private_mapping() -> None:
    put("f", b"a" * 100)
    fd = os.open("f", os.O_RDONLY)
    memory = mmap.mmap(fd, 100, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    memory[0:3] = b"XYZ"
    print(memory[:4], get("f")[:4])
    tell("shared, writable, of a read-only descriptor", mmap.mmap, fd, 100, mmap.MAP_SHARED, mmap.PROT_WRITE)
    tell("of a directory", mmap.mmap, os.open(".", os.O_RDONLY), 100, mmap.MAP_PRIVATE, mmap.PROT_READ)
    wo = os.open("f", os.O_WRONLY)
    tell("of a write-only descriptor", mmap.mmap, wo, 100, mmap.MAP_PRIVATE, mmap.PROT_READ)


@case
def mapping_of_the_image() -> None:
    """Opened for reading before, mapped while it is changed by another descriptor."""
    path = "/image/changed/file3"
    fd = os.open(path, os.O_RDWR)
    memory = mmap.mmap(fd, 64, mmap.MAP_SHARED, mmap.PROT_READ)
    before = memory[:6]
    other = os.open(path, os.O_RDWR)
    os.write(other, b"change")
    print(before, memory[:6], get(path)[:8])


@case
def mapping_beyond_the_end() -> None:
    def reader() -> None:
        put("f", b"x" * 5000)
        memory = mmap.mmap(os.open("f", os.O_RDWR), 8192)
        print(memory[5000:5003])
        os.truncate("f", 100)
        import sys

        sys.stdout.flush()
        memory[4097]

    print(child(reader))


@case
def deleted_but_open() -> None:
    fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o640)
    os.write(fd, b"hello")
    os.unlink("f")
    os.write(fd, b" world")
    print(os.pread(fd, 20, 0), os.fstat(fd).st_nlink, os.fstat(fd).st_size, oct(os.fstat(fd).st_mode))
    print(os.readlink(f"/proc/self/fd/{fd}").rpartition("/")[2])
    tell("stat by proc", lambda: os.stat(f"/proc/self/fd/{fd}").st_size)
    tell("reopen by proc", lambda: os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 5))
    tell("reopen for writing", lambda: os.write(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY), b"J"))
    tell("truncate by proc", os.truncate, f"/proc/self/fd/{fd}", 3)
    print(os.pread(fd, 20, 0))
    tell("fchmod", os.fchmod, fd, 0o600)
    tell("fchown", os.fchown, fd, 5, 6)
    tell("times", os.utime, fd, (1, 2))
    tell("xattr", os.setxattr, fd, "user.x", b"1")
    tell("xattr", os.getxattr, fd, "user.x")
    info = os.fstat(fd)
    print(oct(info.st_mode), info.st_uid, info.st_gid, info.st_mtime)
    put("f", b"another")
    print(os.pread(fd, 20, 0), get("f"), os.fstat(fd).st_ino != os.stat("f").st_ino)


@case
def deleted_file_of_the_image() -> None:
    path = "/image/changed/file4"
    fd = os.open(path, os.O_RDONLY)
    os.unlink(path)
    print(os.read(fd, 6), os.fstat(fd).st_nlink, os.readlink(f"/proc/self/fd/{fd}"))
    tell("reopen", lambda: os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 3))
    put(path, b"new")
    print(os.pread(fd, 6, 0), get(path))


@case
def overwritten_by_rename() -> None:
    put("f", b"old")
    put("g", b"new")
    fd = os.open("f", os.O_RDWR)
    os.rename("g", "f")
    print(os.read(fd, 5), get("f"), os.fstat(fd).st_nlink)
    os.pwrite(fd, b"OLD", 0)
    print(os.pread(fd, 5, 0), get("f"))


@case
def copy_up() -> None:
    path = "/image/changed/file5"
    before = os.stat(path)
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, b"WRITTEN", 2)
    after = os.stat(path)
    print(get(path)[:12], after.st_ino == before.st_ino, after.st_size == before.st_size, oct(after.st_mode))
    os.chmod(path, 0o600)
    os.rename(path, "here")
    look("here")
    print(get("here")[:12], os.fstat(fd).st_nlink, describe(path))
    os.pwrite(fd, b"again", 0)
    print(get("here")[:5])
    large = os.open("/image/large", os.O_RDONLY)
    print(len(os.pread(large, 1 << 20, 0)), os.pread(large, 4, 100000))


@case
def copy_up_and_readers() -> None:
    """A descriptor opened for reading before the first write sees what is written after it."""
    path = "/image/changed/file6"
    reader = os.open(path, os.O_RDONLY)
    writer = os.open(path, os.O_WRONLY)
    os.write(writer, b"NEW")
    print(os.read(reader, 3), get(path)[:3])
    print(os.fstat(reader).st_ino == os.fstat(writer).st_ino)


@case
def copy_up_of_hard_links() -> None:
    a, b = "/image/changed/pair0a", "/image/changed/pair0b"
    print(os.stat(a).st_ino == os.stat(b).st_ino, os.stat(a).st_nlink)
    with open(a, "r+b") as file:
        file.write(b"PAIR")
    print(get(a), get(b), os.stat(a).st_ino == os.stat(b).st_ino, os.stat(b).st_nlink)
    os.chmod(b, 0o600)
    look(a, b)
    os.unlink(a)
    look(b)
    os.link(b, "/image/changed/pair0c")
    look(b, "/image/changed/pair0c")
    os.unlink("/image/changed/pair1a")
    look("/image/changed/pair1b")
    print(get("/image/changed/pair1b"))


@case
def rename_of_image_directories() -> None:
    top = "/image/changed/directory1"
    fd = os.open(f"{top}/sub/g", os.O_RDWR)
    os.rename(top, "/image/changed/moved1")
    print(describe(top), sorted(os.listdir("/image/changed/moved1")), get("/image/changed/moved1/sub/g"))
    os.write(fd, b"G")
    print(get("/image/changed/moved1/sub/g"), os.readlink(f"/proc/self/fd/{fd}"))
    os.mkdir(top)
    print(os.listdir(top))
    os.rename("/image/changed/moved1/sub", f"{top}/sub")
    look(top, "/image/changed/moved1", f"{top}/sub/g")
    os.rename("/image/changed/directory2", "here")
    print(sorted(os.listdir("here")), get("here/f"))
    os.rename("here", "/image/changed/directory2")
    print(sorted(os.listdir("/image/changed/directory2")))


@case
def read_only_by_mode() -> None:
    def as_alice() -> None:
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
            tell("readonly", lambda flags=flags: os.close(os.open("/image/readonly", flags)))
        tell("alices", lambda: os.read(os.open("/image/alices", os.O_RDWR), 3))
        tell("secret", os.open, "/image/secret", os.O_RDONLY)

    as_user(ALICE, as_alice)
    print(get("/image/readonly"))


@case
def copying_calls() -> None:
    put("a", b"0123456789")
    source = os.open("a", os.O_RDONLY)
    target = os.open("b", os.O_RDWR | os.O_CREAT)
    tell("copy_file_range", os.copy_file_range, source, target, 4)
    tell("sendfile", os.sendfile, target, source, 6, 2)
    print(get("b"), os.lseek(source, 0, 1))
    image = os.open("/image/large", os.O_RDONLY)
    tell("from the image", os.copy_file_range, image, target, 100000, 0, 0)
    print(len(get("b")))
    r, w = os.pipe()
    tell("splice", os.splice, source, w, 4, 0)
    print(os.read(r, 10))
    tell("sendfile to a pipe", os.sendfile, w, image, 0, 5)
    print(os.read(r, 10))
    tell("copy to a read-only descriptor", os.copy_file_range, source, source, 4)
    tell("copy of a directory", os.copy_file_range, os.open(".", 0), target, 4)
    clone = 0x40049409
    print(name_of(errno.EOPNOTSUPP) if "E" in str(outcome(fcntl.ioctl, target, clone, source)) else "cloned")


@case
def whole_file_locks() -> None:
    put("f")
    one = os.open("f", os.O_RDWR)
    two = os.open("f", os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_EX)
    tell("another description", fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    tell("same again", fcntl.flock, one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    child(lambda: tell("child, inherited", fcntl.flock, one, fcntl.LOCK_EX | fcntl.LOCK_NB))
    child(
        lambda: tell("child, opened", fcntl.flock, os.open("f", os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)
    )
    fcntl.flock(one, fcntl.LOCK_SH)
    tell("shared", fcntl.flock, two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    tell("upgrade", fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(one)
    tell("after close", fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    tell("bad", fcntl.flock, two, 16)
    directory = os.open(".", os.O_RDONLY)
    tell("directory", fcntl.flock, directory, fcntl.LOCK_EX | fcntl.LOCK_NB)


@case
def locks_of_directories() -> None:
    fcntl.flock(os.open(".", os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    tell("opened twice", fcntl.flock, os.open(".", os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)


@case
def waiting_for_a_lock() -> None:
    import signal

    put("f")
    fd = os.open("f", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        again = os.open("f", os.O_RDWR)
        os.write(w, b"1")
        fcntl.flock(again, fcntl.LOCK_EX)
        os.write(w, b"2")
        os._exit(0)
    os.read(r, 1)
    fcntl.flock(fd, fcntl.LOCK_UN)
    print(os.read(r, 1), os.waitpid(pid, 0)[1])
    again = os.open("f", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    print(raw_interrupted(lambda: ctypes.CDLL(None, use_errno=True).flock(again, 2)))


def raw_interrupted(call) -> object:  # type: ignore[no-untyped-def]
    """A call of libc, which Python does not repeat after EINTR."""
    ctypes.set_errno(0)
    value = call()
    return value if value >= 0 else name_of(ctypes.get_errno())


@case
def record_locks() -> None:
    put("f", b"0123456789")
    fd = os.open("f", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 5, 0)

    def other() -> None:
        again = os.open("f", os.O_RDWR)
        tell("overlapping", fcntl.lockf, again, fcntl.LOCK_EX | fcntl.LOCK_NB, 2, 3)
        tell("beside", fcntl.lockf, again, fcntl.LOCK_EX | fcntl.LOCK_NB, 2, 5)
        tell("shared", fcntl.lockf, again, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 0)

    child(other)
    tell("same process", fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
    os.close(os.open("f", os.O_RDONLY))  # loses them all
    child(other)
    ro = os.open("f", os.O_RDONLY)
    tell("write lock of a read-only descriptor", fcntl.lockf, ro, fcntl.LOCK_EX | fcntl.LOCK_NB)


@case
def record_locks_tell_who() -> None:
    import struct

    put("f", b"0123456789")
    fd = os.open("f", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 5, 2)
    parent = os.getpid()

    def other() -> None:
        again = os.open("f", os.O_RDWR)
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
        kind, whence, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(again, fcntl.F_GETLK, lock))
        print(kind == fcntl.F_WRLCK, whence, start, length, pid == parent)

    child(other)


@case
def open_file_description_locks() -> None:
    import struct

    put("f", b"0123456789")
    one, two = os.open("f", os.O_RDWR), os.open("f", os.O_RDWR)
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 5, 0)
    set_lock, get_lock = 37, 36  # F_OFD_SETLK, F_OFD_GETLK
    tell("set", lambda: fcntl.fcntl(one, set_lock, lock) and None)
    tell("another description", lambda: fcntl.fcntl(two, set_lock, lock) and None)
    tell("owner", lambda: struct.unpack("hhqqi4x", fcntl.fcntl(two, get_lock, lock))[4])
    os.close(os.open("f", os.O_RDONLY))
    tell("still held", lambda: fcntl.fcntl(two, set_lock, lock) and None)
    os.close(one)
    tell("after close", lambda: fcntl.fcntl(two, set_lock, lock) and None)


@case
def locks_and_copy_up() -> None:
    """A lock taken on an image's file by a reader is seen by a writer."""
    path = "/image/changed/file7"
    reader = os.open(path, os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    writer = os.open(path, os.O_RDWR)
    tell("exclusive", fcntl.flock, writer, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locks_of(path: str) -> None:
    """What a lock of one description means to others of a file that may only be read, until it is closed."""
    nb = fcntl.LOCK_NB
    one, two = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    tell("exclusive", fcntl.flock, one, fcntl.LOCK_EX)
    tell("same again", fcntl.flock, one, fcntl.LOCK_EX | nb)
    tell("another", fcntl.flock, two, fcntl.LOCK_SH | nb)
    child(lambda: tell("inherited", fcntl.flock, one, fcntl.LOCK_EX | nb))
    child(lambda: tell("opened", fcntl.flock, os.open(path, os.O_RDONLY), fcntl.LOCK_SH | nb))
    child(lambda: tell("downgrade in a child", fcntl.flock, one, fcntl.LOCK_SH))
    tell("shared", fcntl.flock, two, fcntl.LOCK_SH | nb)
    tell("upgrade", fcntl.flock, two, fcntl.LOCK_EX | nb)
    tell("the upgrade lost it", fcntl.flock, one, fcntl.LOCK_EX | nb)
    copy = os.dup(one)
    os.close(one)
    tell("a copy is open", fcntl.flock, two, fcntl.LOCK_EX | nb)
    os.close(copy)
    tell("all closed", fcntl.flock, two, fcntl.LOCK_EX | nb)
    tell("unlocked by another", fcntl.flock, os.open(path, os.O_RDONLY), fcntl.LOCK_UN)
    child(lambda: tell("still held", fcntl.flock, os.open(path, os.O_RDONLY), fcntl.LOCK_SH | nb))
    tell("unlocked", fcntl.flock, two, fcntl.LOCK_UN)
    child(lambda: tell("nobody's", fcntl.flock, os.open(path, os.O_RDONLY), fcntl.LOCK_EX | nb))
    tell("odd", fcntl.flock, two, 16)
    tell("two kinds", fcntl.flock, two, fcntl.LOCK_SH | fcntl.LOCK_EX)
    tell("none", fcntl.flock, two, nb)
    tell("without access", fcntl.flock, os.open(path, os.O_PATH), fcntl.LOCK_SH)


def _waiting_for(path: str) -> None:
    """Those who wait get it when it is given up, when it is closed, or a signal ends their waiting."""
    import signal

    holder = os.open(path, os.O_RDONLY)
    for give_up in (lambda: fcntl.flock(holder, fcntl.LOCK_UN), lambda: os.close(holder)):
        fcntl.flock(holder, fcntl.LOCK_EX)
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(holder)
            again = os.open(path, os.O_RDONLY)
            os.write(w, b"1")
            fcntl.flock(again, fcntl.LOCK_EX)
            os.write(w, b"2")
            os._exit(0)
        os.read(r, 1)
        give_up()
        print(os.read(r, 1), os.waitpid(pid, 0)[1])
    holder, again = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    print(raw_interrupted(lambda: ctypes.CDLL(None, use_errno=True).flock(again, 2)))
    fcntl.flock(holder, fcntl.LOCK_UN)
    tell("who was interrupted has it not", fcntl.flock, holder, fcntl.LOCK_EX | fcntl.LOCK_NB)


@case
def locks_of_files_to_read() -> None:
    _locks_of("/image/plain")
    _waiting_for("/image/plain")


@case
def locks_of_open_directories() -> None:
    _locks_of("/image/directory")
    _waiting_for("/image/directory")


@case
def locks_of_devices() -> None:
    _locks_of("/dev/zero")
    _waiting_for("/dev/zero")
    one, two = os.open("/dev/null", os.O_WRONLY), os.open("/dev/null", os.O_RDWR)
    tell("to write", fcntl.flock, one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    tell("another", fcntl.flock, two, fcntl.LOCK_SH | fcntl.LOCK_NB)


@case
def locks_from_before_a_copy() -> None:
    """Readers from before the first write and writers keep each other out."""
    nb = fcntl.LOCK_NB
    path = "/image/changed/file8"
    reader = os.open(path, os.O_RDONLY)
    tell("reader", fcntl.flock, reader, fcntl.LOCK_EX)
    writer = os.open(path, os.O_RDWR)
    os.write(writer, b"x")
    tell("writer", fcntl.flock, writer, fcntl.LOCK_SH | nb)
    tell("downgrade", fcntl.flock, reader, fcntl.LOCK_SH)
    tell("both", fcntl.flock, writer, fcntl.LOCK_SH | nb)
    tell("unlock", fcntl.flock, reader, fcntl.LOCK_UN)
    tell("writer alone", fcntl.flock, writer, fcntl.LOCK_EX | nb)
    tell("reader again", fcntl.flock, reader, fcntl.LOCK_SH | nb)
    tell("unlock", fcntl.flock, writer, fcntl.LOCK_UN)
    tell("reader again", fcntl.flock, reader, fcntl.LOCK_EX | nb)
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        again = os.open(path, os.O_RDWR)
        os.write(w, b"1")
        fcntl.flock(again, fcntl.LOCK_EX)
        os._exit(0)
    os.read(r, 1)
    os.close(reader)
    print(os.waitpid(pid, 0)[1])


@case
def locks_of_a_shell_script() -> None:
    """A lock that a child takes on its parent's descriptor stays with the parent."""
    run(
        "/bin/sh",
        "-c",
        "exec 9< /image/plain; flock 9; flock -n /image/plain echo got || echo refused; flock -u 9;"
        " flock -n /image/plain echo got; exec 9>&-; flock /image/directory echo directory",
    )


@case
def memory_files() -> None:
    fd = os.memfd_create("name", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(fd, b"hello")
    print(os.fstat(fd).st_size, oct(os.fstat(fd).st_mode), os.fstat(fd).st_nlink)
    print(os.readlink(f"/proc/self/fd/{fd}"))
    tell("reopen", lambda: os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), 9))
    tell("seal", fcntl.fcntl, fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK)
    tell("write", os.write, fd, b"x")
    tell("seals", fcntl.fcntl, fd, fcntl.F_GET_SEALS)
    tell("fchmod", os.fchmod, fd, 0o600)
    tell("mode", lambda: oct(os.fstat(fd).st_mode))
    tell("owner", lambda: (os.fstat(fd).st_uid, os.fstat(fd).st_gid))


@case
def unnamed_temporary_files() -> None:
    fd = outcome(os.open, ".", os.O_TMPFILE | os.O_RDWR, 0o600)
    print("opened" if isinstance(fd, int) else fd)
    if isinstance(fd, int):
        os.write(fd, b"x")
        raw("linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, b"named", AT_SYMLINK_FOLLOW)
        look("named")


@case
def unnamed_files() -> None:
    """O_TMPFILE: what it refuses, what the file looks like, and how it gets its names."""
    os.mkdir("d", 0o755)
    put("f", b"old")
    flags = os.O_TMPFILE | os.O_RDWR
    tell("to read", os.open, "d", os.O_TMPFILE | os.O_RDONLY)
    tell("a file", os.open, "f", flags)
    tell("nothing", os.open, "none", flags)
    tell("without O_DIRECTORY", os.open, "d", flags & ~os.O_DIRECTORY)
    os.umask(0o027)
    fd = os.open("d", flags, 0o6777)
    os.write(fd, b"bytes")
    info = os.fstat(fd)
    print(oct(info.st_mode), info.st_nlink, info.st_size, os.listdir("d"))
    os.fchmod(fd, 0o640)
    os.ftruncate(fd, 3)
    os.setxattr(fd, "user.a", b"1")
    link = b"/proc/self/fd/%d" % fd
    tell("over a file", raw, "linkat", AT_FDCWD, link, AT_FDCWD, b"f", AT_SYMLINK_FOLLOW)
    tell("name", raw, "linkat", AT_FDCWD, link, AT_FDCWD, b"d/one", AT_SYMLINK_FOLLOW)
    tell("second name", raw, "linkat", fd, b"", AT_FDCWD, b"d/two", AT_EMPTY_PATH)
    look("d/one", "d/two")
    print(get("d/two"), os.getxattr("d/one", "user.a"), os.path.samefile("d/one", "d/two"))
    os.write(fd, b"+")
    print(get("d/one"), os.fstat(fd).st_nlink)
    os.unlink("d/one")
    os.unlink("d/two")
    tell("gone", raw, "linkat", AT_FDCWD, link, AT_FDCWD, b"d/three", AT_SYMLINK_FOLLOW)
    print(os.fstat(fd).st_nlink, os.pread(fd, 9, 0))
    fd = os.open("d", flags | os.O_EXCL)
    tell("never", raw, "linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, b"d/x", AT_SYMLINK_FOLLOW)
    os.chmod("d", 0o755)
    as_user(ALICE, lambda: tell("alice", os.open, "d", flags))
    print(os.listdir("d"))


@case
def temporary_files_of_python() -> None:
    import tempfile

    with tempfile.TemporaryFile(dir=".") as file:
        file.write(b"abc")
        file.seek(0)
        print(file.read(), os.fstat(file.fileno()).st_nlink, os.listdir("."))


@case
def syncing() -> None:
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    tell("fsync", os.fsync, fd)
    tell("fdatasync", os.fdatasync, fd)
    tell("sync", os.sync)
    tell("advice", os.posix_fadvise, fd, 0, 0, os.POSIX_FADV_DONTNEED)
    r, w = os.pipe()
    tell("fsync of a pipe", os.fsync, r)
    tell("fsync of nothing", os.fsync, 99)


@case
def text_file_busy() -> None:
    import shutil

    def running(path: str) -> int:
        pid = os.fork()
        if pid == 0:
            os.execv(path, ["sleep", "5"])
        until(lambda: get(f"/proc/{pid}/comm") in (b"sleep\n", b"mine\n"))
        return pid

    def ended(pid: int) -> None:
        os.kill(pid, 9)
        os.waitpid(pid, 0)

    shutil.copy("/usr/bin/sleep", "mine")
    os.link("mine", "linked")
    for path in ("/usr/bin/sleep", "mine"):
        pid = running(path)
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT):
            opens(f"{path} {flags:o}", path, flags)
        opens("to read", path)
        tell("truncate", os.truncate, path, 10)
        ended(pid)
    pid = running("mine")
    opens("another name", "linked", os.O_WRONLY)
    os.rename("mine", "moved")
    opens("moved", "moved", os.O_WRONLY)
    os.unlink("moved")
    put("moved", b"in its place")
    ended(pid)
    opens("ended", "linked", os.O_WRONLY)


@case
def execution_of_what_is_written() -> None:
    import shutil

    def execute(label: str, path: Any) -> None:
        def body() -> None:
            try:
                os.execv(path, ["true"])
            except OSError as error:
                os._exit(error.errno or 0)

        code = child(body)
        print(label, name_of(code) if code else "ran")

    shutil.copy("/usr/bin/true", "t")
    put("script", b"#!/usr/bin/true\n", 0o755)
    put("other", b"#!./t\n", 0o755)
    for name in ("t", "script", "/usr/bin/true"):
        writer = os.open(name, os.O_RDWR)
        execute(f"open for writing {name}", name)
        if name == "t":
            execute("as an interpreter", "other")
            held = mmap.mmap(writer, 100)
        os.close(writer)
        if name == "t":
            execute("mapped", name)
            held.close()
        execute(f"closed {name}", name)
    fd = os.memfd_create("program")
    os.write(fd, get("/usr/bin/true"))
    execute("in memory", fd)
    os.unlink("t")
    execute("gone", "other")


@case
def file_systems() -> None:
    import statistics  # noqa: F401  (a module that is read from the image)

    for path in ("/", "/proc", "/dev", "/dev/shm", "/dev/pts"):
        info = os.statvfs(path)
        print(path, info.f_namemax, info.f_bsize, info.f_blocks > 0 or path in ("/proc", "/dev/pts"))
    buffer = ctypes.create_string_buffer(120)
    for path in (b"/proc", b"/dev", b"/dev/shm", b"/dev/pts"):
        raw("statfs", path, buffer)
        print(path, hex(int.from_bytes(buffer.raw[:4], "little")))
    tell("statfs of nothing", raw, "statfs", b"/no", buffer)
    r, _ = os.pipe()
    raw("fstatfs", r, buffer)
    print(hex(int.from_bytes(buffer.raw[:4], "little")))
    tell("fstatfs of nothing", raw, "fstatfs", 99, buffer)


@case
def other_file_systems() -> None:
    """Files on a tmpfs."""
    os.chdir("/dev/shm")
    put("f", b"x")
    os.mkdir("d")
    os.symlink("f", "l")
    look("f", "d", "l")
    os.rename("f", "d/g")
    print(
        get("d/g"),
        os.stat("d").st_dev == os.stat("/dev/shm").st_dev,
        os.stat("d").st_dev != os.stat("/").st_dev,
    )
    os.link("d/g", "h")
    look("h")
    os.chmod("h", 0o600)
    os.chown("h", 5, 5)
    look("d/g")
    memory = mmap.mmap(os.open("h", os.O_RDWR), 1)
    memory[0:1] = b"Y"
    print(get("h"))
    for path in ("h", "d/g", "l"):
        os.unlink(path)
    os.rmdir("d")
    print(os.listdir("."))
    as_user(ALICE, lambda: look(put("alices")))
    os.unlink("alices")


def _submit(context: int, *requests: tuple[int, int, object, int, int]) -> list[tuple[int, int]]:
    """(number, result) of requests: (operation, descriptor, buffer or None, bytes, position)."""
    import struct

    blocks, keep = [], []
    for number, (operation, fd, buffer, size, position) in enumerate(requests):
        address = 0
        if isinstance(buffer, int):
            address = buffer  # a mask of poll events
        elif buffer is not None:
            address = ctypes.addressof(buffer)  # type: ignore[arg-type]
        block = ctypes.create_string_buffer(
            struct.pack("<QIiHhIQQqQII", number, 0, 0, operation, 0, fd & 0xFFFFFFFF, address, size, position, 0, 0, 0)
        )
        keep.append(block)
        blocks.append(ctypes.addressof(block))
    pointers = (ctypes.c_void_p * len(blocks))(*blocks)
    submitted = raw("io_submit", context, len(blocks), pointers)
    events = ctypes.create_string_buffer(32 * len(blocks))
    done = raw("io_getevents", context, submitted, submitted, events, None)
    found = [struct.unpack_from("<QQqq", events, 32 * n) for n in range(done)]
    return sorted((f[0], f[2]) for f in found)


@case
def asynchronous_io() -> None:
    """io_setup and what follows, without libaio."""
    pread, pwrite, fsync, fdsync, poll = 0, 1, 2, 3, 5
    put("f", b"0123456789")
    fd, ro = os.open("f", os.O_RDWR), os.open("/image/plain", os.O_RDONLY)
    words = (ctypes.c_ulong * 1)(0)
    tell("setup", raw, "io_setup", 0, words)
    tell("setup", raw, "io_setup", 8, None)
    tell("setup", raw, "io_setup", 8, words)
    tell("again in the same place", raw, "io_setup", 8, words)
    one, two, data = (ctypes.create_string_buffer(b) for b in (bytes(8), bytes(8), b"abcdefg"))
    print(_submit(words[0], (pread, fd, one, 4, 2), (pread, ro, two, 4, 0)), one.raw, two.raw)
    print(_submit(words[0], (pwrite, fd, data, 3, 8)), get("f"))
    print(_submit(words[0], (fsync, fd, None, 0, 0), (fdsync, fd, None, 0, 0)))
    r, w = os.pipe()
    os.write(w, b"x")
    print(_submit(words[0], (poll, r, 1, 0, 0)))
    for label, request in {
        "to write what may be read": (pwrite, ro, data, 3, 0),
        "bad descriptor": (pread, 99, one, 4, 0),
        "directory": (pread, os.open(".", os.O_RDONLY), one, 4, 0),
        "unknown": (77, fd, one, 4, 0),
    }.items():
        tell(label, _submit, words[0], request)
    print(_submit(words[0], (pread, fd, None, 4, 0)))
    tell("unknown context", _submit, 12345, (pread, fd, one, 4, 0))
    lines = [line for line in get("/proc/self/maps").splitlines() if b"aio" in line]
    print([line.split()[1:2] + line.split()[5:] for line in lines])
    child(lambda: tell("not inherited", _submit, words[0], (pread, fd, one, 4, 0)))
    tell("destroy", raw, "io_destroy", words[0])
    tell("destroy again", raw, "io_destroy", words[0])
