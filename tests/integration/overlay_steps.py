"""overlayfs, run inside a container and on the host like mount_steps.py: both must print the same."""

import ctypes
import errno
import os
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)


def mount(options, flags=0, target="m"):
    result = libc.mount(b"overlay", target.encode(), b"overlay", ctypes.c_ulong(flags), options.encode())
    print("mount", options, "ok" if result == 0 else errno.errorcode[ctypes.get_errno()])


def umount():
    print("umount", libc.umount2(b"m", 0))


def attempt(label, function, *args, **named):
    try:
        print(label, function(*args, **named))
    except OSError as error:
        print(label, errno.errorcode[error.errno or 0])


def put(path, text, mode="w"):
    with open(path, mode) as file:
        file.write(text)
    return "written"


def get(path):
    with open(path) as file:
        return file.read()


def tree(top):
    """Everything below, with types, modes, owners and contents."""
    for directory, names, files in os.walk(top):
        names.sort()
        for name in sorted(names + files):
            path = f"{directory}/{name}"
            info = os.lstat(path)
            text = stat.filemode(info.st_mode), f"{info.st_uid}:{info.st_gid}", int(info.st_mtime) % 1000
            if stat.S_ISREG(info.st_mode):
                print(path, *text, info.st_nlink, repr(get(path)))
            elif stat.S_ISLNK(info.st_mode):
                print(path, text[0], os.readlink(path))
            elif stat.S_ISCHR(info.st_mode):
                print(path, "device", os.major(info.st_rdev), os.minor(info.st_rdev))
            else:
                print(path, *text[:2], [n for n in os.listxattr(path) if "overlay.opaque" in n])


os.chdir(sys.argv[1])
os.umask(0o022)
for name in ("l1", "l2", "u", "w", "m", "l1/d", "l2/d", "l2/d/deep", "l1/only", "l2/gone", "l2/same"):
    os.mkdir(name)
put("l1/a", "a of one")
put("l2/a", "a of two")
put("l2/b", "b of two")
put("l1/d/x", "x")
put("l2/d/y", "y")
put("l2/d/deep/z", "z")
put("l2/gone/g", "g")
put("l1/same", "a file over a directory")
os.symlink("b", "l2/link")
os.mkfifo("l2/fifo", 0o600)
os.chown("l2/b", 5, 6)
os.chmod("l2/b", 0o640)
for path in ("l1/a", "l2/a", "l2/b", "l1/d/x", "l2/d/y", "l2/d/deep/z", "l1/d", "l2/d", "l2/d/deep", "l1/same", "l2/gone/g"):
    os.utime(path, (1000001, 1000001))

mount("lowerdir=l1")
mount("lowerdir=l1:l2,upperdir=u")
mount("lowerdir=none:l2")
mount("upperdir=u,workdir=w")
mount("lowerdir=l1:l2,upperdir=u,workdir=w,nosuch=1")
mount("lowerdir=l1:l2")
print(sorted(os.listdir("m")), sorted(os.listdir("m/d")), get("m/a"))
attempt("write to one without an upper directory", put, "m/a", "x")
umount()

mount("lowerdir=l1:l2,upperdir=u,workdir=w")
tree("m")
print("--- writes")
attempt("append", put, "m/b", "+", "a")
attempt("new", put, "m/new", "new")
attempt("deep", put, "m/d/deep/new", "new")
attempt("truncate", os.truncate, "m/d/y", 0)
attempt("over", put, "m/d/x", "changed")
tree("u")
print("--- attributes")
attempt("chmod", os.chmod, "m/a", 0o600)
attempt("chown", os.chown, "m/d/deep/z", 7, 8)
attempt("utime", os.utime, "m/only", (1000002, 1000002))
tree("u")
print("--- removals")
attempt("unlink lower", os.unlink, "m/link")
attempt("unlink copied up", os.unlink, "m/b")
attempt("unlink new", os.unlink, "m/new")
attempt("rmdir full", os.rmdir, "m/gone")
attempt("unlink inside", os.unlink, "m/gone/g")
attempt("rmdir", os.rmdir, "m/gone")
attempt("gone", os.stat, "m/gone")
attempt("again", os.mkdir, "m/gone")
print(os.listdir("m/gone"))
attempt("file where one was", put, "m/b", "new b")
attempt("unlink the file over a directory", os.unlink, "m/same")
attempt("still nothing", os.stat, "m/same")
tree("u")
print("--- renames")
attempt("lower directory", os.rename, "m/d", "m/e")
os.mkdir("m/mine")
put("m/mine/f", "f")
attempt("new directory", os.rename, "m/mine", "m/yours")
attempt("over a lower one that is not empty", os.rename, "m/yours", "m/d")
os.mkdir("m/mine")
attempt("onto an empty lower one", os.rename, "m/mine", "m/only")
attempt("lower file", os.rename, "m/a", "m/yours/a")
attempt("file over a lower file", os.rename, "m/yours/a", "m/d/y")
attempt("directory over a file", os.rename, "m/yours", "m/b")
attempt("file over a directory", os.rename, "m/b", "m/yours")
attempt("link", os.link, "m/d/y", "m/linked")
print(os.path.samefile("m/d/y", "m/linked"), os.stat("m/linked").st_nlink)
attempt("whiteout by hand", os.mknod, "m/w", stat.S_IFCHR | 0o600, 0)
tree("m")
tree("u")
print("--- the layers are as they were")
tree("l1")
tree("l2")
with open("m/b") as held:
    print(libc.umount2(b"m", 0), held.read())
umount()
print("--- again")
mount("lowerdir=l1:l2,upperdir=u,workdir=w")
tree("m")
umount()
