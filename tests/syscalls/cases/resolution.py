"""path_resolution(7): dots, slashes, symlinks, limits, permissions on the way, descriptors to start from."""

from __future__ import annotations

import os
import shutil

from probe import (
    ALICE,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
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


@case
def dots() -> None:
    os.mkdir("d")
    os.mkdir("d/e")
    put("d/e/f", b"x")
    put("top", b"y")
    for path in (
        "d/e/f", "d//e///f", "./d/./e/./f", "d/e/../e/f", "d/../top", "d/e/../../top", "top/.", "top/..", "d/e/f/../f",
        "missing/../top", "/../../image/plain", "/..", "//image//plain", "/.//image/./plain", "d/e/f/", "...", "d/...",
    ):  # fmt: skip
        print(path, describe(path))


@case
def symlinks_on_the_way() -> None:
    os.makedirs("a/b")
    put("a/b/f", b"x")
    os.symlink("a", "to-a")
    os.symlink("b/f", "a/to-f")
    os.symlink("../a/b", "a/round")
    os.symlink("to-a/round/../to-f", "chain")
    os.symlink(os.getcwd() + "/a", "absolute")
    os.symlink("a/b/", "slash")
    os.symlink("a/b/f/", "file-slash")
    os.symlink(".", "dot")
    os.symlink("..", "a/dotdot")
    os.symlink("a/b/.", "ends-in-dot")
    for path in (
        "to-a/b/f", "a/to-f", "a/round/f", "chain", "absolute/b/f", "slash/f", "slash", "file-slash", "dot/dot/dot/a/b/f",
        "a/dotdot/a/b/f", "ends-in-dot", "to-a/", "to-a/.", "to-a/../a/b/f", "a/round/../../a",
    ):  # fmt: skip
        print(f"{path}: lstat {describe(path)} | stat {describe(path, True)}")


@case
def loops() -> None:
    os.symlink("self", "self")
    os.symlink("b", "a")
    os.symlink("a", "b")
    put("end", b"x")
    previous = "end"
    for i in range(42):
        os.symlink(previous, f"s{i}")
        previous = f"s{i}"
    for path in ("self", "self/x", "a", "s38", "s39", "s40", "s41"):
        print(
            path,
            describe(path, True),
            outcome(os.open, path, os.O_RDONLY) if "EL" in describe(path, True) else "",
        )
    opens("create through a loop", "a", os.O_CREAT | os.O_WRONLY)
    tell("mkdir in a loop", os.mkdir, "self/x")
    tell("unlink of a loop", os.unlink, "self")
    tell("readlink", os.readlink, "a")


@case
def long_names() -> None:
    name = "n" * 255
    put(name, b"x")
    print(describe(name))
    print(describe("n" * 256), describe("n" * 256 + "/x"), describe("missing/" + "n" * 256))
    tell("create 256", os.open, "n" * 256, os.O_CREAT)
    tell("mkdir 256", os.mkdir, "n" * 256)
    tell("mkdir 255", os.mkdir, "m" * 255)
    tell("symlink 256", os.symlink, "x", "n" * 256)
    tell("rename to 256", os.rename, name, "n" * 256)
    tell("link to 256", os.link, name, "n" * 256)
    tell("unlink 256", os.unlink, "n" * 256)
    for size in (4094, 4095, 4096, 5000):
        path = "./" * (size // 2) + ("." if size % 2 else "")
        print(size, len(path), describe(path)[:10])
    path = "/" * 4080 + "image/plain"
    print(len(path), describe(path)[:10])


@case
def long_symlinks() -> None:
    for size in (1, 100, 4094, 4095, 4096, 5000):
        print(size, outcome(os.symlink, "t" * size, f"l{size}"), describe(f"l{size}"))
    tell("empty target", os.symlink, "", "empty")
    tell("read", lambda: len(os.readlink("l4095")))
    tell("follow", os.stat, "l4095")
    os.symlink("./" * 2000 + "image", "/work/deep") if not os.path.lexists("/work/deep") else None
    os.unlink("/work/deep")


@case
def deep_directories() -> None:
    """Deeper than PATH_MAX, by relative steps."""
    start = os.open(".", os.O_RDONLY)
    for _ in range(300):
        os.mkdir("directory-of-a-long-name")
        os.chdir("directory-of-a-long-name")
    put("bottom", b"x")
    tell("getcwd", lambda: len(os.getcwd()) > 4096)
    print(get("bottom"), describe("../bottom"))
    up = "../" * 300
    print(describe(up + "directory-of-a-long-name")[:10])
    os.fchdir(start)
    print(describe("directory-of-a-long-name/" * 163)[:10], describe("directory-of-a-long-name/" * 170)[:12])


@case
def empty_paths() -> None:
    for name, call in {
        "stat": lambda: os.stat(""), "lstat": lambda: os.lstat(""), "open": lambda: os.open("", 0),
        "mkdir": lambda: os.mkdir(""), "rmdir": lambda: os.rmdir(""), "unlink": lambda: os.unlink(""),
        "rename": lambda: os.rename("", "x"), "rename to": lambda: os.rename(".", ""), "chdir": lambda: os.chdir(""),
        "link": lambda: os.link("", "x"), "symlink": lambda: os.symlink("x", ""), "readlink": lambda: os.readlink(""),
        "chmod": lambda: os.chmod("", 0o600), "chown": lambda: os.chown("", 0, 0), "utime": lambda: os.utime(""),
        "truncate": lambda: os.truncate("", 0), "access": lambda: os.access("", 0), "chroot": lambda: os.chroot(""),
        "mkfifo": lambda: os.mkfifo(""), "statvfs": lambda: os.statvfs(""), "getxattr": lambda: os.getxattr("", "user.x"),
        "execve": lambda: os.execv("", ["x"]),
    }.items():  # fmt: skip
        tell(name, call)


@case(timeout=60.0)  # 1,600 programs
def trailing_slashes() -> None:
    def fresh() -> None:
        shutil.rmtree("t", ignore_errors=True)  # no shell: 1500 processes are too many for a busy machine
        os.makedirs("t/full/x")
        os.mkdir("t/d")
        put("t/f", b"x\n")
        for name, target in (("to-d", "d"), ("to-f", "f"), ("to-no", "no")):
            os.symlink(target, f"t/{name}")

    calls = {
        "mkdir": lambda p: os.mkdir(p), "rmdir": lambda p: os.rmdir(p), "unlink": lambda p: os.unlink(p),
        "symlink": lambda p: os.symlink("x", p), "mkfifo": lambda p: os.mkfifo(p), "link": lambda p: os.link("f", p),
        "link from": lambda p: os.link(p, "new"), "rename from": lambda p: os.rename(p, "new"),
        "rename file to": lambda p: os.rename("f", p), "rename dir to": lambda p: os.rename("d", p),
        "chmod": lambda p: os.chmod(p, 0o700), "readlink": lambda p: os.readlink(p), "chdir": lambda p: os.chdir(p),
        "lstat": lambda p: describe(p), "access": lambda p: os.access(p, 0), "truncate": lambda p: os.truncate(p, 0),
        "lchown": lambda p: os.lchown(p, 0, 0), "listdir": lambda p: sorted(os.listdir(p)), "utime": lambda p: os.utime(p),
    }  # fmt: skip
    top = os.getcwd()
    for label, call in calls.items():
        for path in (
            "new/",
            "f/",
            "d/",
            "full/",
            "to-d/",
            "to-f/",
            "to-no/",
            "d/.",
            "d/..",
            ".",
            "..",
            "f/.",
        ):
            os.chdir(top)
            fresh()
            os.chdir("t")
            tell(f"{label} {path}", call, path)


@case
def search_permission() -> None:
    os.makedirs("open/closed/inner", 0o755)
    put("open/closed/inner/f", b"x")
    put("open/closed/g", b"y")
    inner = os.open("open/closed/inner", os.O_RDONLY)
    os.chmod("open/closed", 0o600)
    with effective(ALICE):
        print(describe("open/closed"), describe("open/closed/g"), describe("open/closed/inner/f"))
        print(describe("open/closed/."), describe("open/closed/.."), describe("open/closed/missing"))
        print(
            describe("f", dir_fd=inner),
            describe("../g", dir_fd=inner),
            describe("../../closed", dir_fd=inner),
        )
        tell("chdir", os.chdir, "open/closed")
    os.chmod("open/closed", 0o711)
    with effective(ALICE):
        print(describe("open/closed/g"), outcome(os.listdir, "open/closed"))
    os.chmod("open/closed", 0o744)
    with effective(ALICE):
        print(outcome(os.listdir, "open/closed"), describe("open/closed/g"))


@case
def private_directory_of_the_image() -> None:
    def look_inside() -> None:
        look("/image/private", "/image/private/file", "/image/private/missing")
        opens("open", "/image/private/file")
        opens("create", "/image/private/new", os.O_CREAT | os.O_WRONLY)

    as_user(ALICE, look_inside)
    look_inside()
    os.unlink("/image/private/new")
    os.chmod("/image/private", 0o755)
    as_user(ALICE, look_inside)
    os.chmod("/image/private", 0o700)
    as_user(ALICE, look_inside)


@case
def names_that_are_not_text() -> None:
    for name in (
        b"\xff\xfe",
        b"new\nline",
        b"tab\t",
        b" ",
        b"*",
        b"\\",
        b"-rf",
        "é\U0001f600".encode(),
        b"\x01\x7f",
    ):
        put(name, name)
        print(get(name) == name, describe(name))
    print(sorted(os.listdir(b".")))
    print(get("/image/caf\u00e9 \U0001f600"))


@case
def case_matters() -> None:
    put("File", b"1")
    put("file", b"2")
    put("FILE", b"3")
    print(sorted(os.listdir(".")), get("File"), get("file"))


@case
def file_as_directory() -> None:
    put("f", b"x")
    for label, call in {
        "stat": lambda: os.stat("f/x"), "open": lambda: os.open("f/x", os.O_CREAT), "mkdir": lambda: os.mkdir("f/x"),
        "rmdir": lambda: os.rmdir("f/x"), "unlink": lambda: os.unlink("f/x"), "rename": lambda: os.rename("f/x", "y"),
        "rename to": lambda: os.rename("f", "f/x"), "symlink": lambda: os.symlink("y", "f/x"),
        "link": lambda: os.link("f", "f/x"), "chdir": lambda: os.chdir("f"), "listdir": lambda: os.listdir("f"),
        "access": lambda: raw("access", b"f/x", 0), "chroot": lambda: os.chroot("f"), "readlink": lambda: os.readlink("f/x"),
        "of null": lambda: os.stat("/dev/null/x"),
    }.items():  # fmt: skip
        tell(label, call)


@case
def descriptors_everywhere() -> None:
    os.mkdir("d")
    put("d/f", b"x")
    put("g", b"y")
    d = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
    f = os.open("g", os.O_RDONLY)
    for fd, label in ((d, "directory"), (f, "file"), (77, "closed")):
        tell(f"{label} stat", lambda: os.stat("f", dir_fd=fd).st_size)
        tell(f"{label} mkdir", lambda: os.mkdir("n", dir_fd=fd))
        tell(f"{label} symlink", lambda: os.symlink("f", "l", dir_fd=fd))
        tell(f"{label} readlink", lambda: os.readlink("l", dir_fd=fd))
        tell(f"{label} link", lambda: os.link("f", "h", src_dir_fd=fd, dst_dir_fd=fd))
        tell(f"{label} rename", lambda: os.rename("h", "i", src_dir_fd=fd, dst_dir_fd=fd))
        tell(f"{label} mkfifo", lambda: os.mkfifo("p", dir_fd=fd))
        tell(f"{label} mknod", lambda: os.mknod("q", dir_fd=fd))
        tell(f"{label} chmod", lambda: os.chmod("f", 0o600, dir_fd=fd))
        tell(f"{label} chown", lambda: os.chown("f", 1, 1, dir_fd=fd))
        tell(f"{label} utime", lambda: os.utime("f", (1, 1), dir_fd=fd))
        tell(f"{label} access", lambda: os.access("f", os.R_OK, dir_fd=fd))
        tell(f"{label} faccessat", lambda: raw("faccessat", fd, b"f", 4))
        tell(f"{label} unlink", lambda: os.unlink("i", dir_fd=fd))
        tell(f"{label} rmdir", lambda: os.rmdir("n", dir_fd=fd))
        tell(f"{label} statx", lambda: raw("statx", fd, b"f", 0, 0x7FF, bytes(256)))
    print(sorted(os.listdir("d")), describe("d/f"))


@case
def moved_directory() -> None:
    """A descriptor follows its directory, not its name."""
    os.makedirs("a/b")
    put("a/b/f", b"x")
    fd = os.open("a/b", os.O_RDONLY)
    os.chdir("a/b")
    os.rename("../../a", "../../c")
    print(describe("f", dir_fd=fd), get("f"), os.path.relpath(os.getcwd(), "/work"))
    print(os.listdir(".."), sorted(os.listdir("../..")))
    os.mkdir("../../other")
    os.rename("../b", "../../other/b2")
    print(os.getcwd().rpartition("other")[2], describe("../../other")[:10])
    print(os.readlink(f"/proc/self/fd/{fd}").rpartition("other")[2])


@case
def empty_path_flag() -> None:
    put("f", b"abc")
    fd = os.open("f", os.O_RDONLY)
    link = None
    os.symlink("f", "l")
    link = os.open("l", os.O_PATH | os.O_NOFOLLOW)
    buffer = bytes(144)
    tell("newfstatat fd", raw, "newfstatat", fd, b"", buffer, AT_EMPTY_PATH)
    tell("newfstatat cwd", raw, "newfstatat", AT_FDCWD, b"", buffer, AT_EMPTY_PATH)
    tell("newfstatat without flag", raw, "newfstatat", fd, b"", buffer, 0)
    tell("newfstatat closed", raw, "newfstatat", 99, b"", buffer, AT_EMPTY_PATH)
    tell("bad flag", raw, "newfstatat", AT_FDCWD, b"f", buffer, 0x8000000)
    tell("fchownat fd", raw, "fchownat", fd, b"", 7, 8, AT_EMPTY_PATH)
    tell("fchownat link", raw, "fchownat", link, b"", 9, 9, AT_EMPTY_PATH)
    tell("fchownat without", raw, "fchownat", fd, b"", 7, 8, 0)
    tell("fchownat bad flag", raw, "fchownat", fd, b"", 7, 8, 0x400)
    tell("linkat fd", raw, "linkat", fd, b"", AT_FDCWD, b"g", AT_EMPTY_PATH)
    tell("faccessat2", raw, "faccessat2", fd, b"", 4, AT_EMPTY_PATH)
    tell("utimensat fd", raw, "utimensat", fd, None, None, 0)
    tell("utimensat empty", raw, "utimensat", fd, b"", None, AT_EMPTY_PATH)
    tell("utimensat NULL cwd", raw, "utimensat", AT_FDCWD, None, None, 0)
    tell("utimensat NULL with flag", raw, "utimensat", fd, None, None, AT_SYMLINK_NOFOLLOW)
    look("f", "l")


@case
def openat2_restrictions() -> None:
    import struct

    os.makedirs("base/sub")
    put("base/sub/f", b"x")
    put("outside", b"y")
    os.symlink("sub/f", "base/inner")
    os.symlink("../outside", "base/escape")
    os.symlink("/outside", "base/absolute")
    os.symlink("/proc/self/fd/0", "base/magic")
    base = os.open("base", os.O_RDONLY)

    def attempt(path: bytes, restrict: int, flags: int = 0, mode: int = 0, size: int = 24) -> None:
        how = struct.pack("<QQQ", flags, mode, restrict) + bytes(max(0, size - 24))
        fd = outcome(raw, "openat2", base, path, how, size)
        print(path.decode(), hex(restrict), oct(flags), "opened" if isinstance(fd, int) else fd)
        if isinstance(fd, int):
            os.close(fd)

    for restrict in (0, 1, 2, 4, 8, 16, 12, 24):
        for path in (
            b"sub/f",
            b"inner",
            b"escape",
            b"absolute",
            b"magic",
            b"../outside",
            b"/image/plain",
            b"sub/../sub/f",
        ):
            attempt(path, restrict)
    attempt(b"sub/f", 64)
    attempt(b"sub/f", 0, mode=0o600)
    attempt(b"sub/f", 0, flags=1 << 40)
    attempt(b"sub/f", 0, size=16)
    attempt(b"sub/f", 0, size=32)
    attempt(b"new", 0, flags=os.O_CREAT | os.O_WRONLY, mode=0o640)
    attempt(b"new", 0, flags=os.O_CREAT | os.O_WRONLY, mode=0o1000000)
    print(describe("base/new"))


@case
def openat2_creating() -> None:
    import struct

    os.mkdir("base")
    base = os.open("base", os.O_RDONLY)
    for restrict in (0, 4, 8, 16):
        how = struct.pack("<QQQ", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, restrict)
        fd = outcome(raw, "openat2", base, b"new%d" % restrict, how, 24)
        print(restrict, "opened" if isinstance(fd, int) else fd, describe(f"base/new{restrict}"))


@case
def openat2_creating_through_links() -> None:
    """A symlink to nowhere: the file is made where it points to, if that may be reached."""
    import struct

    os.makedirs("base/sub")
    os.makedirs("base/inside")
    links = {
        "plain": "made", "sub/up": "../made-up", "chain": "sub/chained", "sub/chained": "../inside/made",
        "out": "../outside", "root": "/made-at-root", "deep": "sub/../sub/../sub/deep", "nowhere": "no/such",
        "slash": "made-slash/", "self": "self", "root-chain": "/sub/chained",
    }  # fmt: skip
    for name, target in links.items():
        os.symlink(target, f"base/{name}")
    base = os.open("base", os.O_RDONLY)
    for restrict in (2, 4, 8, 16):
        for name in links:
            for more in (0, os.O_EXCL, os.O_NOFOLLOW):
                how = struct.pack("<QQQ", os.O_CREAT | os.O_WRONLY | more, 0o600, restrict)
                fd = outcome(raw, "openat2", base, name.encode(), how, 24)
                print(restrict, name, oct(more), "opened" if isinstance(fd, int) else fd)
                if isinstance(fd, int):
                    os.close(fd)
        made = ("made", "made-up", "inside/made", "made-at-root", "sub/deep", "made-slash", "no/such")
        for name in (*(f"base/{m}" for m in made), "outside", "/made-at-root"):
            if os.path.lexists(name):
                print("made", name)
                os.unlink(name)


@case
def chroot() -> None:
    os.makedirs("jail/inside")
    put("jail/inside/f", b"x")
    put("outside", b"y")
    os.symlink("/inside/f", "jail/link")
    os.symlink("../../../../../outside", "jail/escape")

    def prisoner() -> None:
        os.chroot("jail")
        print("cwd outside:", outcome(os.getcwd))
        print(
            describe("/inside/f"), describe("/link", True), describe("/escape", True), describe("/../outside")
        )
        print(describe("outside"))
        os.chdir("/inside")
        print(os.getcwd(), describe("../../../../image"))
        print(sorted(os.listdir("/")))

    from probe import child

    child(prisoner)
    as_user(ALICE, lambda: tell("as alice", os.chroot, "jail"))
    tell("of a file", os.chroot, "outside")
    tell("of nothing", os.chroot, "missing")
