"""Use up what there is: exhaust KIND. The kernel must live, and serve others; our own calls may fail."""

import array
import ctypes
import errno
import os
import resource
import socket
import sys
import time

from attempts import libc, syscall

kind = sys.argv[1]


def until_refused(function, most):
    """(how often it went, what it ended with, what was got)."""
    kept = []
    for _ in range(most):
        try:
            kept.append(function())
        except OSError as error:
            return len(kept), errno.errorcode.get(error.errno), kept
    return len(kept), None, kept


def close(kept):
    for one in kept:
        if isinstance(one, tuple):
            close(one)
        elif hasattr(one, "close"):
            one.close()
        else:
            os.close(one)


def descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for name, function in (
        ("directories", lambda: os.open("/etc", os.O_RDONLY)),
        ("paths", lambda: os.open("/etc/passwd", os.O_PATH)),
        ("proc files", lambda: os.open("/proc/self/status", os.O_RDONLY)),
        ("terminals", lambda: os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)),
        ("unix sockets", lambda: socket.socket(socket.AF_UNIX)),
        ("pairs", lambda: socket.socketpair()),
        ("directories of the host", lambda: os.open("/shared", os.O_RDONLY)),
    ):
        number, error, kept = until_refused(function, 6000)
        print(name, number, error, flush=True)
        close(kept)
        os.close(os.open("/etc/passwd", os.O_RDONLY))


def flight():
    """Directories in flight, in sockets that stay open."""

    def send():
        left, right = socket.socketpair()
        directory = os.open("/etc", os.O_RDONLY)
        left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [directory] * 100))])
        os.close(directory)
        return left, right

    number, error, kept = until_refused(send, 300)
    print("in flight", number, error)
    close(kept)


def bound():
    names = iter(range(100_000))

    def one(name):
        end = socket.socket(socket.AF_UNIX)
        end.bind(name)
        end.listen()
        return end

    for what, prefix in (("paths", "/tmp/"), ("names", "\0")):
        number, error, kept = until_refused(lambda: one(f"{prefix}{next(names)}"), 1500)
        print(what, number, error)
        close(kept)


def deep():
    depth, where = int(sys.argv[2]), sys.argv[3]
    os.chdir(where)
    made = 0
    for _ in range(depth):
        try:
            os.mkdir("d")
            os.chdir("d")
        except OSError as error:
            print("refused at", made, error)
            break
        made += 1
    for function in (
        os.getcwd,
        lambda: os.listdir("."),
        lambda: os.readlink("/proc/self/cwd"),
        lambda: os.rename("../d", "/tmp/moved"),
    ):
        try:
            function()
        except OSError as error:
            print("at the bottom:", error)
    print("depth", made)


def names():
    os.mkdir("/tmp/many")
    os.chdir("/tmp/many")
    for number in range(int(sys.argv[2])):
        os.mknod(f"name-{number:060d}")
    print("listed", len(os.listdir(".")))
    for path in (
        "/proc/self/fd/%d",
        "/proc/%d",
        "/proc/self/task/%d",
        "/proc/self/fdinfo/%d",
        "/proc/self/net/%d",
    ):
        for number in range(2000):
            os.path.lexists(path % number)


def attributes():
    with open("/tmp/x", "w"):
        pass
    names = iter(range(100_000))
    for size in (65536, 1):
        number, error, _ = until_refused(
            lambda: os.setxattr("/tmp/x", f"user.{next(names)}", b"x" * size), 2000
        )
        print("attributes of", size, number, error)


def system_v():
    for name, call, arguments in (
        ("shm", 29, (0, 4096, 0o1600)),
        ("sem", 64, (0, 1, 0o1600)),
        ("msg", 68, (0, 0o1600)),
    ):
        number, error, _ = until_refused(lambda: syscall(call, *arguments), 5000)
        print(name, number, error)


def asynchronous():
    """io_setup: the host counts the requests of everybody."""
    words = array.array("Q", [0] * 200)
    places = iter(range(words.buffer_info()[0], words.buffer_info()[0] + 1600, 8))
    number, error, _ = until_refused(lambda: syscall(206, 1024, next(places)), 200)
    with open("/proc/sys/fs/aio-nr") as taken, open("/proc/sys/fs/aio-max-nr") as most:
        left = int(most.read()) - int(taken.read())
    print("contexts", number, error)
    print("ESCAPED: nothing is left for the host" if left < 1024 else "there are some left")


def inotify():
    """Instances that are closed again, and as many as there may be."""
    for _ in range(30_000):
        os.close(syscall(294, 0))
    number, error, kept = until_refused(lambda: syscall(294, 0), 6000)
    print("instances", number, error)
    close(kept)


def mounts():
    """Options without sense; overlays of overlays, whose look-ups would take ever longer."""
    os.makedirs("/tmp/m")
    huge = "9" * 30
    for options in (f"size={huge}", f"size={huge}%", f"nr_blocks={huge}", f"uid={huge}", "uid=-1", f"mode={huge}",
                    "gid=4294967295", "size=-1", "size=1e", "size=16e", "nr_blocks=9e", "size=%", "mode=", "size="):  # fmt: skip
        if not libc.mount(b"x", b"/tmp/m", b"tmpfs", ctypes.c_ulong(0), options.encode()):
            os.stat("/tmp/m"), os.statvfs("/tmp/m")
            with open("/tmp/m/f", "w") as file:
                file.write("x")
            libc.umount2(b"/tmp/m", 2)
    made = 0
    layers = [f"/tmp/l{number}" for number in range(8)]
    for layer in layers:
        os.makedirs(layer)
    for depth in range(12):
        for number in range(8):
            place = f"/tmp/o{depth}-{number}"
            for name in range(8):
                os.makedirs(f"{place}/{name}")
            options = "lowerdir=" + ":".join(layers)
            made += not libc.mount(b"o", place.encode(), b"overlay", ctypes.c_ulong(0), options.encode())
        layers = [f"/tmp/o{depth}-{number}" for number in range(8)]
    start = time.monotonic()
    for layer in layers:
        os.path.lexists(f"{layer}/missing")
    print("overlays", made, f"{time.monotonic() - start:.3f} s")


globals()[kind]()
print("survived")
