"""/proc, /dev, /sys: what is there, who may read it, that it agrees with the calls."""

from __future__ import annotations

import errno
import os
import re
import sys

from probe import (
    ALICE,
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
    run,
    spawn,
    tell,
    until,
    waited,
)


@case
def self_links() -> None:
    print(
        os.readlink("/proc/self") == str(os.getpid()),
        os.readlink("/proc/thread-self") == f"{os.getpid()}/task/{os.getpid()}",
    )
    print(
        os.readlink("/proc/self/exe"),
        os.readlink("/proc/self/root"),
        os.readlink("/proc/self/cwd") == os.getcwd(),
    )
    print(os.path.samefile("/proc/self/cwd", "."), os.path.samefile("/proc/self/root/image", "/image"))
    print(
        os.path.samefile("/proc/self/exe", "/usr/bin/python3"),
        os.readlink("/proc/mounts"),
        os.readlink("/proc/net"),
    )
    put("f", b"through cwd")
    print(get("/proc/self/cwd/f"), get("/proc/self/root/image/plain"), get("/proc/self/exe")[:4])


@case
def kinds_and_modes() -> None:
    for name in ("", "/self", "/self/", "/self/fd", "/self/task", "/self/net", "/self/stat", "/self/status",
                 "/self/maps", "/self/cmdline", "/self/environ", "/self/exe", "/self/cwd", "/self/root", "/self/comm", "/self/auxv",
                 "/self/mounts", "/self/mountinfo", "/self/limits", "/self/io", "/self/cgroup", "/self/oom_score_adj", "/self/statm",
                 "/self/smaps", "/self/uid_map", "/self/attr", "/mounts", "/version", "/cpuinfo", "/meminfo", "/uptime", "/loadavg",
                 "/stat", "/filesystems", "/sys", "/sys/kernel", "/1", "/self/no", "/no"):  # fmt: skip
        text = describe(f"/proc{name}")
        print(name, text.split(" ")[0], " ".join(text.split(" ")[3:5]))


@case
def descriptors() -> None:
    put("f", b"content")
    fd = os.open("f", os.O_RDONLY)
    d = os.open(".", os.O_RDONLY)
    r, w = os.pipe()
    print(
        os.readlink(f"/proc/self/fd/{fd}") == os.path.abspath("f"),
        os.readlink(f"/proc/self/fd/{d}") == os.getcwd(),
    )
    print(re.fullmatch(r"pipe:\[\d+\]", os.readlink(f"/proc/self/fd/{r}")) is not None)
    print(os.readlink("/proc/self/fd/0"), sorted(int(n) for n in os.listdir("/proc/self/fd"))[:3])
    print(get(f"/proc/self/fd/{fd}"), sorted(os.listdir(f"/proc/self/fd/{d}")), get("/dev/fd/%d" % fd))
    print(os.stat(f"/proc/self/fd/{fd}").st_ino == os.stat("f").st_ino, describe(f"/proc/self/fd/{d}/f"))
    os.lseek(fd, 3, 0)
    info = get(f"/proc/self/fdinfo/{fd}").decode()
    print(
        re.search(r"pos:\t(\d+)", info).group(1),
        oct(int(re.search(r"flags:\t(\d+)", info).group(1), 8) & ~0o100000),
    )
    os.rename("f", "g")
    print(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
    os.unlink("g")
    print(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
    print(describe(f"/proc/self/fd/{fd}").split(" ")[0], describe(f"/proc/self/fd/{w}").split(" ")[0])
    tell("missing", os.readlink, "/proc/self/fd/999")
    tell("not a number", os.stat, "/proc/self/fd/x")
    tell("leading zero", os.stat, "/proc/self/fd/00")


@case
def reopening_descriptors() -> None:
    put("f", b"content", 0o400)
    fd = os.open("f", os.O_RDONLY)
    as_user(ALICE, lambda: tell("no permission any more", os.open, f"/proc/self/fd/{fd}", os.O_RDONLY))
    tell("for writing", lambda: os.write(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY), b"C"))
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    os.read(fd, 3)
    print(os.read(again, 7))
    tell("directory", lambda: sorted(os.listdir(f"/proc/self/fd/{os.open('.', os.O_RDONLY)}")))
    tell("exclusive", os.open, f"/proc/self/fd/{fd}", os.O_CREAT | os.O_EXCL)
    tell("nofollow", os.open, f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NOFOLLOW)
    tell("unlink", os.unlink, f"/proc/self/fd/{fd}")
    tell("create", os.open, "/proc/self/fd/new", os.O_CREAT | os.O_WRONLY)
    tell("stdin by name", lambda: os.read(os.open("/dev/stdin", os.O_RDONLY), 1))


@case
def other_processes() -> None:
    pid = os.fork()
    if pid == 0:
        os.execve("/bin/sleep", ["sleep", "7"], {"SECRET": "1"})
    until(lambda: b"sleep\0" in get(f"/proc/{pid}/cmdline"))
    print(get(f"/proc/{pid}/cmdline"), get(f"/proc/{pid}/environ"), get(f"/proc/{pid}/comm"))

    def as_alice() -> None:
        for name in (
            "cmdline",
            "environ",
            "comm",
            "stat",
            "status",
            "maps",
            "auxv",
            "limits",
            "io",
            "mountinfo",
        ):
            print(
                name,
                "read"
                if isinstance(outcome(get, f"/proc/{pid}/{name}"), bytes)
                else outcome(get, f"/proc/{pid}/{name}"),
                end=" ",
            )
        for name in ("exe", "cwd", "root", "fd/0"):
            print(name, outcome(os.readlink, f"/proc/{pid}/{name}"), end=" ")
        print(outcome(os.listdir, f"/proc/{pid}/fd"), outcome(os.stat, f"/proc/{pid}/cwd/x"))

    as_user(ALICE, as_alice)
    os.kill(pid, 9)
    waited(pid)


@case
def files_of_one_process() -> None:
    """A descriptor outlives the process."""
    pid = spawn(lambda: __import__("time").sleep(5))
    os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    directory = os.open(f"/proc/{pid}", os.O_RDONLY)
    os.kill(pid, 9)
    waited(pid)
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    tell("open below", os.open, "status", os.O_RDONLY, dir_fd=directory)
    tell("list", os.listdir, directory)


@case
def status() -> None:
    text = get("/proc/self/status").decode()
    keys = [line.split(":")[0] for line in text.splitlines()]
    print(
        [
            k
            for k in keys
            if k
            in "Name Umask State Tgid Ngid Pid PPid TracerPid Uid Gid FDSize Groups VmPeak VmSize VmRSS Threads SigQ CapEff NoNewPrivs Seccomp Cpus_allowed".split()
        ]
    )
    values = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    print(
        values["Name"],
        values["Umask"],
        values["State"],
        values["TracerPid"],
        values["Threads"],
        values["Seccomp"],
    )
    print(int(values["Pid"]) == os.getpid() == int(values["Tgid"]), int(values["PPid"]) == os.getppid())


@case
def stat_line() -> None:
    fields = get("/proc/self/stat").decode()
    head, _, tail = fields.rpartition(")")
    print(head.partition(" ")[2], len(tail.split()), tail.split()[0], int(tail.split()[17]))
    print(
        len(get("/proc/self/statm").split()),
        get("/proc/uptime").count(b" "),
        len(get("/proc/loadavg").split()),
    )
    start = int(tail.split()[19])
    uptime = float(get("/proc/uptime").split()[0])
    print(0 <= uptime - start / os.sysconf("SC_CLK_TCK") < 600)


@case
def maps() -> None:
    text = get("/proc/self/maps").decode()
    names = {line.split()[5] for line in text.splitlines() if len(line.split()) > 5}
    print(
        os.path.realpath("/usr/bin/python3") in names,
        any("libc" in n for n in names),
        "[stack]" in names,
        "[vdso]" in names,
    )
    for line in text.splitlines():
        if len(line.split()) > 5 and line.split()[5].startswith("/usr/bin/python"):
            inode = int(line.split()[4])
            print(inode == os.stat("/usr/bin/python3").st_ino)
            break
    print([n for n in names if "stub" in n or "memfd" in n or "pycontain" in n or "unknown" in n])
    import mmap

    put("mapped", b"x" * 4096)
    memory = mmap.mmap(os.open("mapped", os.O_RDWR), 4096)
    print(
        [line.split()[1] for line in get("/proc/self/maps").decode().splitlines() if line.endswith("/mapped")]
    )
    os.unlink("mapped")
    print(
        [
            line.split(None, 5)[5].rpartition("/")[2]
            for line in get("/proc/self/maps").decode().splitlines()
            if "/mapped" in line
        ],
        len(memory),
    )


@case
def mounts() -> None:
    lines = get("/proc/self/mountinfo").decode().splitlines()
    points = [line.split()[4] for line in lines]
    print(points[0], {"/proc", "/dev", "/dev/pts", "/dev/shm"} <= set(points))
    kinds = {line.split()[4]: line.split(" - ")[1].split()[0] for line in lines}
    print(kinds["/proc"], kinds["/dev"], kinds["/dev/pts"], kinds["/dev/shm"])
    numbers = {line.split()[4]: line.split()[2] for line in lines}
    for point in ("/proc", "/dev/shm", "/"):
        dev = os.stat(point).st_dev
        print(point, numbers[point] == f"{os.major(dev)}:{os.minor(dev)}")
    print([line.split()[1] for line in get("/proc/mounts").decode().splitlines()] == points)


@case
def global_files() -> None:
    print(
        get("/proc/version").startswith(b"Linux version "),
        b"MemTotal" in get("/proc/meminfo"),
        b"processor" in get("/proc/cpuinfo"),
    )
    print(get("/proc/cpuinfo").count(b"processor\t:") == os.cpu_count(), b"btime" in get("/proc/stat"))
    print(
        get("/proc/sys/kernel/ostype"),
        get("/proc/sys/kernel/hostname"),
        get("/proc/sys/kernel/osrelease").decode().strip() == os.uname().release,
    )
    print(
        int(get("/proc/sys/kernel/pid_max")) > 1000,
        int(get("/proc/sys/fs/file-max")) > 1000,
        get("/proc/sys/kernel/ngroups_max"),
    )
    print(
        b"ext4" in get("/proc/filesystems"),
        len(get("/proc/sys/kernel/random/uuid")),
        get("/proc/sys/kernel/cap_last_cap"),
    )
    print(
        get("/proc/sys/kernel/random/uuid") != get("/proc/sys/kernel/random/uuid"),
        get("/proc/sys/kernel/random/boot_id") == get("/proc/sys/kernel/random/boot_id"),
    )


@case
def changes_refused() -> None:
    for label, call in {
        "link": lambda: os.link("/proc/version", "/proc/x"), "mkdir": lambda: os.mkdir("/proc/x"), "create": lambda: os.open("/proc/x", os.O_CREAT | os.O_WRONLY), "unlink": lambda: os.unlink("/proc/version"),
        "rename": lambda: os.rename("/proc/version", "/proc/x"), "symlink": lambda: os.symlink("x", "/proc/x"), "rmdir": lambda: os.rmdir("/proc/1"),
        "read dir as file": lambda: get("/proc/self"),
        "mknod": lambda: os.mkfifo("/proc/x"),
    }.items():  # fmt: skip
        tell(label, call)


@case
def writing_to_figures() -> None:
    """What root may do in vain. (Not chmod: it would change the host's own.)"""
    tell("truncate", os.truncate, "/proc/version", 0)
    tell("open for writing", lambda: os.close(os.open("/proc/version", os.O_WRONLY)))


@case
def reading_in_pieces() -> None:
    fd = os.open("/proc/self/status", os.O_RDONLY)
    text = b""
    while data := os.read(fd, 7):
        text += data
    print(
        text.startswith(b"Name:"),
        text.endswith(b"\n"),
        os.lseek(fd, 0, 0),
        os.read(fd, 5),
        os.pread(fd, 4, 1),
    )
    print(os.stat("/proc/self/status").st_size)


@case
def size_of_a_descriptor() -> None:
    info = os.fstat(os.open("/proc/self/status", os.O_RDONLY))
    print(info.st_size, oct(info.st_mode), info.st_ino == os.stat("/proc/self/status").st_ino)


@case
def rereading() -> None:
    """The text is made again when it is read from the start."""
    fd = os.open("/proc/self/status", os.O_RDONLY)
    first = os.read(fd, 4000)
    os.umask(0o051)
    os.lseek(fd, 0, 0)
    second = os.read(fd, 4000)
    print(b"Umask:\t0022" in first, b"Umask:\t0051" in second)


@case
def rereading_figures() -> None:
    """As top does: files of the system that are kept open."""
    import time

    fd = os.open("/proc/uptime", os.O_RDONLY)
    first = os.read(fd, 100)
    time.sleep(0.05)
    os.lseek(fd, 0, 0)
    print(first != os.read(fd, 100))


@case
def oom_adjustment() -> None:
    print(get("/proc/self/oom_score_adj"))
    tell("raise", lambda: put_text("/proc/self/oom_score_adj", b"500"))
    print(get("/proc/self/oom_score_adj"))
    tell("bad", lambda: put_text("/proc/self/oom_score_adj", b"5000"))


def put_text(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


@case
def limits_file() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
    lines = get("/proc/self/limits").decode().splitlines()
    print(
        lines[0].split(),
        [line.split()[3:5] for line in lines if line.startswith("Max open files")],
        len(lines),
    )


@case
def devices() -> None:
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        info = os.stat(f"/dev/{name}")
        print(
            name, oct(info.st_mode), info.st_uid, info.st_gid, os.major(info.st_rdev), os.minor(info.st_rdev)
        )
    print(os.readlink("/dev/fd"), os.readlink("/dev/ptmx"), describe("/dev/shm"), describe("/dev/pts/ptmx"))
    print(os.write(os.open("/dev/null", os.O_WRONLY), b"abc"), os.read(os.open("/dev/null", os.O_RDONLY), 5))
    print(
        os.read(os.open("/dev/zero", os.O_RDONLY), 5), len(os.read(os.open("/dev/urandom", os.O_RDONLY), 50))
    )
    full = os.open("/dev/full", os.O_RDWR)
    print(os.read(full, 3), outcome(os.write, full, b"x"))
    print(len(os.read(os.open("/dev/random", os.O_RDONLY), 10)))
    fd = os.open("/dev/null", os.O_RDWR)
    info = os.fstat(fd)
    print(
        oct(info.st_mode),
        info.st_uid,
        os.minor(info.st_rdev),
        os.readlink(f"/proc/self/fd/{fd}"),
        info.st_ino == os.stat("/dev/null").st_ino,
    )


@case
def own_device_nodes() -> None:
    os.mknod("mynull", 0o20666, os.makedev(1, 3))
    print(os.write(os.open("mynull", os.O_WRONLY), b"abc"), describe("mynull"))
    os.mknod("mem", 0o20600, os.makedev(1, 1))
    opens("memory", "mem", os.O_RDONLY)
    os.mknod("nosuch", 0o20600, os.makedev(240, 77))
    opens("no driver", "nosuch", os.O_RDONLY)


@case
def shared_memory_directory() -> None:
    from multiprocessing import shared_memory

    memory = shared_memory.SharedMemory(create=True, size=4096, name="probe")
    memory.buf[:5] = b"hello"
    print(os.listdir("/dev/shm"), describe("/dev/shm/probe"))

    def other() -> None:
        again = shared_memory.SharedMemory(name="probe")
        again.buf[:5] = b"HELLO"
        again.close()

    other()
    print(bytes(memory.buf[:5]))
    memory.close()
    memory.unlink()
    print(os.listdir("/dev/shm"))


@case
def semaphores() -> None:
    import multiprocessing

    context = multiprocessing.get_context("fork")
    semaphore = context.Semaphore(0)
    pid = spawn(lambda: semaphore.release() and 0)
    print(semaphore.acquire(timeout=5), waited(pid))


@case
def tools() -> None:
    run(
        "sh",
        "-c",
        "ls -l /proc/self/fd >/dev/null && echo ok; cat /proc/self/comm; nproc >/dev/null && echo ok",
    )
    run("ps", "-o", "comm=", "-p", str(os.getpid()))
    run("sh", "-c", "ps ax >/dev/null && echo ok")
    run(
        "sh",
        "-c",
        "echo text > /dev/stdout; echo text > /dev/fd/1; cat < /dev/stdin; diff <(echo 1) <(echo 1) 2>/dev/null || true",
    )
    run("bash", "-c", "cat <(echo one) <(echo two); echo x | tee /dev/null; exec 7<>/image/plain; cat <&7")
    run("find", "/image", "-newer", "/image/plain", "-name", "nano*")
    run(
        "sh",
        "-c",
        "find /image -xdev -type l | sort; du -s /image >/dev/null && echo ok; df / >/dev/null && echo ok",
    )


@case
def environment_is_what_it_started_with() -> None:
    os.environ["LATER"] = "1"
    print(b"LATER" in get("/proc/self/environ"), name_of(errno.EPERM), sys.platform)
    sys.stdout.flush()
    child(lambda: os.execve("/bin/cat", ["cat", "/proc/self/environ", "/proc/self/cmdline"], {"A": "b"}))
    look("/proc/self/environ") if False else None
