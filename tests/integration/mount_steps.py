"""Run inside a container and in a mount namespace of the host: both must print the same.

Works in the directory given; prints what mount(2) and umount2(2) answer and what is seen after.
"""

import ctypes
import errno
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, MOVE, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 8192, 16384, 1 << 18
DETACH, NOFOLLOW = 2, 8


def answer(result):
    return "ok" if result == 0 else errno.errorcode[ctypes.get_errno()]


def mount(source, target, kind=None, flags=0, data=None):
    words = [None if w is None else w.encode() for w in (source, target, kind)]
    result = libc.mount(*words, ctypes.c_ulong(flags), None if data is None else data.encode())
    print("mount", source, target, kind, hex(flags), data, answer(result))


def umount(target, flags=0):
    print("umount", target, flags, answer(libc.umount2(target.encode(), flags)))


def attempt(label, function, *args):
    try:
        print(label, function(*args))
    except OSError as error:
        print(label, errno.errorcode[error.errno or 0])


def put(path, text="x"):
    with open(path, "w") as file:
        file.write(text)
    return "written"


def get(path):
    with open(path) as file:
        return file.read()


def look(path):
    info = os.stat(path)
    attempt(f"{path}: {oct(info.st_mode)} {info.st_uid}:{info.st_gid}", lambda: sorted(os.listdir(path)))


def shown(path):
    """The mount as /proc/self/mounts has it: type and options that we set."""
    for line in get("/proc/self/mounts").splitlines():
        source, target, kind, options = line.split()[:4]
        if target == os.path.realpath(path):
            kept = [o for o in options.split(",") if o in ("ro", "rw", "nosuid", "nodev", "noexec")]
            print("shown", path, source, kind, kept)


os.chdir(sys.argv[1])
for name in ("t", "a", "a/in", "b", "c"):
    os.mkdir(name)
put("a/f", "in a")
put("file", "of the file")

# tmpfs
mount("mine", "t", "tmpfs", NOSUID | NODEV, "size=64k,mode=750,uid=7,gid=8")
shown("t")
look("t")
attempt("device", os.lstat("t").st_dev.__eq__, os.lstat("a").st_dev)
put("t/x")
attempt("rename across", os.rename, "t/x", "x")
attempt("link across", os.link, "t/x", "x")
attempt("remove the point", os.rmdir, "t")
attempt("rename the point", os.rename, "t", "u")
attempt("..", os.path.samefile, "t/..", ".")
with open("t/x") as held:
    umount("t")
mount("over", "t", "tmpfs")
look("t")
put("t/upper")
umount("t")
look("t")
os.chdir("t")
umount(".")
os.chdir("..")
mount(None, "t", None, REMOUNT | RDONLY)
shown("t")
attempt("write", put, "t/y")
attempt("chmod", os.chmod, "t/x", 0o600)
attempt("mkdir", os.mkdir, "t/d")
mount(None, "t", None, REMOUNT)
attempt("write", put, "t/y")
umount("t")
look("t")
umount("t")
attempt("options that do not exist", mount, "mine", "t", "tmpfs", 0, "nosuch=1")
attempt("a size that is none", mount, "mine", "t", "tmpfs", 0, "size=x")

# bind
mount("a", "b", None, BIND)
look("b")
put("b/new", "through b")
attempt("seen in a", get, "a/new")
attempt("the same", os.path.samefile, "a/f", "b/f")
attempt("rename inside", os.rename, "b/new", "b/newer")
attempt("rename across mounts of one file system", os.rename, "b/newer", "a/new")
mount(None, "b", None, REMOUNT | BIND | RDONLY)
attempt("write below", put, "b/f")
attempt("write above", put, "a/f", "changed")
attempt("read", get, "b/f")
umount("b")
look("b")
mount("file", "a/f", None, BIND)
attempt("a file on a file", get, "a/f")
attempt("unlink it", os.unlink, "a/f")
umount("a/f")
attempt("uncovered", get, "a/f")
mount("file", "b", None, BIND)
mount("a", "file", None, BIND)
mount("nothing", "b", None, BIND)

# with what is mounted inside
mount("inner", "a/in", "tmpfs")
put("a/in/deep")
mount("a", "b", None, BIND)
look("b/in")
umount("b")
mount("a", "b", None, BIND | REC)
look("b/in")
umount("b")
umount("b/in")
umount("b")
mount("a/in", "c", None, MOVE)
mount("c", "c", None, MOVE)
mount(None, "c", None, PRIVATE)
mount("a/in", "b", None, MOVE)
umount("c")

# what may not run or be opened there
mount("strict", "t", "tmpfs", NOEXEC | NODEV | NOSUID)
put("t/run", "#!/bin/sh\nexit 3\n")
os.chmod("t/run", 0o755)
attempt("run", os.posix_spawn, "t/run", ["run"], {})
mount(None, "t", None, REMOUNT)
pid = os.posix_spawn("t/run", ["run"], {})
print("runs now", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os.symlink("t", "link")
umount("link", NOFOLLOW)
held = open("t/run")  # noqa: SIM115  # kept open on purpose
umount("t")
umount("t", DETACH)
print("still open", len(held.read()))
look("t")

# others
mount("p", "t", "proc")
attempt("proc", lambda: os.readlink("t/self") == str(os.getpid()))
umount("t")
mount("x", "t", "nosuch")
mount("x", "file", "tmpfs")
mount("x", "none", "tmpfs")
umount("none")
umount("file")
umount("/proc/self")
attempt("left", lambda: [line for line in get("/proc/self/mounts").splitlines() if os.getcwd() in line])
