"""fork, vfork, clone, threads, wait and its statuses, orphans, groups, limits of numbers."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time

from probe import Handled, case, child, get, outcome, put, raw, spawn, state_of, tell, until, waited


@case
def fork_and_wait() -> None:
    for code in (0, 1, 127, 255):
        print(waited(spawn(lambda code=code: code)), end=" ")
    print(outcome(os.waitpid, -1, 0), outcome(os.waitpid, -1, os.WNOHANG), outcome(os.waitpid, 99999999, 0))
    pid = spawn(time.sleep, 5)
    print(os.waitpid(pid, os.WNOHANG))
    os.kill(pid, signal.SIGKILL)
    print(os.waitpid(pid, 0)[1], outcome(os.waitpid, pid, 0))


@case
def statuses() -> None:
    for signum in (signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGUSR1, 40):
        pid = os.fork()
        if pid == 0:
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signum, signal.SIG_DFL) if signum != signal.SIGKILL else None
            os.kill(os.getpid(), signum)
            os._exit(9)
        status = os.waitpid(pid, 0)[1]
        print(int(signum), os.WIFSIGNALED(status), os.WTERMSIG(status), os.WCOREDUMP(status))


@case
def faults() -> None:
    """What a processor's exception becomes."""

    def divide() -> None:
        ctypes.string_at(0)

    print(child(divide))

    def illegal() -> None:
        import mmap

        memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        memory.write(b"\x0f\x0b")
        ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()

    print(child(illegal))


@case
def stop_and_continue() -> None:
    pid = spawn(time.sleep, 10)
    os.kill(pid, signal.SIGSTOP)
    status = os.waitpid(pid, os.WUNTRACED)[1]
    print(os.WIFSTOPPED(status), os.WSTOPSIG(status), state_of(pid))
    os.kill(pid, signal.SIGCONT)
    status = os.waitpid(pid, os.WCONTINUED)[1]
    print(os.WIFCONTINUED(status), until(lambda: state_of(pid) in "SR"))
    os.kill(pid, signal.SIGTSTP)
    print(os.WSTOPSIG(os.waitpid(pid, os.WUNTRACED)[1]))
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    print(waited(pid))


@case
def stop_and_kill() -> None:
    pid = spawn(time.sleep, 10)
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    os.kill(pid, signal.SIGKILL)
    print(waited(pid))


@case
def stop_inside_a_call() -> None:
    """A call that is answered by the kernel goes on after a stop."""
    os.mkfifo("p")
    pid = spawn(lambda: os.write(os.open("p", os.O_WRONLY), b"x"))
    until(lambda: state_of(pid) == "S")
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    os.kill(pid, signal.SIGCONT)
    print(os.read(os.open("p", os.O_RDONLY), 3), waited(pid))


@case
def waitid() -> None:
    pid = spawn(lambda: 3)
    info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    print(info.si_pid == pid, info.si_signo == signal.SIGCHLD, info.si_status, info.si_code == os.CLD_EXITED)
    info = os.waitid(os.P_ALL, 0, os.WEXITED)
    print(info.si_status, outcome(os.waitid, os.P_ALL, 0, os.WEXITED))
    pid = spawn(time.sleep, 5)
    print(os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG))
    os.kill(pid, signal.SIGKILL)
    info = os.waitid(os.P_PID, pid, os.WEXITED)
    print(info.si_status, info.si_code == os.CLD_KILLED)
    tell("no options", os.waitid, os.P_ALL, 0, 0)


@case
def waitid_tells_the_user() -> None:
    pid = spawn(lambda: 3)
    print(os.waitid(os.P_PID, pid, os.WEXITED).si_uid)


@case
def wait_for_a_group() -> None:
    one = spawn(lambda: (os.setpgid(0, 0), time.sleep(0.02), 4)[2])
    two = spawn(lambda: 5)
    until(lambda: os.getpgid(one) == one)
    print(os.WEXITSTATUS(os.waitpid(-one, 0)[1]), waited(two), outcome(os.waitpid, -one, 0))


@case
def wait_is_interrupted() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    pid = spawn(time.sleep, 5)
    seen = Handled(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 0.03)
    print(libc.waitpid(pid, None, 0), ctypes.get_errno(), seen.count)
    os.kill(pid, signal.SIGKILL)
    print(waited(pid))


@case
def ignored_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    pid = spawn(lambda: 3)
    print(outcome(os.waitpid, pid, 0), state_of(pid))


@case
def zombies() -> None:
    pid = spawn(lambda: 7)
    until(lambda: state_of(pid) == "Z")
    print(
        state_of(pid),
        outcome(os.kill, pid, 0),
        outcome(os.listdir, f"/proc/{pid}/fd"),
        get(f"/proc/{pid}/cmdline"),
    )
    print(outcome(os.readlink, f"/proc/{pid}/exe"), outcome(os.readlink, f"/proc/{pid}/cwd"))
    print([l for l in get(f"/proc/{pid}/status").decode().splitlines() if l.startswith(("State", "PPid"))][0])
    print(outcome(os.getpgid, pid) == os.getpgid(0), waited(pid), state_of(pid), outcome(os.kill, pid, 0))


@case
def orphans() -> None:
    r, w = os.pipe()

    def middle() -> None:
        def orphan() -> None:
            until(lambda: os.getppid() == 1)
            os.write(w, b"%d" % os.getppid())

        spawn(orphan)

    waited(spawn(middle))
    print(os.read(r, 10))


@case
def subreaper() -> None:
    libc = ctypes.CDLL(None)
    print(libc.prctl(36, 1, 0, 0, 0))
    value = ctypes.c_int()
    libc.prctl(37, ctypes.byref(value), 0, 0, 0)
    print(value.value)
    r, w = os.pipe()
    me = os.getpid()

    def middle() -> None:
        def orphan() -> int:
            until(lambda: os.getppid() == me)
            os.write(w, b"%d" % (os.getppid() == me))
            return 6

        spawn(orphan)

    waited(spawn(middle))
    print(os.read(r, 10), os.WEXITSTATUS(os.waitpid(-1, 0)[1]))


@case
def parent_death_signal() -> None:
    libc = ctypes.CDLL(None)
    r, w = os.pipe()

    def middle() -> None:
        def inner() -> None:
            signal.signal(signal.SIGUSR1, lambda *_: os.write(w, b"told"))
            libc.prctl(1, signal.SIGUSR1, 0, 0, 0)
            os.write(w, b"ready ")
            time.sleep(0.5)

        spawn(inner)
        until(lambda: False, 0.1)

    waited(spawn(middle))
    print(os.read(r, 6), os.read(r, 10))


@case
def numbers() -> None:
    print(os.getpid() == int(os.readlink("/proc/self")), os.getppid(), raw("gettid") == os.getpid())
    print(get("/proc/1/comm"), os.getpid() in [int(n) for n in os.listdir("/proc") if n.isdigit()])
    tell("kill of nobody", os.kill, 99999999, 0)
    tell("group of nobody", os.getpgid, 99999999)
    tell("of minus one", os.getpgid, -1)
    tell("session of nobody", os.getsid, 99999999)


@case
def processes_listed() -> None:
    pid = spawn(time.sleep, 5)
    pids = sorted(int(n) for n in os.listdir("/proc") if n.isdigit())
    print(len(pids), pids[0], pid in pids, os.getpid() in pids)
    os.kill(pid, 9)
    waited(pid)
    print(len([n for n in os.listdir("/proc") if n.isdigit()]), outcome(os.stat, f"/proc/{pid}"))


@case
def vfork() -> None:
    """As posix_spawn does it: memory is shared, the parent waits."""
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 5"], {})
    print(waited(pid), outcome(os.posix_spawn, "/no/such", ["x"], {}))
    r, w = os.pipe()
    pid = os.posix_spawn(
        "/bin/sh", ["sh", "-c", "echo $A; pwd; id -u"], {"A": "b", "PATH": "/usr/bin"},
        file_actions=[(os.POSIX_SPAWN_DUP2, w, 1), (os.POSIX_SPAWN_CLOSE, r), (os.POSIX_SPAWN_OPEN, 9, "/image/plain", os.O_RDONLY, 0)],
        setpgroup=0, setsigmask=[signal.SIGUSR1], setsigdef=[signal.SIGPIPE],
    )  # fmt: skip
    os.close(w)
    print(waited(pid), os.read(r, 100).split(b"\n")[0])


@case(program="clones")
def clones() -> None:
    """clone(2) with flags by hand; see programs/clones.c."""
    from probe import run

    run("/programs/clones")


libc = ctypes.CDLL(None, use_errno=True)


@case
def directories_of_one_thread() -> None:
    """unshare(CLONE_FS), as Samba's threads do it."""
    os.mkdir("one")
    os.mkdir("two")
    here = os.getcwd()
    found: list[object] = []

    def body() -> None:
        found.append(libc.syscall(272, 0x200))
        os.chdir("one")
        os.umask(0o077)
        put("file", b"in one")
        link = os.readlink(f"/proc/self/task/{threading.get_native_id()}/cwd")
        found.append((os.getcwd() == f"{here}/one", link == f"{here}/one", os.umask(0o077)))
        t = threading.Thread(target=lambda: (found.append(os.getcwd() == f"{here}/one"), os.chdir("/")))
        t.start()
        t.join()
        found.append(os.getcwd())
        found.append(child(lambda: os.getcwd() == "/" and 4))
        os.chroot(f"{here}/two")
        found.append(os.listdir("/"))

    t = threading.Thread(target=body)
    t.start()
    t.join()
    print(found, os.getcwd() == here, oct(os.umask(0o022)), os.listdir("one"), os.path.exists("/image"))
    for flags in (0, 0x40000, 0x40200):
        print(libc.syscall(272, flags))
    os.chdir("two")
    print(os.path.basename(os.readlink("/proc/self/cwd")))


@case
def threads() -> None:
    found: list[object] = []

    def body() -> None:
        found.append(
            (
                os.getpid() == main,
                threading.get_native_id() != main,
                raw("gettid") == threading.get_native_id(),
            )
        )

    main = os.getpid()
    workers = [threading.Thread(target=body) for _ in range(10)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    print(found == [(True, True, True)] * 10)
    until(lambda: len(os.listdir("/proc/self/task")) == 1)
    print(os.listdir("/proc/self/task") == [str(main)])


@case
def thread_directories() -> None:
    gate = threading.Event()
    tids: list[int] = []
    ready = threading.Barrier(4)

    def body() -> None:
        tids.append(threading.get_native_id())
        ready.wait()
        gate.wait()

    workers = [threading.Thread(target=body) for _ in range(3)]
    for t in workers:
        t.start()
    ready.wait()
    print(sorted(os.listdir("/proc/self/task")) == sorted(map(str, [os.getpid(), *tids])))
    print(all(b"Tgid:\t%d\n" % os.getpid() in get(f"/proc/self/task/{t}/status") for t in tids))
    print(all(b"\nPid:\t%d\n" % t in get(f"/proc/self/task/{t}/status") for t in tids))
    print(get(f"/proc/{tids[0]}/stat").split(b" ")[0] == b"%d" % tids[0], os.stat("/proc/self/task").st_nlink)
    print("Threads:\t4" in get("/proc/self/status").decode(), str(tids[0]) in os.listdir("/proc"))
    gate.set()
    for t in workers:
        t.join()


@case
def exit_from_a_thread() -> None:
    def body() -> None:
        threading.Thread(target=lambda: os._exit(33)).start()
        time.sleep(5)

    print(child(body))


@case
def main_thread_ends_first() -> None:
    """The process lives on until its last thread ends."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        libc = ctypes.CDLL(None)

        def body() -> None:
            time.sleep(0.05)
            os.write(w, b"thread")
            os._exit(4)

        threading.Thread(target=body).start()
        libc.syscall(60, 3)  # exit, of this thread alone
    print(os.read(r, 10), waited(pid))


@case
def fork_from_a_thread() -> None:
    def body() -> None:
        pid = os.fork()
        if pid == 0:
            print(
                "threads",
                len(os.listdir("/proc/self/task")),
                os.getpid() == threading.get_native_id(),
                os.getppid() == parent,
            )
            sys.stdout.flush()
            os._exit(6)
        print(waited(pid))

    parent = os.getpid()
    t = threading.Thread(target=body)
    t.start()
    t.join()


@case
def many_children() -> None:
    pids = [spawn(lambda i=i: i % 50) for i in range(60)]
    print(sum(waited(p) for p in pids))


@case
def deep_forks() -> None:
    def descend(depth: int) -> int:
        return depth if depth == 20 else waited(spawn(descend, depth + 1))

    print(descend(0))


@case
def fork_storm() -> None:
    """Children that die at once, in several threads."""

    def body() -> None:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os._exit(1)
            codes.append(waited(pid))

    codes: list[int] = []
    workers = [threading.Thread(target=body) for _ in range(4)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    print(len(codes), set(codes))


@case
def memory_is_copied() -> None:
    import mmap

    shared = mmap.mmap(-1, 16)
    value = [1]
    pid = os.fork()
    if pid == 0:
        value[0] = 2
        shared[0:5] = b"child"
        os._exit(0)
    waited(pid)
    print(value, shared[:5])


@case
def pidfds() -> None:
    pid = spawn(lambda: (time.sleep(0.05), 3)[1])
    fd = os.pidfd_open(pid)
    import select

    print(select.select([fd], [], [], 0)[0], bool(select.select([fd], [], [], 2)[0]))
    info = os.waitid(os.P_PIDFD, fd, os.WEXITED)
    print(info.si_status, outcome(signal.pidfd_send_signal, fd, 0))
    pid = spawn(time.sleep, 5)
    fd = os.pidfd_open(pid)
    signal.pidfd_send_signal(fd, signal.SIGTERM)
    print(waited(pid))
    tell("nobody", os.pidfd_open, 99999999)
    tell("zero", os.pidfd_open, 0)
    tell("bad flags", os.pidfd_open, os.getpid(), 1)
    tell("not a pidfd", signal.pidfd_send_signal, 1, 0)


@case
def usage() -> None:
    import resource

    child(lambda: sum(i * i for i in range(200000)) and 0)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > 0, os.times().children_user >= 0)
    pid = spawn(lambda: 3)
    _, status, used = os.wait4(pid, 0)
    print(os.WEXITSTATUS(status), used.ru_maxrss > 0)


@case
def names_of_processes() -> None:
    libc = ctypes.CDLL(None)
    print(get("/proc/self/comm"))
    libc.prctl(15, b"a very long name indeed", 0, 0, 0)
    print(get("/proc/self/comm"))
    with open("/proc/self/comm", "wb", 0) as file:
        file.write(b"written\n")
    buffer = ctypes.create_string_buffer(16)
    libc.prctl(16, buffer, 0, 0, 0)
    print(buffer.value, get("/proc/self/comm"), b"(written)" in get("/proc/self/stat"))
    print([l for l in get("/proc/self/status").splitlines() if l.startswith(b"Name")])


@case
def killed_while_it_forks() -> None:
    """The child of a fork in flight keeps nothing open, whether it comes to life or not."""
    late = 0
    for step in range(400):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            while True:
                waited(os.fork() or os._exit(0))
        time.sleep(step % 41 * 0.0001)
        os.kill(pid, signal.SIGKILL)
        waited(pid)
        os.close(writer)
        late += not select.select([reader], [], [], 3)[0]
        os.close(reader)
        if late:
            break
    print(late)
