"""uname, limits, scheduling, clocks, timers, event descriptors, random numbers, memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import select
import signal
import struct
import time

from probe import (
    ALICE,
    Handled,
    as_user,
    case,
    child,
    get,
    name_of,
    outcome,
    raw,
    run,
    spawn,
    tell,
    until,
    waited,
)

libc = ctypes.CDLL(None, use_errno=True)


@case
def uname() -> None:
    info = os.uname()
    print(info.sysname, info.nodename, info.machine, info.release.split(".")[0].isdigit())
    run("uname", "-smn")
    run("hostname") if os.path.exists("/usr/bin/hostname") else None


@case
def limits() -> None:
    print(resource.getrlimit(resource.RLIMIT_STACK)[0] > 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (50, 100))
    print(resource.getrlimit(resource.RLIMIT_NOFILE))
    tell(
        "raise the hard limit",
        lambda: as_user(ALICE, lambda: tell("alice", resource.setrlimit, resource.RLIMIT_NOFILE, (50, 200))),
    )
    print(
        resource.prlimit(0, resource.RLIMIT_NOFILE, (60, 100)),
        resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE),
    )
    pid = spawn(time.sleep, 5)
    tell("of a child", resource.prlimit, pid, resource.RLIMIT_NOFILE, (20, 30))
    tell("read", resource.prlimit, pid, resource.RLIMIT_NOFILE)
    as_user(ALICE, lambda: tell("alice, root's", resource.prlimit, pid, resource.RLIMIT_NOFILE))
    tell("nobody", resource.prlimit, 99999999, resource.RLIMIT_NOFILE)
    tell("more than the most", raw, "prlimit64", 1, resource.RLIMIT_NOFILE, struct.pack("<QQ", 9, 5), None)
    os.kill(pid, 9)
    waited(pid)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 100))
    except ValueError as error:
        print(error)
    child(lambda: print(resource.getrlimit(resource.RLIMIT_NOFILE)))


@case
def limit_of_processes() -> None:
    def body() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        pid = outcome(os.fork)
        if pid == 0:
            os._exit(0)
        print(pid if isinstance(pid, str) else "forked")

    as_user(ALICE, body)


@case
def limit_of_memory() -> None:
    def body() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        tell("mmap", mmap.mmap, -1, 2 << 30)

    child(body)


@case
def limit_of_time() -> None:
    def body() -> None:
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
        while True:
            pass

    print(child(body) in (-signal.SIGXCPU, -signal.SIGKILL))


@case
def limits_survive_exec() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (77, 99))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    run("sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c")


@case
def priorities() -> None:
    print(os.getpriority(os.PRIO_PROCESS, 0), os.nice(0))
    tell("lower", os.setpriority, os.PRIO_PROCESS, 0, 5)
    print(os.getpriority(os.PRIO_PROCESS, 0), os.getpriority(os.PRIO_PROCESS, os.getpid()))
    tell("higher", os.setpriority, os.PRIO_PROCESS, 0, 3)
    tell("nobody", os.getpriority, os.PRIO_PROCESS, 99999999)
    tell("bad", os.getpriority, 9, 0)
    pid = spawn(time.sleep, 5)
    tell("child", os.getpriority, os.PRIO_PROCESS, pid)
    tell("set child", os.setpriority, os.PRIO_PROCESS, pid, 10)
    tell("child", os.getpriority, os.PRIO_PROCESS, pid)
    tell("beyond", os.setpriority, os.PRIO_PROCESS, pid, 99)
    tell("child", os.getpriority, os.PRIO_PROCESS, pid)
    as_user(ALICE, lambda: tell("alice, root's", os.setpriority, os.PRIO_PROCESS, pid, 15))
    os.kill(pid, 9)
    waited(pid)
    run("nice", "-n", "3", "nice")


@case
def priorities_of_groups() -> None:
    os.setpgid(0, 0)
    tell("group", os.setpriority, os.PRIO_PGRP, 0, 4)
    print(os.getpriority(os.PRIO_PGRP, 0), os.getpriority(os.PRIO_PROCESS, 0))


@case
def scheduling() -> None:
    print(
        os.sched_getscheduler(0),
        os.sched_getparam(0).sched_priority,
        os.sched_get_priority_max(os.SCHED_FIFO),
    )
    tell("fifo", os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1))
    tell("batch", os.sched_setscheduler, 0, os.SCHED_BATCH, os.sched_param(0))
    print(os.sched_getscheduler(0), os.sched_getscheduler(os.getpid()))
    affinity = os.sched_getaffinity(0)
    print(len(affinity) == os.cpu_count(), os.sched_getaffinity(os.getpid()) == affinity)
    one = {min(affinity)}
    os.sched_setaffinity(0, one)
    print(os.sched_getaffinity(0) == one)
    tell("none", os.sched_setaffinity, 0, [])
    tell("nobody", os.sched_getaffinity, 99999999)
    tell("negative", os.sched_getaffinity, -1)
    tell("set of a negative", os.sched_setaffinity, -1, affinity)
    pid = spawn(time.sleep, 5)
    tell("child", lambda: os.sched_getaffinity(pid) == one)
    tell("set child", os.sched_setaffinity, pid, affinity)
    os.kill(pid, 9)
    waited(pid)
    os.sched_yield()
    run("nproc")


@case
def sleeping() -> None:
    for label, function in (("nanosleep", lambda: time.sleep(0.02)), ("clock", lambda: libc.usleep(20000)),
                            ("select", lambda: select.select([], [], [], 0.02)), ("poll", lambda: select.poll().poll(20))):  # fmt: skip
        start = time.monotonic()
        function()
        print(label, 0.015 < time.monotonic() - start < 0.5)
    seen = Handled(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    start = time.monotonic()
    time.sleep(0.1)
    print(time.monotonic() - start >= 0.09, seen.count)
    bad = struct.pack("<qq", 0, 10**9)
    print(libc.nanosleep(bad, None), name_of(ctypes.get_errno()))


@case
def clocks() -> None:
    for name in (
        "CLOCK_REALTIME",
        "CLOCK_MONOTONIC",
        "CLOCK_BOOTTIME",
        "CLOCK_PROCESS_CPUTIME_ID",
        "CLOCK_THREAD_CPUTIME_ID",
        "CLOCK_MONOTONIC_RAW",
    ):
        clock = getattr(time, name)
        a = time.clock_gettime_ns(clock)
        b = time.clock_gettime_ns(clock)
        print(name, a <= b, time.clock_getres(clock) > 0)
    tell("bad clock", time.clock_gettime, 99)
    tell(
        "clock of a process",
        lambda: time.clock_gettime(time.pthread_getcpuclockid(__import__("threading").get_ident())) >= 0,
    )
    print(abs(time.time() - time.clock_gettime(time.CLOCK_REALTIME)) < 1)


@case
def timers() -> None:
    """timer_create with a signal."""
    seen = Handled(signal.SIGUSR1)
    event = struct.pack("<QiiI44x", 0, signal.SIGUSR1, 0, 0)
    identity = ctypes.c_void_p()
    print(libc.timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(identity)))
    print(libc.timer_settime(identity, 0, struct.pack("<4q", 0, 5000000, 0, 5000000), None))
    until(lambda: seen.count >= 2)
    print(seen.count >= 2, libc.timer_delete(identity))


@case
def timer_descriptors() -> None:
    fd = raw("timerfd_create", time.CLOCK_MONOTONIC, os.O_NONBLOCK)
    tell("empty", os.read, fd, 8)
    raw("timerfd_settime", fd, 0, struct.pack("<4q", 0, 5000000, 0, 5000000), None)
    print(bool(select.select([fd], [], [], 1)[0]), int.from_bytes(os.read(fd, 8), "little") >= 1)
    print(os.readlink(f"/proc/self/fd/{fd}"))
    tell("short read", os.read, fd, 4)


@case
def event_descriptors() -> None:
    fd = os.eventfd(3, os.EFD_NONBLOCK)
    print(os.eventfd_read(fd), outcome(os.eventfd_read, fd))
    os.eventfd_write(fd, 5)
    os.eventfd_write(fd, 6)
    print(
        select.select([fd], [fd], [], 0) == ([fd], [fd], []),
        os.eventfd_read(fd),
        os.readlink(f"/proc/self/fd/{fd}"),
    )
    semaphore = os.eventfd(2, os.EFD_SEMAPHORE)
    print(os.eventfd_read(semaphore), os.eventfd_read(semaphore))
    tell("bad", os.write, fd, b"short")
    info = os.fstat(fd)
    print(oct(info.st_mode), info.st_size, info.st_uid)
    tell("chmod", os.fchmod, fd, 0o600) if False else None


@case
def epoll_of_many_kinds() -> None:
    e = select.epoll()
    r, w = os.pipe()
    event = os.eventfd(0)
    timer = raw("timerfd_create", time.CLOCK_MONOTONIC, 0)
    for fd in (r, event, timer):
        e.register(fd, select.EPOLLIN)
    raw("timerfd_settime", timer, 0, struct.pack("<4q", 0, 0, 0, 1000000), None)
    os.eventfd_write(event, 1)
    os.write(w, b"x")
    found = set()
    until(lambda: found.update(fd for fd, _ in e.poll(0.1)) or len(found) == 3)
    print(found == {r, event, timer}, os.readlink(f"/proc/self/fd/{e.fileno()}"))
    child(lambda: print(len(e.poll(0)) == 3))


@case
def inotify() -> None:
    fd = raw("inotify_init1", os.O_NONBLOCK)
    tell("missing", raw, "inotify_add_watch", fd, b"no", 0xFFF)
    watch = outcome(raw, "inotify_add_watch", fd, b".", 0x3C2 | 0x100)
    if isinstance(watch, str):
        print(watch)
        return
    from probe import put

    put("f")
    os.rename("f", "g")
    os.unlink("g")
    os.mkdir("d")
    data = b""
    while isinstance(more := outcome(os.read, fd, 4096), bytes):
        data += more
    at = 0
    while at < len(data):
        _, mask, _, size = struct.unpack_from("iIII", data, at)
        print(hex(mask), data[at + 16 : at + 16 + size].rstrip(b"\0"))
        at += 16 + size


@case
def random_numbers() -> None:
    print(len(os.getrandom(16)), len(os.getrandom(10, os.GRND_NONBLOCK)), os.getrandom(8) != os.getrandom(8))
    tell("bad flags", os.getrandom, 5, 99)


@case
def memory_calls() -> None:
    memory = mmap.mmap(-1, 1 << 20)
    memory[:4] = b"abcd"
    memory.madvise(mmap.MADV_DONTNEED)
    print(memory[:4])
    memory.resize(1 << 21)
    print(len(memory))
    memory.flush()
    tell(
        "mlock",
        lambda: libc.mlock(
            ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(mmap.mmap(-1, 4096)))), 4096
        ),
    )
    print(libc.munmap(ctypes.c_void_p(1), 4096), name_of(ctypes.get_errno()))
    address = libc.mmap
    address.restype = ctypes.c_void_p
    print(address(None, 0, 1, 0x22, -1, 0) == 2**64 - 1, name_of(ctypes.get_errno()))
    print(libc.getpagesize(), os.sysconf("SC_PAGE_SIZE"))


@case
def process_attributes() -> None:
    """prctl options that the host answers."""
    print(libc.prctl(3, 0, 0, 0, 0), libc.prctl(37, ctypes.byref(ctypes.c_int()), 0, 0, 0))
    print(libc.prctl(30, 0, 0, 0, 0) >= 0, libc.prctl(21, 0, 0, 0, 0))
    print(libc.prctl(999, 0, 0, 0, 0), name_of(ctypes.get_errno()))
    print(hex(raw("personality", 0xFFFFFFFF)))


@case
def unknown_calls() -> None:
    libc.syscall.restype = ctypes.c_long
    for number in (335, 400, 1000, 2**31 - 1, -1):
        ctypes.set_errno(0)
        print(number, libc.syscall(ctypes.c_long(number)), name_of(ctypes.get_errno()))


@case
def configuration() -> None:
    for name in ("SC_NPROCESSORS_ONLN", "SC_NPROCESSORS_CONF"):
        print(os.sysconf(name) == os.cpu_count())
    print(
        os.sysconf("SC_CLK_TCK"),
        os.sysconf("SC_ARG_MAX") >= 131072,
        os.pathconf("/", "PC_NAME_MAX"),
        os.pathconf("/", "PC_PATH_MAX"),
    )
    print(
        os.sysconf("SC_OPEN_MAX") == resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        os.sysconf("SC_PHYS_PAGES") > 0,
    )
    print(os.getloadavg()[0] >= 0, len(get("/etc/passwd")) > 10)


@case
def system_v_shared_memory() -> None:
    for name, args in (("shmget", (0, 4096, 0o1600)), ("semget", (0, 1, 0o1600)), ("msgget", (0, 0o1600))):
        value = libc[name](*args)
        print(name, "made" if value >= 0 else name_of(ctypes.get_errno()))


@case
def python_standard_library() -> None:
    """Modules that lean on the kernel."""
    run(
        "/usr/bin/python3",
        "-c",
        "import subprocess; print(subprocess.check_output(['echo', 'x']), subprocess.run('exit 3', shell=True).returncode)",
    )
    run(
        "/usr/bin/python3",
        "-c",
        "import tempfile, shutil, os; d = tempfile.mkdtemp(); open(d + '/f', 'w').write('x'); shutil.copytree(d, d + '2'); print(os.listdir(d + '2')); shutil.rmtree(d); shutil.rmtree(d + '2')",
    )
    run(
        "/usr/bin/python3",
        "-c",
        "import concurrent.futures as c; print(sum(c.ThreadPoolExecutor(4).map(lambda x: x * x, range(100))))",
    )
    run(
        "/usr/bin/python3",
        "-c",
        "import multiprocessing as m\nwith m.Pool(2) as p: print(sum(p.map(abs, range(-50, 50))))",
    )
    run(
        "/usr/bin/python3",
        "-c",
        "import asyncio\nasync def f():\n p = await asyncio.create_subprocess_exec('echo', 'hi', stdout=-1)\n print((await p.communicate())[0])\nasyncio.run(f())",
    )
    run(
        "/usr/bin/python3",
        "-c",
        "import glob, fnmatch, pathlib; print(sorted(p.name for p in pathlib.Path('/image').glob('d*')))",
    )
