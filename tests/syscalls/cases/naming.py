"""Making and removing names: mkdir, rmdir, unlink, rename, link, symlink, mknod; the order of errors."""

from __future__ import annotations

import os
import stat

from probe import (
    ALICE,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    BOB,
    as_user,
    case,
    describe,
    effective,
    get,
    look,
    outcome,
    put,
    raw,
    tell,
    tree,
)  # fmt: skip

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4


@case
def mkdir() -> None:
    tell("new", os.mkdir, "a")
    tell("again", os.mkdir, "a")
    put("f")
    tell("over a file", os.mkdir, "f")
    tell("below a file", os.mkdir, "f/x")
    tell("below nothing", os.mkdir, "no/x")
    os.symlink("nowhere", "l")
    tell("over a dangling link", os.mkdir, "l")
    tell("through a dangling link", os.mkdir, "l/")
    for path in (".", "..", "/", "a/.", "a/..", ""):
        tell(repr(path), os.mkdir, path)
    for mask, mode in ((0, 0o7777), (0o077, 0o777), (0, 0o1777), (0, 0o2755), (0, 0)):
        os.umask(mask)
        os.mkdir("m", mode)
        print(f"{mask:o} {mode:o}", describe("m"))
        os.rmdir("m")


@case
def setgid_directory() -> None:
    os.mkdir("d")
    os.chown("d", 0, 500)
    os.chmod("d", 0o2775)
    os.mkdir("d/sub")
    put("d/f")
    os.symlink("x", "d/l")
    os.mkfifo("d/p")
    fd = os.open("d/x", os.O_CREAT | os.O_WRONLY, 0o2755)
    os.close(fd)
    tree("d")
    os.chmod("d", 0o2777)

    def as_alice() -> None:
        os.mkdir("d/alices")
        os.close(os.open("d/alices-file", os.O_CREAT | os.O_WRONLY, 0o2775))
        os.mkdir("d/alices-s", 0o2777)

    as_user(ALICE, as_alice)
    tree("d")
    as_user(ALICE, lambda: os.mkdir("/image/setgid/x"), groups=[2000])
    look("/image/setgid/x")


@case
def rmdir() -> None:
    os.makedirs("a/b")
    put("f")
    os.symlink("a", "l")
    for path in ("a", "a/b", "a/b", "f", "l", "l/", "missing", ".", "a/.", "..", "a/..", "/", "", "f/x"):
        tell(repr(path), os.rmdir, path)
    tell("unlinkat", raw, "unlinkat", AT_FDCWD, b"a", AT_REMOVEDIR)
    tell("unlinkat bad flag", raw, "unlinkat", AT_FDCWD, b"a", 1)
    look("a", "l")


@case
def rmdir_of_a_working_directory() -> None:
    os.mkdir("d")
    os.chdir("d")
    tell("remove", os.rmdir, "../d")
    tell("getcwd", os.getcwd)
    tell("create", os.open, "f", os.O_CREAT)
    tell("mkdir", os.mkdir, "x")
    tell("stat .", lambda: describe("."))
    tell("stat ..", lambda: describe("..")[:10])
    tell("listdir", os.listdir, ".")
    tell("chdir .", os.chdir, ".")
    tell("symlink", os.symlink, "x", "y")
    tell("link", lambda: os.readlink("/proc/self/cwd").rpartition("/")[2])
    tell("chdir ..", os.chdir, "..")
    tell("again", os.mkdir, "d")


@case
def unlink() -> None:
    put("f")
    os.mkdir("d")
    os.symlink("f", "l")
    os.symlink("d", "ld")
    os.link("f", "g")
    for path in (
        "missing",
        "d",
        "l",
        "ld/",
        "ld",
        "f/",
        "f/x",
        "f",
        "g",
        "g",
        ".",
        "..",
        "/",
        "",
        "d/",
        "d/..",
    ):
        tell(repr(path), os.unlink, path)
    tree()


@case
def unlink_permissions() -> None:
    os.mkdir("open")
    os.chmod("open", 0o777)
    put("open/roots", b"", 0o600)
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    put("sticky/roots")
    put("sticky/alices")
    os.chown("sticky/alices", ALICE, ALICE)
    put("sticky/bobs")
    os.chown("sticky/bobs", BOB, BOB)
    os.mkdir("closed")
    put("closed/alices")
    os.chown("closed/alices", ALICE, ALICE)

    def as_alice() -> None:
        for path in (
            "open/roots",
            "sticky/roots",
            "sticky/bobs",
            "sticky/alices",
            "closed/alices",
            "closed/no",
        ):
            tell(path, os.unlink, path)
        tell("rename in sticky", os.rename, "sticky/bobs", "sticky/new")
        tell("rename over another's", os.rename, "sticky/bobs", "sticky/roots")
        put("sticky/mine")
        tell("rename mine over another's", os.rename, "sticky/mine", "sticky/bobs")
        tell("rmdir", os.rmdir, "closed")

    as_user(ALICE, as_alice)
    for path in ("/image/sticky/roots", "/image/sticky/alices"):
        as_user(BOB, lambda path=path: tell(path, os.unlink, path))
    as_user(ALICE, lambda: tell("own", os.unlink, "/image/sticky/alices"))
    tree("sticky")
    os.chown("sticky", BOB, BOB)
    put("sticky/r2")
    as_user(BOB, lambda: tell("owner of the sticky directory", os.unlink, "sticky/r2"))


@case
def rename_matrix() -> None:
    """Every kind over every kind."""
    kinds = ("file", "empty", "full", "link", "fifo", "none")

    def make(name: str, kind: str) -> None:
        if kind == "file":
            put(name, name.encode())
        elif kind in ("empty", "full"):
            os.mkdir(name)
            if kind == "full":
                put(name + "/x")
        elif kind == "link":
            os.symlink("/image/directory", name)
        elif kind == "fifo":
            os.mkfifo(name)

    for one in kinds:
        for two in kinds:
            os.mkdir("t")
            os.chdir("t")
            make("a", one)
            make("b", two)
            print(
                one,
                "->",
                two,
                outcome(os.rename, "a", "b"),
                describe("a")[:10],
                describe("b")[:10],
                end=" | ",
            )
            os.chdir("..")
            os.system("rm -rf t; mkdir t")
            os.chdir("t")
            make("a", one)
            make("b", two)
            print(
                "noreplace",
                outcome(raw, "renameat2", AT_FDCWD, b"a", AT_FDCWD, b"b", RENAME_NOREPLACE),
                end=" ",
            )
            os.chdir("..")
            os.system("rm -rf t; mkdir t")
            os.chdir("t")
            make("a", one)
            make("b", two)
            print(
                "exchange",
                outcome(raw, "renameat2", AT_FDCWD, b"a", AT_FDCWD, b"b", RENAME_EXCHANGE),
                describe("a")[:10],
                describe("b")[:10],
            )
            os.chdir("..")
            os.system("rm -rf t")


@case
def rename_details() -> None:
    put("f", b"1")
    os.link("f", "g")
    tell("onto its own hard link", os.rename, "f", "g")
    look("f", "g")
    tell("onto itself", os.rename, "f", "f")
    os.makedirs("d/e/f")
    tell("into itself", os.rename, "d", "d/e/new")
    tell("into a child", os.rename, "d", "d/e")
    tell("child over parent", os.rename, "d/e/f", "d/e")
    tell("child over grandparent", os.rename, "d/e/f", "d")
    for path in (".", "..", "d/.", "d/..", "/"):
        tell(f"from {path}", os.rename, path, "new")
        tell(f"to {path}", os.rename, "d", path)
    tell("missing", os.rename, "no", "new")
    tell("to below nothing", os.rename, "f", "no/new")
    tell("to below a file", os.rename, "f", "g/new")
    tell("dir to a name with slash", os.rename, "d", "d2/")
    tell("file to a name with slash", os.rename, "f", "f2/")
    tell("dir with slash", os.rename, "d2/", "d3")
    tell("file with slash", os.rename, "f/", "f3")
    tell("across file systems", os.rename, "f", "/dev/shm/f")
    tell("proc", os.rename, "f", "/proc/f")
    tree()


@case
def rename_links_counted() -> None:
    os.makedirs("a/sub")
    os.makedirs("b")
    look("a", "b")
    os.rename("a/sub", "b/sub")
    look("a", "b")
    os.mkdir("a/x")
    os.rename("b/sub", "a/x")
    look("a", "b", "a/x")
    put("a/f")
    raw("renameat2", AT_FDCWD, b"a/f", AT_FDCWD, b"b", RENAME_EXCHANGE)
    look("a", "a/f", "b")
    os.rename("a/x", "a/y")
    look("a")


@case
def rename_flags() -> None:
    put("a", b"a")
    put("b", b"b")
    for flags in (3, 6, 8, 16, 1 << 31):
        tell(f"flags {flags}", raw, "renameat2", AT_FDCWD, b"a", AT_FDCWD, b"b", flags)
    tell("exchange", raw, "renameat2", AT_FDCWD, b"a", AT_FDCWD, b"b", RENAME_EXCHANGE)
    print(get("a"), get("b"))
    tell("exchange with nothing", raw, "renameat2", AT_FDCWD, b"a", AT_FDCWD, b"no", RENAME_EXCHANGE)
    os.makedirs("d/e")
    tell("exchange with an ancestor", raw, "renameat2", AT_FDCWD, b"d", AT_FDCWD, b"d/e", RENAME_EXCHANGE)
    tell("exchange with a descendant", raw, "renameat2", AT_FDCWD, b"d/e", AT_FDCWD, b"d", RENAME_EXCHANGE)
    tell("noreplace onto itself", raw, "renameat2", AT_FDCWD, b"a", AT_FDCWD, b"a", RENAME_NOREPLACE)
    tell("noreplace", raw, "renameat2", AT_FDCWD, b"a", AT_FDCWD, b"c", RENAME_NOREPLACE)
    tree()


@case
def rename_whiteout() -> None:
    put("a", b"a")
    tell("whiteout", raw, "renameat2", AT_FDCWD, b"a", AT_FDCWD, b"b", RENAME_WHITEOUT)
    look("a", "b")


@case
def rename_permissions() -> None:
    for name in ("from", "to"):
        os.mkdir(name)
        os.chmod(name, 0o777)
    os.mkdir("from/roots", 0o755)
    os.mkdir("from/alices")
    os.chown("from/alices", ALICE, ALICE)
    put("from/f")
    os.mkdir("closed")
    put("closed/f")

    def as_alice() -> None:
        tell("another's directory to another parent", os.rename, "from/roots", "to/roots")
        tell("another's directory in place", os.rename, "from/roots", "from/roots2")
        tell("own directory", os.rename, "from/alices", "to/alices")
        tell("another's file", os.rename, "from/f", "to/f")
        tell("into closed", os.rename, "to/f", "closed/g")
        tell("out of closed", os.rename, "closed/f", "to/g")
        tell("missing in closed", os.rename, "closed/no", "to/g")

    as_user(ALICE, as_alice)
    tree()


@case
def hard_links() -> None:
    put("a", b"x")
    tell("link", os.link, "a", "b")
    tell("again", os.link, "a", "b")
    look("a", "b")
    put("b", b"changed by b")
    print(get("a"))
    os.chmod("a", 0o600)
    os.chown("b", 5, 6)
    look("a", "b")
    print(os.stat("a").st_ino == os.stat("b").st_ino)
    os.unlink("a")
    look("b")
    os.mkdir("d")
    tell("of a directory", os.link, "d", "e")
    tell("of nothing", os.link, "no", "e")
    tell("below nothing", os.link, "b", "no/e")
    tell("over a directory", os.link, "b", "d")
    tell("across file systems", os.link, "b", "/dev/shm/b")
    tell("of a device elsewhere", os.link, "/dev/null", "null")
    os.symlink("b", "s")
    tell("of a symlink", lambda: os.link("s", "s2", follow_symlinks=False))
    look("s2")
    tell("through a symlink", raw, "linkat", AT_FDCWD, b"s", AT_FDCWD, b"s3", AT_SYMLINK_FOLLOW)
    look("s3")
    tell("bad flag", raw, "linkat", AT_FDCWD, b"s", AT_FDCWD, b"s4", 1)
    os.mkfifo("p")
    tell("of a fifo", os.link, "p", "q")
    look("q")


@case
def hard_links_of_descriptors() -> None:
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"x")
    tell("of a descriptor", raw, "linkat", fd, b"", AT_FDCWD, b"g", AT_EMPTY_PATH)
    tell("by proc", raw, "linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, b"h", AT_SYMLINK_FOLLOW)
    os.unlink("f")
    look("g", "h")
    os.unlink("g")
    os.unlink("h")
    tell("of a deleted file", raw, "linkat", fd, b"", AT_FDCWD, b"i", AT_EMPTY_PATH)
    tell(
        "of a deleted file by proc",
        raw,
        "linkat",
        AT_FDCWD,
        b"/proc/self/fd/%d" % fd,
        AT_FDCWD,
        b"i",
        AT_SYMLINK_FOLLOW,
    )


@case
def protected_hard_links() -> None:
    put("roots", b"", 0o644)
    put("writable", b"", 0o666)
    put("setuid", b"", 0o4777)
    put("setgid", b"", 0o2777)
    os.mkfifo("fifo")
    os.chmod("fifo", 0o666)
    os.mkdir("d")
    os.chmod("d", 0o777)

    def as_alice() -> None:
        for name in ("roots", "writable", "setuid", "setgid", "fifo"):
            tell(name, os.link, name, f"d/{name}")

    as_user(ALICE, as_alice)


@case
def protected_symlinks_and_files() -> None:
    """/proc/sys/fs/protected_symlinks: a link in a sticky directory is followed only by its owner."""
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    put("f", b"x")
    as_user(ALICE, lambda: os.symlink("../f", "sticky/alices"))
    os.symlink("../f", "sticky/roots")
    for uid in (0, ALICE, BOB):
        for name in ("alices", "roots"):
            as_user(uid, lambda name=name: print(uid, name, describe(f"sticky/{name}", True)[:10]))


@case
def symlinks() -> None:
    tell("to nothing", os.symlink, "nowhere", "a")
    tell("again", os.symlink, "x", "a")
    look("a")
    tell("chmod through it", os.chmod, "a", 0o600)
    put("nowhere")
    tell("chmod through it", os.chmod, "a", 0o600)
    look("nowhere")
    tell("lchown", os.lchown, "a", 7, 8)
    look("a", "nowhere")
    for size in (0, 1, 3, 100):
        print(size, outcome(lambda: raw("readlink", b"a", bytes(100), size)))
    tell("of a file", os.readlink, "nowhere")
    tell("of a directory", os.readlink, ".")
    tell("of a missing file", os.readlink, "no")
    tell("negative size", raw, "readlink", b"a", bytes(10), -1)


@case
def mknod() -> None:
    for label, mode, device in (
        ("fifo", stat.S_IFIFO | 0o644, 0), ("regular", stat.S_IFREG | 0o600, 0), ("no type", 0o640, 0),
        ("socket", stat.S_IFSOCK | 0o755, 0), ("char", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
        ("block", stat.S_IFBLK | 0o660, os.makedev(7, 300)), ("directory", stat.S_IFDIR | 0o755, 0),
        ("symlink", stat.S_IFLNK | 0o777, 0), ("big", stat.S_IFCHR | 0o600, os.makedev(0xABC, 0xABCDE)),
    ):  # fmt: skip
        tell(label, os.mknod, label, mode, device)
        look(label)
    tell("exists", os.mknod, "fifo", stat.S_IFIFO)

    os.mkdir("open")
    os.chmod("open", 0o1777)

    def as_alice() -> None:
        os.chdir("open")
        for label, kind in (
            ("fifo", stat.S_IFIFO),
            ("char", stat.S_IFCHR),
            ("block", stat.S_IFBLK),
            ("socket", stat.S_IFSOCK),
        ):
            tell(
                f"alice {label}",
                os.mknod,
                label,
                kind | 0o600,
                os.makedev(1, 3) if label in ("char", "block") else 0,
            )

    as_user(ALICE, as_alice)
    tree("open")


@case
def errors_in_order() -> None:
    """Where two errors apply, which one is told."""
    put("f")
    os.mkdir("ro")
    put("ro/f")
    os.mkdir("ro/d")
    with effective(ALICE):
        tell("mkdir of what exists, no permission", os.mkdir, "ro/d")
        tell("mkdir of what is missing, no permission", os.mkdir, "ro/new")
        tell("open to create what exists", os.open, "ro/f", os.O_CREAT | os.O_WRONLY)
        tell("open exclusively what exists", os.open, "ro/f", os.O_CREAT | os.O_EXCL)
        tell("open to create what is missing", os.open, "ro/new", os.O_CREAT)
        tell("unlink of what is missing", os.unlink, "ro/no")
        tell("unlink of a directory", os.unlink, "ro/d")
        tell("rmdir of a file", os.rmdir, "ro/f")
        tell("rmdir of what is missing", os.rmdir, "ro/no")
        tell("link over what exists", os.link, "f", "ro/f")
        tell("link of a directory", os.link, "ro/d", "ro/new")
        tell("symlink over what exists", os.symlink, "x", "ro/f")
        tell("mknod over what exists", os.mkfifo, "ro/f")
        tell("mknod of a device over what exists", os.mknod, "ro/f", stat.S_IFCHR, 1)
        tell("mknod of a device", os.mknod, "ro/new", stat.S_IFCHR, 1)
        tell("rename of what is missing", os.rename, "ro/no", "ro/new")
        tell("rename dir over file", os.rename, "ro/d", "ro/f")
        tell("rename onto itself", os.rename, "ro/f", "ro/f")
        tell("chown", os.chown, "ro/no", 1, 1)
        tell("rename across", os.rename, "ro/f", "/dev/shm/x")
        tell("truncate negative of missing", os.truncate, "ro/no", -1)
        tell("mkdir with a slash", os.mkdir, "ro/new/")
        tell("mkdir of a file with a slash", os.mkdir, "ro/f/")


@case
def umask() -> None:
    print(oct(os.umask(0o7777)), oct(os.umask(0o027)))
    put("f", mode=0o777)
    os.close(os.open("g", os.O_CREAT, 0o777))
    os.mkdir("d")
    os.mkfifo("p")
    os.symlink("x", "l")
    look("f", "g", "d", "p", "l")
    pid = os.fork()
    if pid == 0:
        os.umask(0o777)
        os._exit(0)
    os.waitpid(pid, 0)
    print(oct(os.umask(0)))


@case
def names_come_and_go() -> None:
    """A name that was missing and then made, and the other way round (caches of paths)."""
    for i in range(3):
        print(i, describe("x/y"), end=" ")
        os.mkdir("x")
        print(describe("x/y"), end=" ")
        put("x/y", b"1")
        print(describe("x/y"), end=" ")
        os.rename("x", "z")
        print(describe("x/y"), describe("z/y"), end=" ")
        os.symlink("z", "x")
        print(describe("x/y"), end=" ")
        os.unlink("x")
        os.unlink("z/y")
        os.rmdir("z")
        print(describe("x/y"), describe("z/y"))
    os.mkdir("d")
    put("d/f")
    os.chmod("d", 0)
    as_user(ALICE, lambda: print(describe("d/f")))
    os.chmod("d", 0o755)
    as_user(ALICE, lambda: print(describe("d/f")))


@case
def link_limits_of_directories() -> None:
    os.mkdir("d")
    for i in range(5):
        os.mkdir(f"d/{i}")
        put(f"d/f{i}")
    look("d")
    os.rmdir("d/0")
    look("d")
    os.rename("d/1", "moved")
    look("d", "moved")


@case
def into_a_removed_directory() -> None:
    """Nothing gets into a directory that is only open."""
    os.makedirs("moving/inner")
    put("file", b"x")
    os.mkdir("gone")
    gone = os.open("gone", os.O_RDONLY)
    os.rmdir("gone")
    tell("directory", os.rename, "moving", "new", dst_dir_fd=gone)
    tell("file", os.rename, "file", "new", dst_dir_fd=gone)
    tell("onto itself", os.rename, "file", ".", dst_dir_fd=gone)
    tell("exchange", raw, "renameat2", AT_FDCWD, b"file", gone, b"new", RENAME_EXCHANGE)
    tell("out of it", os.rename, "new", "file", src_dir_fd=gone)
    tell("missing", os.rename, "no", "new", dst_dir_fd=gone)
    tell("link", os.link, "file", "new", dst_dir_fd=gone)
    tell("symlink", os.symlink, "file", "new", dir_fd=gone)
    tell("mkdir", os.mkdir, "new", dir_fd=gone)
    tell("open", os.open, "new", os.O_CREAT | os.O_WRONLY, dir_fd=gone)
    tree()
