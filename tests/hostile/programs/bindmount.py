"""Bind mounts: what is put in the place of something that was looked up must not lead to the host."""

import os
import shutil
import socket
import stat
import sys
import threading

from attempts import attempt

SECRET, OUTSIDE = sys.argv[1], sys.argv[2]  # paths of the host
os.chdir("/shared")
for entry in os.listdir("."):
    shutil.rmtree(entry) if os.path.isdir(entry) and not os.path.islink(entry) else os.unlink(entry)


def read(path, flags=os.O_RDONLY):
    fd = os.open(path, flags | os.O_NONBLOCK)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def harmless(result):
    return SECRET.encode() not in result if isinstance(result, bytes) else True


def swapped(make, target):
    """A held object, then its name given to a symlink to the host."""
    make("held")
    held = os.open("held", os.O_PATH)
    os.rename("held", "moved")
    os.symlink(target, "held")
    try:
        return read(f"/proc/self/fd/{held}")
    finally:
        os.close(held)
        os.unlink("held")
        os.unlink("moved")


def directory(target, use):
    """The working directory, renamed, and a symlink to a directory of the host put in its place."""
    os.mkdir("work")
    os.chdir("work")
    os.rename("../work", "../elsewhere")
    os.symlink(target, "../work")
    try:
        return use()
    finally:
        os.chdir("/shared")
        os.unlink("work")
        shutil.rmtree("elsewhere")


def bind_socket():
    with socket.socket(socket.AF_UNIX) as new:
        new.bind("planted")


def regular(name):
    with open(name, "w") as file:
        file.write("own")


# symlinks are resolved inside
for link, target in (("a", SECRET), ("b", "../" * 40 + SECRET[1:]), ("c", os.path.dirname(SECRET))):
    os.symlink(target, link)
attempt("symlink to a file of the host", lambda: read("a"))
attempt("the same through ..", lambda: read("b"))
attempt("below a symlink to a directory of the host", lambda: read("c/secret"))
attempt("listing through a symlink", lambda: os.listdir("c"))
attempt(
    "creating through a symlink",
    lambda: os.open(f"c/{os.path.basename(OUTSIDE)}/x", os.O_CREAT | os.O_WRONLY),
)
attempt("stat through a symlink", lambda: os.stat("a"))
attempt("chmod through a symlink", lambda: os.chmod("a", 0o777))
attempt("truncating through a symlink", lambda: os.truncate("a", 0))
here = os.open(".", os.O_RDONLY)
attempt(
    "a hard link to what a symlink names", lambda: os.link("a", "hard", src_dir_fd=here, follow_symlinks=True)
)
attempt("..", lambda: os.listdir("/shared/../outside"))
attempt("renaming over ..", lambda: os.rename("a", "../outside/a"))

# what is held, and then swapped
attempt("a FIFO swapped for a symlink", lambda: swapped(os.mkfifo, SECRET), harmless)
attempt("a file swapped for a symlink", lambda: swapped(regular, SECRET), harmless)
attempt("binding a socket in a swapped directory", lambda: directory(OUTSIDE, bind_socket), lambda r: True)
attempt(
    "creating in a swapped directory", lambda: directory(OUTSIDE, lambda: regular("planted")), lambda r: True
)
attempt("reading in a swapped directory", lambda: directory(os.path.dirname(SECRET), lambda: read("secret")))
attempt(
    "mkdir in a swapped directory", lambda: directory(OUTSIDE, lambda: os.mkdir("planted")), lambda r: True
)


def fifo_for_file():
    """The kernel must not wait for a writer."""
    regular("f")
    fd = os.open("f", os.O_RDONLY)
    os.unlink("f")
    os.mkfifo("f")
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    finally:
        os.unlink("f")


attempt("a FIFO in the place of a file", fifo_for_file, lambda r: True)

# devices and privileged files cannot be made on the host
attempt("a device on the host", lambda: os.mknod("disk", stat.S_IFBLK | 0o666, os.makedev(8, 0)))
attempt("a character device on the host", lambda: os.mknod("mem", stat.S_IFCHR | 0o666, os.makedev(1, 1)))
attempt("writing to a read-only mount", lambda: os.open("/attack/new", os.O_CREAT | os.O_WRONLY))
attempt("truncating on a read-only mount", lambda: os.open("/attack/attempts.py", os.O_RDONLY | os.O_TRUNC))
attempt("chmod on a read-only mount", lambda: os.chmod("/attack/attempts.py", 0o777))
attempt("rename on a read-only mount", lambda: os.rename("/attack/attempts.py", "/attack/x"))
attempt("a socket on a read-only mount", lambda: socket.socket(socket.AF_UNIX).bind("/attack/socket"))
fd = os.open("/attack/attempts.py", os.O_RDONLY)
attempt("reopening for writing", lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDWR))
attempt("truncating a read-only descriptor", lambda: os.ftruncate(fd, 0))

# two of our own threads: one swaps a name, the other opens it
tries = int(sys.argv[3])
stop = False


def swap():
    while not stop:
        for target in (SECRET, OUTSIDE):
            try:
                os.symlink(target, "temporary")
                os.rename("temporary", "race")
                regular("temporary")
                os.rename("temporary", "race")
            except OSError:
                pass


thread = threading.Thread(target=swap)
thread.start()
seen = set()
for _ in range(tries):
    try:
        seen.add(read("race"))
    except OSError:
        pass
    try:
        with open("race/planted", "w"):
            seen.add(b"planted")
    except OSError:
        pass
stop = True
thread.join()
attempt("a name that changes", lambda: seen, lambda r: r <= {b"own", b""})
