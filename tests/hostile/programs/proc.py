"""/proc, /dev and descriptors: what they name must be the container's own."""

import os
import stat
import sys

from attempts import attempt

secret, kernel = sys.argv[1], sys.argv[2]
attack = os.open("/attack", os.O_RDONLY)


def read(path, dir_fd=None, flags=os.O_RDONLY | os.O_NONBLOCK):
    fd = os.open(path, flags, dir_fd=dir_fd)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


# the host by way of /proc
for who in ("self", "1", "thread-self", f"self/task/{os.getpid()}"):
    for name in ("root", "cwd", "exe"):
        base = f"/proc/{who}/{name}"
        attempt(f"{base} and up", lambda: read(f"{base}/../../../../..{secret}"))
        attempt(f"{base} by an absolute path", lambda: read(f"{base}{secret}"))
        attempt(
            f"listing of {base}", lambda: os.listdir(f"{base}/"), lambda r: "tmp" in r or r == os.listdir(".")
        )
    for name in (
        "mem",
        "map_files",
        "pagemap",
        "stack",
        "syscall",
        "kallsyms",
        "clear_refs",
        "projid_map",
        "timers",
        "ns/x",
    ):
        attempt(
            f"/proc/{who}/{name}", lambda: os.listdir(f"/proc/{who}/{name}") and read(f"/proc/{who}/{name}")
        )
        attempt(f"/proc/{who}/{name} for writing", lambda: os.open(f"/proc/{who}/{name}", os.O_RDWR))
    for name in ("environ", "maps", "status", "auxv", "stat", "limits", "attr/current", "uid_map", "ns/mnt"):
        attempt(f"writing to /proc/{who}/{name}", lambda: os.open(f"/proc/{who}/{name}", os.O_WRONLY))
for name in ("kcore", "kmem", "kmsg", "kallsyms", "sysrq-trigger", "modules", "keys", "key-users", "sched_debug", "timer_list",
             "slabinfo", "iomem", "ioports", "vmallocinfo", "bus", "fs", "acpi", "asound", "irq", "scsi", "driver", "tty"):  # fmt: skip
    attempt(f"/proc/{name}", lambda: os.stat(f"/proc/{name}"))
for name in ("kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "kernel/sysrq", "fs/binfmt_misc/register",
             "vm/drop_caches", "kernel/hostname", "net/ipv4/ip_forward", "kernel/ns_last_pid", "kernel/pid_max"):  # fmt: skip
    attempt(f"writing to /proc/sys/{name}", lambda: os.open(f"/proc/sys/{name}", os.O_WRONLY))
for path in (
    "/sys/kernel/debug",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/power/state",
    "/sys/firmware",
):
    attempt(path, lambda: os.open(path, os.O_RDWR))
    attempt(f"making {path}", lambda: os.mkdir(path + "x"))
for directory in (f"/proc/{kernel}", "/proc/2"):
    attempt(directory, lambda: os.listdir(directory))
listed = [name for name in os.listdir("/proc") if name.isdigit()]
attempt("processes", lambda: listed, lambda r: set(r) == {"1"})
for pid in range(1, 5000):
    if os.path.exists(f"/proc/{pid}") and pid != 1:
        with open(
            f"/proc/{pid}/status"
        ) as file:  # pid 1 answers to its host number as well, which libc keeps
            shown = next(line.split()[1] for line in file if line.startswith("Pid:"))
        attempt(f"process {pid}", lambda: shown, lambda r: r == "1")
for name in (
    "maps",
    "smaps",
    "mountinfo",
    "mounts",
    "environ",
    "cgroup",
    "fdinfo/3",
    "net/unix",
    "stat",
    "status",
):
    text = read(f"/proc/self/{name}")
    attempt(f"host paths in {name}", lambda: text, lambda r: os.path.dirname(secret).encode() not in r)
for name in os.listdir("/proc/self/fd"):
    try:
        shown = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        continue
    attempt(
        f"what descriptor {name} names",
        lambda: shown,
        lambda r: os.path.dirname(secret) not in r and "pycontain" not in r,
    )

# directory descriptors
for fd in (
    attack,
    os.open("/", os.O_RDONLY),
    os.open("/proc/self/fd", os.O_RDONLY),
    os.open("/attack", os.O_PATH),
):
    for path in (
        "../secret",
        "../../../../.." + secret,
        f"../{os.path.basename(os.path.dirname(secret))}/secret",
        secret,
    ):
        attempt(f"descriptor {fd} and {path}", lambda: read(path, fd))
    attempt(f"entering {fd} and up", lambda: (os.fchdir(fd), os.chdir("../" * 30), read(secret[1:])))
    attempt(f"chroot below {fd} and out", lambda: (os.fchdir(fd), read("../" * 30 + secret[1:])))
    attempt(f"making a name in the host's directory of {fd}", lambda: os.open("planted", os.O_CREAT | os.O_WRONLY, dir_fd=fd),
            lambda r: fd != attack)  # fmt: skip
    os.chdir("/")


def out_of_chroot():
    os.mkdir("/jail")
    outside = os.open("/", os.O_RDONLY)
    child = os.fork()
    if child == 0:
        os.chroot("/jail")
        os.fchdir(outside)
        for _ in range(100):
            os.chdir("..")
        os.chroot(".")
        try:
            read(secret)
        except OSError:
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


attempt("out of a chroot, and on", out_of_chroot, lambda r: r == 0)

# devices
DEVICES = {"mem": (1, 1), "kmem": (1, 2), "port": (1, 4), "kmsg": (1, 11), "tty0": (4, 0), "console": (5, 1), "ttyS0": (4, 64),
           "fuse": (10, 229), "kvm": (10, 232), "tun": (10, 200), "loop-control": (10, 237), "uinput": (10, 223),
           "input": (13, 64), "sg": (21, 0), "fb": (29, 0), "snapshot": (10, 231), "vcs": (7, 0), "pts": (136, 0), "pts1": (136, 1)}  # fmt: skip
for name, numbers in DEVICES.items():
    attempt(
        f"character device {name}",
        lambda: os.mknod(f"/tmp/{name}", stat.S_IFCHR | 0o666, os.makedev(*numbers)),
        lambda r: True,
    )
    attempt(f"opening {name}", lambda: os.open(f"/tmp/{name}", os.O_RDWR | os.O_NONBLOCK))
for numbers in ((8, 0), (8, 1), (254, 0), (253, 0), (7, 0), (259, 0), (179, 0)):
    attempt(
        f"block device {numbers}",
        lambda: os.mknod("/tmp/disk%d.%d" % numbers, stat.S_IFBLK | 0o666, os.makedev(*numbers)),
        lambda r: True,
    )
    attempt(f"opening {numbers}", lambda: os.open("/tmp/disk%d.%d" % numbers, os.O_RDWR | os.O_NONBLOCK))
attempt("the terminal", lambda: os.open("/dev/tty", os.O_RDWR))
attempt("terminals", lambda: os.listdir("/dev/pts"), lambda r: r == ["ptmx"])

# standard input is a file of the host, opened for reading only
attempt("standard input for writing", lambda: os.write(os.open("/proc/self/fd/0", os.O_RDWR | os.O_NONBLOCK), b"x"),
        lambda r: stat.S_ISFIFO(os.fstat(0).st_mode))  # fmt: skip
attempt(
    "standard input, emptied",
    lambda: os.open("/dev/stdin", os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK),
    lambda r: stat.S_ISFIFO(os.fstat(0).st_mode),
)
attempt("entering standard input", lambda: os.fchdir(0))
print("end")
