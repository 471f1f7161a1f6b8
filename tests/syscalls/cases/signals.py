"""Signals: sending, blocking, handling, restarting; who may; storms while calls are answered."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

from probe import (
    ALICE,
    Handled,
    as_user,
    case,
    child,
    effective,
    get,
    name_of,
    outcome,
    put,
    raw,
    run,
    spawn,
    state_of,
    tell,
    until,
    waited,
)

libc = ctypes.CDLL(None, use_errno=True)


@case
def sending() -> None:
    pid = spawn(time.sleep, 5)
    tell("zero", os.kill, pid, 0)
    tell("bad number", os.kill, pid, 65)
    tell("negative number", os.kill, pid, -1)
    tell("nobody", os.kill, 99999999, 0)
    tell("nobody's group", os.kill, -99999999, 0)
    tell("term", os.kill, pid, signal.SIGTERM)
    print(waited(pid))
    tell("gone", os.kill, pid, 0)


@case
def permission() -> None:
    pid = spawn(time.sleep, 5)
    as_user(ALICE, lambda: tell("root's", os.kill, pid, 0))
    as_user(ALICE, lambda: tell("root's, continue", os.kill, pid, signal.SIGCONT))
    as_user(ALICE, lambda: tell("group", os.kill, 0, 0))

    def own() -> None:
        mine = spawn(time.sleep, 5)
        tell("own", os.kill, mine, signal.SIGTERM)
        print(waited(mine))

    as_user(ALICE, own)

    def sleeper() -> None:
        os.setresuid(ALICE, 0, 0)
        time.sleep(5)

    other = spawn(sleeper)
    until(lambda: b"Uid:\t1000" in get(f"/proc/{other}/status"))
    as_user(ALICE, lambda: tell("real user equal", os.kill, other, 0))
    for number in (pid, other):
        os.kill(number, 9)
        waited(number)

    def effective_only() -> None:
        os.setresuid(0, ALICE, 0)
        time.sleep(5)

    other = spawn(effective_only)
    until(lambda: b"Uid:\t0\t1000" in get(f"/proc/{other}/status"))
    as_user(ALICE, lambda: tell("effective user equal", os.kill, other, 0))
    os.kill(other, 9)
    print(waited(other))


@case
def groups() -> None:
    pids = []
    for _ in range(3):
        pid = spawn(lambda: (os.setpgid(0, pids[0] if pids else 0), time.sleep(5)))
        pids.append(pid)
        until(lambda pid=pid: os.getpgid(pid) == pids[0])
    tell("group", os.killpg, pids[0], signal.SIGUSR1)
    print([waited(p) for p in pids])
    tell("empty group", os.killpg, pids[0], 0)


@case
def own_group() -> None:
    def body() -> None:
        os.setpgid(0, 0)
        seen = Handled(signal.SIGUSR1)
        inner = spawn(lambda: (signal.signal(signal.SIGUSR1, signal.SIG_DFL), time.sleep(5)))
        until(lambda: b"SigCgt:\t0000000000000002" in get(f"/proc/{inner}/status"))
        os.kill(0, signal.SIGUSR1)
        print(seen.count, waited(inner))

    print(child(body))


@case
def everybody() -> None:
    """kill(-1): all but oneself and process 1."""

    def body() -> None:
        os.setsid()
        pids = [spawn(time.sleep, 5) for _ in range(3)]
        os.kill(-1, signal.SIGUSR2)
        print([waited(p) for p in pids])

    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda *_: None)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        body()
        sys.stdout.flush()
        os._exit(0)
    print(waited(pid))


@case
def process_one() -> None:
    """It has no handlers, so nothing reaches it from inside."""
    for signum in (0, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGUSR1):
        tell(str(int(signum)), os.kill, 1, signum)
    time.sleep(0.02)
    print(state_of(1) in "SR")


@case
def handling() -> None:
    order: list[int] = []
    signal.signal(signal.SIGUSR1, lambda n, f: order.append(n))
    signal.signal(signal.SIGUSR2, lambda n, f: order.append(n))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR2)
    print(order)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGUSR1)
    print(order)
    tell("SIGKILL", signal.signal, signal.SIGKILL, signal.SIG_IGN)
    tell("SIGSTOP", signal.signal, signal.SIGSTOP, signal.SIG_IGN)


@case
def blocking() -> None:
    seen = Handled(signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGUSR1)
    print(seen.count, sorted(map(int, signal.sigpending())))
    print(
        [
            l
            for l in get("/proc/self/status").decode().splitlines()
            if l.startswith(("SigPnd", "ShdPnd", "SigBlk"))
        ]
    )
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    print(seen.count, signal.sigpending())
    os.kill(os.getpid(), signal.SIGUSR2)
    print(int(signal.sigwait([signal.SIGUSR2])))
    os.kill(os.getpid(), signal.SIGUSR2)
    info = signal.sigtimedwait([signal.SIGUSR2], 1)
    print(info.si_signo == signal.SIGUSR2, signal.sigtimedwait([signal.SIGUSR2], 0))


@case
def realtime() -> None:
    seen = Handled(40)
    signal.pthread_sigmask(signal.SIG_BLOCK, [40])
    for _ in range(5):
        os.kill(os.getpid(), 40)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [40])
    print(seen.count > 0)


@case
def queued_values() -> None:
    """sigqueue(3) to oneself."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    print(outcome_of(libc.sigqueue(os.getpid(), signal.SIGUSR1, ctypes.c_void_p(42))))
    info = signal.sigtimedwait([signal.SIGUSR1], 0)
    print(info is not None and info.si_pid == os.getpid())


def outcome_of(value: int) -> object:
    return name_of(ctypes.get_errno()) if value < 0 else value


@case
def who_sent() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGCHLD])
    os.kill(os.getpid(), signal.SIGUSR1)
    info = signal.sigwaitinfo([signal.SIGUSR1])
    print("self", info.si_pid == os.getpid(), info.si_code)
    parent = os.getpid()
    pid = spawn(lambda: os.kill(parent, signal.SIGUSR1))
    info = signal.sigwaitinfo([signal.SIGUSR1])
    print("child", info.si_pid == pid, info.si_code)
    info = signal.sigwaitinfo([signal.SIGCHLD])
    print("end", info.si_pid == pid, info.si_status, info.si_code, waited(pid))


@case
def which_user_sent() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.kill(os.getpid(), signal.SIGUSR1)
    print(signal.sigwaitinfo([signal.SIGUSR1]).si_uid)


@case
def sent_to_a_group() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.setpgid(0, 0)
    os.kill(0, signal.SIGUSR1)
    print(signal.sigwaitinfo([signal.SIGUSR1]).si_pid == os.getpid())


@case
def code_of_a_group_signal() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.setpgid(0, 0)
    os.kill(0, signal.SIGUSR1)
    print(signal.sigwaitinfo([signal.SIGUSR1]).si_code)


@case(program="siginfo")
def told_to_a_handler() -> None:
    for user in ("0", "1000"):
        run("/programs/siginfo", user)


@case
def queued_to_the_first_process() -> None:
    """It does not handle the signal, so nothing comes of it; who may not speak for another is told so."""
    tell("of one's own", libc_queue, 1, -1)
    tell("as of kill", libc_queue, 1, 0)
    tell("as of tgkill", libc_queue, 1, -6)
    tell("to nobody", libc_queue, 99999999, -1)
    tell("to nobody, as of kill", libc_queue, 99999999, 0)


def libc_queue(pid: int, code: int) -> object:
    information = struct.pack("<iiiiiIQ", signal.SIGUSR2, 0, code, 0, os.getpid(), os.getuid(), 0).ljust(128, b"\0")
    return raw("rt_sigqueueinfo", pid, signal.SIGUSR2, information)


@case
def threads() -> None:
    """A signal for one thread."""
    ready, gate = threading.Event(), threading.Event()
    found: list[object] = []

    def body() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        ready.set()
        gate.wait()
        found.append(sorted(map(int, signal.sigpending())))

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    t = threading.Thread(target=body)
    t.start()
    ready.wait()
    tell("tgkill", raw, "tgkill", os.getpid(), t.native_id, signal.SIGUSR1)
    tell("tgkill of another group", raw, "tgkill", 1, t.native_id, 0)
    tell("tkill", raw, "tkill", t.native_id, 0)
    tell("tkill nobody", raw, "tkill", 99999999, 0)
    tell("tgkill bad", raw, "tgkill", -1, t.native_id, 0)
    print(signal.sigpending())
    gate.set()
    t.join()
    print(found)


@case
def to_a_thread_number() -> None:
    """kill(2) with the number of a thread reaches its process."""
    gate = threading.Event()
    t = threading.Thread(target=gate.wait)
    t.start()
    seen = Handled(signal.SIGUSR1)
    tell("kill", os.kill, t.native_id, signal.SIGUSR1)
    print(until(lambda: seen.count))
    gate.set()
    t.join()


@case
def interrupted_calls() -> None:
    """EINTR without SA_RESTART, going on with it."""
    r, w = os.pipe()
    for restart in (False, True):
        seen = Handled(signal.SIGALRM, restart)

        def writer() -> None:
            time.sleep(0.1)
            os.write(w, b"x")

        t = threading.Thread(target=writer)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        t.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.setitimer(signal.ITIMER_REAL, 0.03)
        buffer = ctypes.create_string_buffer(5)
        ctypes.set_errno(0)
        got = libc.read(r, buffer, 5)
        print(restart, got, name_of(ctypes.get_errno()) if got < 0 else buffer.value, seen.count)
        t.join()
        if got < 0:
            os.read(r, 5)


@case
def interrupted_native_waits() -> None:
    """fcntl and sendto go to the kernel for some arguments only; what waits in the host ends with EINTR, too."""
    fd = os.open("/tmp/locked", os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(10))
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    held, hold = os.pipe()
    holder = os.fork()
    if holder == 0:
        own = os.open("/tmp/locked", os.O_RDWR)
        fcntl.fcntl(own, fcntl.F_SETLK, request)
        os.write(hold, b"x")
        time.sleep(20)
        os._exit(0)
    os.read(held, 1)
    near, far = socket.socketpair()
    near.setblocking(False)
    for full in (bytes(65536), b"x"):
        with contextlib.suppress(BlockingIOError):
            while near.send(full):
                pass
    near.setblocking(True)
    text, lock = ctypes.create_string_buffer(b"text"), ctypes.create_string_buffer(request)
    for number in (signal.SIGALRM, signal.SIGURG):
        seen = Handled(number, False)
        for name, call in (
            ("F_SETLKW", lambda: libc.fcntl(fd, 7, lock)),
            ("F_OFD_SETLKW", lambda: libc.fcntl(fd, 38, lock)),
            ("send", lambda: libc.send(near.fileno(), text, 4, 0)),
            ("sendto", lambda: libc.sendto(near.fileno(), text, 4, 0, None, 0)),
            ("write", lambda: libc.write(near.fileno(), text, 4)),
        ):
            sender = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, number))
            signal.pthread_sigmask(signal.SIG_BLOCK, [number])
            sender.start()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
            ctypes.set_errno(0)
            print(name, call(), name_of(ctypes.get_errno()), seen.count)
            sender.join()
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)


@case
def interrupted_sleeps() -> None:
    for restart in (False, True):
        seen = Handled(signal.SIGALRM, restart)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        ctypes.set_errno(0)
        print("poll", libc.poll(None, 0, 500), name_of(ctypes.get_errno()), seen.count)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        print("usleep", libc.usleep(500000), name_of(ctypes.get_errno()))
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        print("pause", libc.pause(), name_of(ctypes.get_errno()))
        e = select.epoll()
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        print(
            "epoll",
            libc.epoll_wait(e.fileno(), ctypes.create_string_buffer(12), 1, 500),
            name_of(ctypes.get_errno()),
        )


@case(timeout=30)
def storm_of_timers_and_stat() -> None:
    """A timer every 100 microseconds, a handler without SA_RESTART: calls on files never fail with EINTR."""
    seen = Handled(signal.SIGALRM)
    put("f", b"x")
    path = b"f"
    buffer = ctypes.create_string_buffer(256)
    failures: dict[str, int] = {}
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    for _ in range(5000):
        if libc.stat(path, buffer) < 0:
            failures[name_of(ctypes.get_errno())] = failures.get(name_of(ctypes.get_errno()), 0) + 1
        fd = libc.open(path, os.O_RDONLY)
        if fd < 0:
            failures[name_of(ctypes.get_errno())] = failures.get(name_of(ctypes.get_errno()), 0) + 1
        else:
            libc.close(fd)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(failures, seen.count > 10)


@case(timeout=30)
def storm_from_another_process() -> None:
    """A child sends as fast as it can."""
    seen = Handled(signal.SIGUSR1)
    parent = os.getpid()

    def sender() -> None:
        while True:
            os.kill(parent, signal.SIGUSR1)

    pid = spawn(sender)
    failures: list[object] = []
    buffer = ctypes.create_string_buffer(256)
    for i in range(100):
        name = b"f%d" % i
        for label, value in (
            ("open", libc.open(name, os.O_CREAT | os.O_WRONLY, 0o600)), ("mkdir", libc.mkdir(name + b"d", 0o700)),
            ("rename", libc.rename(name, name + b"x")), ("stat", libc.stat(name + b"x", buffer)),
            ("unlink", libc.unlink(name + b"x")), ("rmdir", libc.rmdir(name + b"d")),
        ):  # fmt: skip
            if value < 0:
                failures.append((label, name_of(ctypes.get_errno())))
            elif label == "open":
                libc.close(value)
    os.kill(pid, 9)
    waited(pid)
    print(failures, seen.count > 0, os.listdir("."))


@case(timeout=30)
def storm_and_children() -> None:
    """fork, exec and wait under a timer."""
    seen = Handled(signal.SIGALRM, restart=True)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    codes = [waited(spawn(lambda: os.execv("/bin/true", ["true"]))) for _ in range(30)]
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(set(codes), len(codes), seen.count > 0)


@case(timeout=30)
def storm_and_shell_pipelines() -> None:
    import subprocess

    script = "i=0; while [ $i -lt 60 ]; do echo $i | cat | grep -c . >/dev/null || echo lost; i=$((i+1)); done; echo $i"
    print(subprocess.run(["sh", "-c", script], capture_output=True).stdout)


@case
def signals_in_a_call_that_waits() -> None:
    """An ignored or blocked signal does not end it; a default one kills."""
    os.mkfifo("p")

    def opener() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        os.write(os.open("p", os.O_WRONLY), b"x")

    pid = spawn(opener)
    until(lambda: state_of(pid) == "S" and b"SigBlk:\t0000000000000800" in get(f"/proc/{pid}/status"))
    time.sleep(0.05)
    os.kill(pid, signal.SIGUSR1)
    os.kill(pid, signal.SIGUSR2)
    time.sleep(0.1)
    print(state_of(pid), os.read(os.open("p", os.O_RDONLY), 4), waited(pid))
    os.mkfifo("q")
    pid = spawn(lambda: os.open("q", os.O_WRONLY))
    until(lambda: state_of(pid) == "S")
    time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    print(waited(pid))


@case
def alternate_stack() -> None:
    from probe import run

    run("sh", "-c", "trap 'echo usr1' USR1; kill -USR1 $$; trap 'echo exit' EXIT; echo end")


@case
def shell_traps() -> None:
    from probe import run

    run(
        "sh",
        "-c",
        "trap 'echo int' INT; kill -INT $$; trap '' TERM; kill -TERM $$; echo alive; trap - TERM; kill -TERM $$; echo dead",
    )
    run("bash", "-c", "trap 'echo chld' CHLD; /bin/true; sleep 0.01; trap 'echo err' ERR; false; echo $?")
    run("timeout", "0.1", "sleep", "5")
    run("sh", "-c", "sleep 5 & p=$!; kill $p; wait $p; echo $?")


@case
def core_limits_and_names() -> None:
    print(signal.strsignal(signal.SIGSEGV), signal.SIGRTMIN, signal.SIGRTMAX)
    with effective(0):
        print(sorted(map(int, signal.valid_signals()))[-1])
    print(outcome(signal.signal, 65, signal.SIG_IGN) if False else "")


@case
def timer_signals() -> None:
    seen = Handled(signal.SIGALRM)
    print(signal.alarm(100), signal.alarm(0))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    until(lambda: seen.count >= 3)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(seen.count >= 3, signal.getitimer(signal.ITIMER_REAL))
    virtual = Handled(signal.SIGVTALRM)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.01)
    end = time.monotonic() + 2
    while not virtual.count and time.monotonic() < end:
        sum(range(1000))
    print(virtual.count)


@case
def wakeup_descriptor() -> None:
    r, w = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(w)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    print(os.read(r, 5))


@case
def signal_descriptor() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    mask = ctypes.create_string_buffer((1 << (signal.SIGUSR1 - 1)).to_bytes(8, "little"))
    fd = raw("signalfd4", -1, mask, 8, os.O_NONBLOCK)
    tell("empty", os.read, fd, 128)
    os.kill(os.getpid(), signal.SIGUSR1)
    data = os.read(fd, 128)
    print(len(data), data[0] == signal.SIGUSR1, int.from_bytes(data[12:16], "little") == os.getpid())
    print(os.readlink(f"/proc/self/fd/{fd}"))


@case
def cooperating_processes() -> None:
    """Two that take turns by signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
    parent = os.getpid()

    def other() -> None:
        for _ in range(100):
            signal.sigwait([signal.SIGUSR1])
            os.kill(parent, signal.SIGUSR2)

    pid = spawn(other)
    for _ in range(100):
        os.kill(pid, signal.SIGUSR1)
        signal.sigwait([signal.SIGUSR2])
    print(waited(pid))
