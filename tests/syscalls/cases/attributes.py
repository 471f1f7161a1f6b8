"""chmod, chown, utimensat, truncate, extended attributes; setuid bits and who may do what."""

from __future__ import annotations

import os
import stat
import struct

from probe import (
    ALICE,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    BOB,
    as_user,
    case,
    describe,
    effective,
    get,
    look,
    opens,
    outcome,
    put,
    raw,
    tell,
)  # fmt: skip

UTIME_NOW, UTIME_OMIT = 0x3FFFFFFF, 0x3FFFFFFE


@case
def chmod() -> None:
    put("f")
    os.mkdir("d")
    for mode in (0, 0o777, 0o4755, 0o2755, 0o1777, 0o7777, 0o100644, 0o170644, 0o2644):
        for path in ("f", "d"):
            print(oct(mode), path, outcome(os.chmod, path, mode), describe(path))
    fd = os.open("f", os.O_RDONLY)
    tell("fchmod", os.fchmod, fd, 0o640)
    look("f")
    os.symlink("f", "l")
    tell("of a link", os.chmod, "l", 0o600)
    tell("of the link itself", raw, "fchmodat2", AT_FDCWD, b"l", 0o700, AT_SYMLINK_NOFOLLOW)
    tell("fchmodat2", raw, "fchmodat2", AT_FDCWD, b"f", 0o711, 0)
    tell("fchmodat2 bad flag", raw, "fchmodat2", AT_FDCWD, b"f", 0o711, 1)
    look("f", "l")
    tell("missing", os.chmod, "no", 0)


@case
def chmod_of_others() -> None:
    put("roots")
    put("alices")
    os.chown("alices", ALICE, ALICE)
    put("group")
    os.chown("group", ALICE, 500)
    os.mkdir("dir")
    os.chown("dir", ALICE, 500)

    def as_alice() -> None:
        tell("root's", os.chmod, "roots", 0o777)
        tell("own", os.chmod, "alices", 0o6755)
        tell("own, a group not hers, setgid", os.chmod, "group", 0o6755)
        tell("own directory, a group not hers, setgid", os.chmod, "dir", 0o6755)

    as_user(ALICE, as_alice)
    look("roots", "alices", "group", "dir")
    as_user(ALICE, lambda: tell("with the group", os.chmod, "group", 0o6755), groups=[500])
    look("group")


@case
def chown() -> None:
    put("f", mode=0o6755)
    os.mkdir("d")
    os.chmod("d", 0o6755)
    os.symlink("f", "l")
    for uid, gid in ((1, 2), (-1, 3), (4, -1), (-1, -1), (0, 0), (2**32 - 2, 2**32 - 2)):
        for path in ("f", "d"):
            os.chmod(path, 0o6755)
            print(uid, gid, path, outcome(os.chown, path, uid, gid), describe(path))
    for mode in (0o2644, 0o4644, 0o6711, 0o2755):
        os.chmod("f", mode)
        os.chown("f", 0, 0)
        print(oct(mode), describe("f"))
    os.lchown("l", 7, 7)
    os.chown("l", 8, 8)
    look("f", "l")


@case
def chown_of_others() -> None:
    for name in ("one", "two", "three"):
        put(name, mode=0o6775)
        os.chown(name, ALICE, ALICE)
        os.chmod(name, 0o6775)
    put("roots")

    def as_alice() -> None:
        tell("give away", os.chown, "one", BOB, -1)
        tell("to herself", os.chown, "one", ALICE, -1)
        tell("to her group", os.chown, "one", -1, ALICE)
        tell("to a group of hers", os.chown, "two", -1, 500)
        tell("to another group", os.chown, "three", -1, BOB)
        tell("nothing", os.chown, "three", -1, -1)
        tell("root's, nothing", os.chown, "roots", -1, -1)
        tell("root's to herself", os.chown, "roots", ALICE, -1)

    as_user(ALICE, as_alice, groups=[500])
    look("one", "two", "three", "roots")


@case
def setuid_bits_are_cleared_by_writing() -> None:
    def write(name: str) -> None:
        fd = os.open(name, os.O_WRONLY)
        os.write(fd, b"x")

    for uid in (0, ALICE):
        for mode in (0o4777, 0o2777, 0o2767, 0o6777):
            put("f", b"")
            os.chmod("f", mode)
            as_user(uid, write, "f")
            print("write", uid, oct(mode), describe("f"))
            os.chmod("f", mode)
            as_user(uid, os.truncate, "f", 0)
            print("truncate", uid, oct(mode), describe("f"))
            os.unlink("f")


@case
def setuid_bits_and_open_with_truncation() -> None:
    for uid in (0, ALICE):
        put("f", b"x")
        os.chmod("f", 0o6777)
        as_user(uid, lambda: opens("truncating", "f", os.O_WRONLY | os.O_TRUNC))
        print(uid, describe("f"))


@case
def setuid_bits_and_open_without_writing() -> None:
    for uid in (0, ALICE):
        put("f", b"x")
        os.chmod("f", 0o6777)
        as_user(uid, lambda: opens("writing nothing", "f", os.O_WRONLY))
        print(uid, describe("f"))


@case
def access_matrix() -> None:
    for owner, group in ((ALICE, ALICE), (0, ALICE), (0, 0)):
        for mode in (0o000, 0o700, 0o070, 0o007, 0o755, 0o644, 0o077, 0o440):
            put("f", b"")
            os.chown("f", owner, group)
            os.chmod("f", mode)
            for uid in (0, ALICE, BOB):
                with effective(uid):
                    granted = [
                        outcome(raw, "faccessat2", AT_FDCWD, b"f", wanted, 0x200) for wanted in range(8)
                    ]
                    opened = [
                        outcome(lambda flags=flags: os.close(os.open("f", flags))) for flags in (0, 1, 2)
                    ]
                    print(
                        owner, group, oct(mode), uid, "".join("." if g == 0 else "x" for g in granted), opened
                    )
            os.unlink("f")


@case
def access_by_real_ids() -> None:
    put("f", b"", 0o600)
    put("x", b"", 0o100)
    put("n", b"", 0o644)
    for path in ("f", "x", "n", "missing"):
        print(path, [outcome(raw, "access", path.encode(), m) for m in (0, 1, 2, 4, 7, 8)])

    def real_alice() -> None:
        os.setresuid(ALICE, 0, 0)
        for path in ("f", "x", "n"):
            print("real alice", path, [outcome(raw, "access", path.encode(), m) for m in (0, 1, 2, 4)])
            print(
                "effective root",
                path,
                [outcome(raw, "faccessat2", AT_FDCWD, path.encode(), m, 0x200) for m in (0, 1, 2, 4)],
            )

    def effective_alice() -> None:
        os.setresuid(0, ALICE, 0)
        for path in ("f", "x", "n"):
            print("real root", path, [outcome(raw, "access", path.encode(), m) for m in (0, 1, 2, 4)])
            print(
                "effective alice",
                path,
                [outcome(raw, "faccessat2", AT_FDCWD, path.encode(), m, 0x200) for m in (0, 1, 2, 4)],
            )

    from probe import child

    child(real_alice)
    child(effective_alice)
    tell("bad flag", raw, "faccessat2", AT_FDCWD, b"f", 0, 1)


@case
def groups_decide() -> None:
    put("f", b"x", 0o040)
    os.chown("f", BOB, 500)
    for groups in ([], [500], [1, 2, 500], [499, 501]):
        as_user(ALICE, lambda: opens(str(groups), "f"), groups=groups)
    put("g", b"x", 0o007)
    os.chown("g", BOB, 500)
    as_user(ALICE, lambda: opens("group without rights", "g"), groups=[500])
    as_user(BOB, lambda: opens("owner without rights", "g"), groups=[500])
    as_user(ALICE, lambda: opens("others", "g"))


@case
def utimensat() -> None:
    put("f", b"x")

    def times(path: str = "f") -> tuple[int, int]:
        info = os.lstat(path)
        return info.st_atime_ns, info.st_mtime_ns

    os.utime("f", ns=(1_000_000_001, 2_000_000_002))
    print(times())
    for atime, mtime in (
        ((5, UTIME_OMIT), (6, 7)),
        ((8, 9), (5, UTIME_OMIT)),
        ((1, UTIME_OMIT), (1, UTIME_OMIT)),
    ):
        tell("set", raw, "utimensat", AT_FDCWD, b"f", struct.pack("<4q", *atime, *mtime), 0)
        print(times())
    for nanos in (-1, 1_000_000_000, UTIME_NOW - 1):
        tell(f"nanoseconds {nanos}", raw, "utimensat", AT_FDCWD, b"f", struct.pack("<4q", 1, nanos, 1, 0), 0)
    tell(
        "omit both of a missing file",
        raw,
        "utimensat",
        AT_FDCWD,
        b"no",
        struct.pack("<4q", 0, UTIME_OMIT, 0, UTIME_OMIT),
        0,
    )
    raw("utimensat", AT_FDCWD, b"f", struct.pack("<4q", 0, UTIME_NOW, 0, 5), 0)
    print(times()[0] > 10**18, times()[1])
    os.utime("f")
    print(times()[0] > 10**18, times()[1] > 10**18)
    os.utime("f", ns=(-5, -1_000_000_001))
    print(times())
    os.symlink("f", "l")
    os.utime("l", ns=(11, 12), follow_symlinks=False)
    print(times("l"), times("f"))
    os.mkdir("d")
    os.utime("d", ns=(13, 14))
    print(times("d"))
    os.mkfifo("p")
    os.utime("p", ns=(15, 16))
    print(times("p"))
    fd = os.open("f", os.O_RDONLY)
    os.utime(fd, ns=(17, 18))
    print(times())
    tell("bad flag", raw, "utimensat", AT_FDCWD, b"f", None, 1)
    tell("utime", raw, "utime", b"f", struct.pack("<2q", 100, 200))
    print(times())
    tell("utimes", raw, "utimes", b"f", struct.pack("<4q", 1, 500000, 2, 999999))
    print(times())
    tell("utimes bad", raw, "utimes", b"f", struct.pack("<4q", 1, 1000000, 2, 0))


@case
def utimensat_of_others() -> None:
    put("closed", b"x", 0o644)
    put("writable", b"x", 0o666)
    put("hers", b"x", 0o000)
    os.chown("hers", ALICE, ALICE)

    def as_alice() -> None:
        for path in ("closed", "writable", "hers"):
            tell(f"{path} now", os.utime, path)
            tell(f"{path} given", os.utime, path, (1, 1))
            now = struct.pack("<4q", 0, UTIME_NOW, 0, UTIME_NOW)
            tell(f"{path} now twice", raw, "utimensat", AT_FDCWD, path.encode(), now, 0)
            one = struct.pack("<4q", 0, UTIME_NOW, 0, UTIME_OMIT)
            tell(f"{path} now once", raw, "utimensat", AT_FDCWD, path.encode(), one, 0)
            none = struct.pack("<4q", 0, UTIME_OMIT, 0, UTIME_OMIT)
            tell(f"{path} nothing", raw, "utimensat", AT_FDCWD, path.encode(), none, 0)

    as_user(ALICE, as_alice)


@case
def times_change_with_what_happens() -> None:
    """Which of atime, mtime, ctime moves, for files and their directories."""
    import time

    put("f", b"12345")
    os.mkdir("d")
    put("d/f")

    def moved(label: str, function: object, *paths: str) -> None:
        os.utime("f", ns=(10**18, 10**18)) if os.path.exists("f") else None
        os.utime("d", ns=(10**18, 10**18))
        time.sleep(0.012)
        before = {p: os.lstat(p) for p in paths}
        function()  # type: ignore[operator]
        found = []
        for path in paths:
            if os.path.lexists(path):
                after = os.lstat(path)
                found.append(
                    path + ":" + "".join(
                        n for n, k in (("m", "st_mtime_ns"), ("c", "st_ctime_ns"))
                        if getattr(before[path], k) != getattr(after, k)
                    )
                )  # fmt: skip
        print(label, *found)

    moved("chmod", lambda: os.chmod("f", 0o600), "f", ".")
    moved("chown", lambda: os.chown("f", 1, 1), "f", ".")
    moved("chmod of a directory", lambda: os.chmod("d", 0o700), "d", ".")
    moved("write", lambda: put("f", b"x", 0o600), "f", ".")
    moved("create", lambda: put("d/new"), "d", "f", ".")
    moved("unlink", lambda: os.unlink("d/new"), "d", ".")
    moved("mkdir", lambda: os.mkdir("d/sub"), "d", ".")
    moved("rmdir", lambda: os.rmdir("d/sub"), "d", ".")
    moved("link", lambda: os.link("f", "d/hard"), "f", "d", ".")
    moved("unlink of a link", lambda: os.unlink("d/hard"), "f", "d", ".")
    moved("symlink", lambda: os.symlink("x", "d/soft"), "d", ".")
    moved("rename within", lambda: os.rename("d/soft", "d/soft2"), "d", "d/f")
    moved("rename of a file", lambda: (os.rename("f", "g"), os.rename("g", "f")), "f", "d")
    moved("setxattr", lambda: os.setxattr("f", "user.x", b"1"), "f", ".")
    moved("truncate to the same size", lambda: os.truncate("f", 1), "f", ".")
    moved("open for writing", lambda: os.close(os.open("f", os.O_WRONLY)), "f", ".")
    moved("readdir", lambda: os.listdir("d"), "d")
    moved("stat", lambda: os.stat("f"), "f")
    moved("failed unlink", lambda: outcome(os.unlink, "d/none"), "d")
    moved("mkfifo", lambda: os.mkfifo("d/p"), "d")


@case
def truncate() -> None:
    put("f", b"0123456789")
    tell("shorter", os.truncate, "f", 4)
    print(get("f"))
    tell("longer", os.truncate, "f", 8)
    print(get("f"))
    tell("negative", os.truncate, "f", -1)
    os.mkdir("d")
    tell("directory", os.truncate, "d", 0)
    os.mkfifo("p")
    tell("fifo", os.truncate, "p", 0)
    tell("null", os.truncate, "/dev/null", 0)
    tell("missing", os.truncate, "no", 0)
    os.symlink("f", "l")
    tell("through a link", os.truncate, "l", 2)
    print(get("f"))
    fd = os.open("f", os.O_RDONLY)
    tell("read-only descriptor", os.ftruncate, fd, 0)
    fd = os.open("f", os.O_RDWR)
    tell("ftruncate", os.ftruncate, fd, 1)
    tell("ftruncate negative", os.ftruncate, fd, -1)
    print(get("f"))
    put("closed", b"x", 0o644)
    as_user(ALICE, lambda: tell("alice", os.truncate, "closed", 0))
    tell("of an image's file", os.truncate, "/image/changed/file0", 16)
    print(get("/image/changed/file0"))
    tell("of an image's file, to nothing", os.truncate, "/image/changed/file1", 0)
    print(get("/image/changed/file1"))


@case
def extended_attributes() -> None:
    put("f", b"x")
    tell("none", os.listxattr, "f")
    tell("get missing", os.getxattr, "f", "user.a")
    tell("set", os.setxattr, "f", "user.a", b"1")
    tell("set empty", os.setxattr, "f", "user.b", b"")
    tell("create existing", os.setxattr, "f", "user.a", b"2", os.XATTR_CREATE)
    tell("replace missing", os.setxattr, "f", "user.c", b"2", os.XATTR_REPLACE)
    tell("replace", os.setxattr, "f", "user.a", b"3", os.XATTR_REPLACE)
    tell("both", os.setxattr, "f", "user.a", b"3", 3)
    tell("bad flag", os.setxattr, "f", "user.a", b"3", 4)
    tell("list", lambda: sorted(os.listxattr("f")))
    tell("get", os.getxattr, "f", "user.a")
    tell("get empty", os.getxattr, "f", "user.b")
    tell("size", raw, "getxattr", b"f", b"user.a", None, 0)
    os.setxattr("f", "user.long", b"x" * 100)
    tell("too small", raw, "getxattr", b"f", b"user.long", bytes(10), 10)
    tell("remove", os.removexattr, "f", "user.a")
    tell("remove again", os.removexattr, "f", "user.a")
    for name in (
        "user.",
        "user",
        "",
        "other.x",
        "system.x",
        "user." + "n" * 250,
        "user." + "n" * 251,
        "user." + "n" * 300,
    ):
        tell(f"name of {len(name)} {name[:8]}", os.setxattr, "f", name, b"1")
    os.unlink("f")
    tell("missing file", os.getxattr, "f", "user.a")


@case
def extended_attributes_of_kinds() -> None:
    os.mkdir("d")
    os.symlink("d", "l")
    os.mkfifo("p")
    put("f", b"", 0o644)
    for path in ("d", "l", "p", "/dev/null", "/proc/self/status"):
        tell(f"{path} user", os.setxattr, path, "user.x", b"1", follow_symlinks=False)
        tell(f"{path} trusted", os.setxattr, path, "trusted.x", b"1", follow_symlinks=False)
        tell(f"{path} get", os.getxattr, path, "user.x", follow_symlinks=False)
        tell(f"{path} get trusted", os.getxattr, path, "trusted.x", follow_symlinks=False)
        tell(f"{path} remove", os.removexattr, path, "user.y", follow_symlinks=False)
    os.setxattr("f", "user.x", b"1")

    def as_alice() -> None:
        tell("read another's", os.getxattr, "f", "user.x")
        tell("write another's", os.setxattr, "f", "user.x", b"2")
        tell("remove another's", os.removexattr, "f", "user.x")
        tell("list another's", os.listxattr, "f")

    as_user(ALICE, as_alice)
    os.chmod("f", 0o600)
    as_user(ALICE, as_alice)
    fd = os.open("f", os.O_RDONLY)
    tell("by descriptor", os.setxattr, fd, "user.y", b"2")
    tell("list by descriptor", lambda: sorted(os.listxattr(fd)))
    r, _ = os.pipe()
    tell("pipe", os.getxattr, r, "user.x")


@case
def extended_attributes_of_the_image() -> None:
    tell("list", lambda: sorted(os.listxattr("/image/attributed")))
    tell("get", os.getxattr, "/image/attributed", "user.colour")
    tell("get empty", os.getxattr, "/image/attributed", "user.empty")
    tell("change", os.setxattr, "/image/attributed", "user.colour", b"red")
    tell("remove", os.removexattr, "/image/attributed", "user.empty")
    tell("list", os.listxattr, "/image/attributed")
    tell("get", os.getxattr, "/image/attributed", "user.colour")
    print(get("/image/attributed"))


@case
def file_capabilities() -> None:
    """security.capability as setcap writes it (VFS_CAP_REVISION_2, cap_net_raw=ep)."""
    put("f", b"x", 0o755)
    value = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    tell("set", os.setxattr, "f", "security.capability", value)
    tell("get", lambda: os.getxattr("f", "security.capability") == value)
    tell("list", os.listxattr, "f")
    tell("malformed", os.setxattr, "f", "security.capability", b"short")
    as_user(ALICE, lambda: tell("alice", os.setxattr, "f", "security.capability", value))
    fd = os.open("f", os.O_WRONLY)
    os.write(fd, b"y")
    tell("after a write", os.listxattr, "f")
    os.setxattr("f", "security.capability", value)
    os.chown("f", 1, 1)
    tell("after chown", os.listxattr, "f")


@case
def statx() -> None:
    put("f", b"abc", 0o640)
    os.link("f", "g")
    buffer = b"\0" * 256
    import ctypes

    buffer = ctypes.create_string_buffer(256)
    for path, flags, mask in (("f", 0, 0x7FF), ("f", 0, 0), ("f", 0x2000, 0x7FF), ("f", 0x4000, 0x7FF), ("f", 0x6000, 0x7FF),
                              ("f", 0x10000, 0x7FF), ("f", 0, 0x80000000), ("no", 0, 0x7FF), ("", 0, 0x7FF)):  # fmt: skip
        print(
            path, hex(flags), hex(mask), outcome(raw, "statx", AT_FDCWD, path.encode(), flags, mask, buffer)
        )
    raw("statx", AT_FDCWD, b"f", 0, 0x7FF, buffer)
    mask, block, _, links, uid, gid, mode = struct.unpack_from("<IIQIIIH", buffer.raw)
    ino, size, blocks = struct.unpack_from("<QQQ", buffer.raw, 32)
    info = os.stat("f")
    print(hex(mask & 0x7FF), block, links, uid, gid, oct(mode), size)
    print(ino == info.st_ino, blocks == info.st_blocks)
    times = [struct.unpack_from("<qI", buffer.raw, at) for at in (64, 96, 112)]
    print([s * 10**9 + n for s, n in times] == [info.st_atime_ns, info.st_ctime_ns, info.st_mtime_ns])
    print(struct.unpack_from("<II", buffer.raw, 136) == (os.major(info.st_dev), os.minor(info.st_dev)))


@case
def stat_of_the_image() -> None:
    for name in sorted(os.listdir("/image")):
        path = f"/image/{name}"
        info = os.lstat(path)
        if name != "fifo":
            print(describe(path), info.st_mtime_ns if name in ("plain", "nanoseconds", "directory") else "")
    names = ["/image/one", "/image/two", "/image/links/three"]
    print(len({os.stat(n).st_ino for n in names}), [os.stat(n).st_nlink for n in names])
    print(os.stat("/image/plain").st_dev == os.stat("/image").st_dev == os.stat("/").st_dev)
    print(stat.filemode(os.stat("/tmp").st_mode), stat.filemode(os.stat("/").st_mode))


@case
def blocks_and_sizes() -> None:
    put("f", b"x" * 5000)
    info = os.stat("f")
    print(info.st_blksize, info.st_size, info.st_blocks > 0)
    os.truncate("f", 1 << 30)
    info = os.stat("f")
    print(info.st_size, info.st_blocks < 100)
    put("empty")
    print(os.stat("empty").st_blocks)
