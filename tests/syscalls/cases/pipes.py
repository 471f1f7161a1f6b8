"""Pipes and FIFOs: opens that wait, signals while they wait, ends that close, polling."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import threading
import time

from probe import Handled, case, child, name_of, opens, outcome, raw, spawn, state_of, tell, until, waited

libc = ctypes.CDLL(None, use_errno=True)


@case
def pipes() -> None:
    r, w = os.pipe()
    print(os.get_inheritable(r), outcome(os.write, r, b"x"), outcome(os.read, w, 1))
    os.write(w, b"hello")
    print(os.read(r, 3), os.read(r, 10))
    os.close(w)
    print(os.read(r, 1))
    r, w = os.pipe()
    os.close(r)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    tell("no reader", os.write, w, b"x")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(child(lambda: os.write(w, b"x")))
    r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    tell("empty", os.read, r, 1)
    tell("size", fcntl.fcntl, w, 1032)
    tell("set size", fcntl.fcntl, w, 1031, 4096)
    print(os.write(w, b"x" * 10000), outcome(os.write, w, b"x"))
    tell("bad flags", os.pipe2, 1)


@case
def pipe_stat() -> None:
    import stat

    r, _ = os.pipe()
    info = os.fstat(r)
    print(stat.filemode(info.st_mode), info.st_size, info.st_nlink, info.st_uid, info.st_gid)
    print(os.readlink(f"/proc/self/fd/{r}") == f"pipe:[{info.st_ino}]")
    tell("open by proc", lambda: os.get_blocking(os.open(f"/proc/self/fd/{r}", os.O_RDONLY | os.O_NONBLOCK)))
    tell(
        "write to the other end by proc", lambda: os.write(os.open(f"/proc/self/fd/{r}", os.O_WRONLY), b"xyz")
    )
    print(os.read(r, 5))


@case
def fifo_waits_for_a_writer() -> None:
    os.mkfifo("p")

    def writer() -> None:
        time.sleep(0.03)
        fd = os.open("p", os.O_WRONLY)
        os.write(fd, b"hello")

    pid = spawn(writer)
    fd = os.open("p", os.O_RDONLY)
    print(os.read(fd, 10), os.read(fd, 10), waited(pid), os.get_blocking(fd))


@case
def fifo_waits_for_a_reader() -> None:
    os.mkfifo("p")

    def reader() -> None:
        time.sleep(0.03)
        fd = os.open("p", os.O_RDONLY)
        print(os.read(fd, 10))

    pid = spawn(reader)
    fd = os.open("p", os.O_WRONLY)
    os.write(fd, b"hello")
    print(waited(pid))


@case
def fifo_of_the_image() -> None:
    pid = spawn(lambda: os.write(os.open("/image/fifo", os.O_WRONLY), b"x"))
    print(os.read(os.open("/image/fifo", os.O_RDONLY), 5), waited(pid))


@case
def fifo_many() -> None:
    """Three writers wait, one reader frees them all."""
    os.mkfifo("p")
    pids = [spawn(lambda i=i: os.write(os.open("p", os.O_WRONLY), b"%d" % i)) for i in range(3)]
    until(lambda: all(state_of(p) == "S" for p in pids))
    time.sleep(0.02)
    fd = os.open("p", os.O_RDONLY)
    data = b""
    while block := os.read(fd, 10):
        data += block
        if len(data) == 3:
            break
    print(sorted(data), [waited(p) for p in pids], os.read(fd, 1))


@case
def fifo_nonblocking() -> None:
    os.mkfifo("p")
    opens("writer without reader", "p", os.O_WRONLY | os.O_NONBLOCK)
    r = os.open("p", os.O_RDONLY | os.O_NONBLOCK)
    tell("read without writer", os.read, r, 1)
    w = os.open("p", os.O_WRONLY | os.O_NONBLOCK)
    tell("read with a writer", os.read, r, 1)
    os.write(w, b"x")
    tell("read", os.read, r, 5)
    os.close(w)
    tell("read after the writer", os.read, r, 1)
    w = os.open("p", os.O_WRONLY)
    os.write(w, b"again")
    tell("read", os.read, r, 5)
    both = os.open("p", os.O_RDWR)
    os.write(both, b"self")
    print(os.read(both, 9))
    tell("seek", os.lseek, r, 0, 0)


@case
def fifo_open_and_signals() -> None:
    os.mkfifo("p")
    seen = Handled(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    ctypes.set_errno(0)
    result = libc.open(b"p", os.O_RDONLY)
    print("interrupted:", result, name_of(ctypes.get_errno()), seen.count)
    seen = Handled(signal.SIGALRM, restart=True)

    def writer() -> None:
        time.sleep(0.15)
        os.write(os.open("p", os.O_WRONLY), b"x")

    pid = spawn(writer)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    result = libc.open(b"p", os.O_RDONLY)
    print("restarted:", result >= 0, seen.count, os.read(result, 5), waited(pid))


@case
def fifo_open_and_death() -> None:
    """A waiter that is killed leaves nothing behind."""
    os.mkfifo("p")
    pid = spawn(lambda: os.open("p", os.O_RDONLY))
    until(lambda: state_of(pid) == "S")
    time.sleep(0.02)
    os.kill(pid, signal.SIGTERM)
    print(waited(pid))
    opens("nobody waits", "p", os.O_WRONLY | os.O_NONBLOCK)


@case
def fifo_by_another_name() -> None:
    os.mkfifo("p")
    os.link("p", "q")
    pid = spawn(lambda: os.write(os.open("q", os.O_WRONLY), b"via q"))
    os.rename("p", "r")
    print(os.read(os.open("r", os.O_RDONLY), 9), waited(pid))
    r = os.open("q", os.O_RDWR)
    os.unlink("q")
    os.unlink("r")
    os.write(r, b"gone")
    print(os.read(r, 9), os.fstat(r).st_nlink)


@case
def fifo_permissions() -> None:
    from probe import ALICE, as_user

    os.mkfifo("p")
    os.chmod("p", 0o644)

    def as_alice() -> None:
        opens("read", "p", os.O_RDONLY | os.O_NONBLOCK)
        opens("write", "p", os.O_WRONLY | os.O_NONBLOCK)
        opens("both", "p", os.O_RDWR)

    as_user(ALICE, as_alice)


@case
def fifo_in_threads() -> None:
    os.mkfifo("p")
    found = []
    thread = threading.Thread(target=lambda: found.append(os.read(os.open("p", os.O_RDONLY), 5)))
    thread.start()
    fd = os.open("p", os.O_WRONLY)
    os.write(fd, b"hello")
    thread.join()
    print(found)


@case
def polling() -> None:
    r, w = os.pipe()
    p = select.poll()
    p.register(r, select.POLLIN)
    p.register(w, select.POLLOUT)
    print([(fd == w, e) for fd, e in p.poll(0)])
    os.write(w, b"x")
    print(sorted((fd == w, e) for fd, e in p.poll(0)))
    os.read(r, 1)
    os.close(w)
    p.unregister(w)
    print([e for _, e in p.poll(0)])
    fd = os.open("/image/plain", os.O_RDONLY)
    print(select.select([fd], [fd], [], 0) == ([fd], [fd], []))
    p = select.poll()
    p.register(99, select.POLLIN)
    print(p.poll(0))
    directory = os.open(".", os.O_RDONLY)
    p = select.poll()
    p.register(directory, select.POLLIN | select.POLLOUT)
    print([e for _, e in p.poll(0)])


@case
def epolling() -> None:
    e = select.epoll()
    r, w = os.pipe()
    e.register(r, select.EPOLLIN | select.EPOLLET)
    print(e.poll(0))
    os.write(w, b"x")
    print([x for _, x in e.poll(0)], e.poll(0))
    e.modify(r, select.EPOLLIN | select.EPOLLONESHOT)
    print([x for _, x in e.poll(0)], e.poll(0))
    tell("regular file", e.register, os.open("/image/plain", os.O_RDONLY))
    tell("directory", e.register, os.open(".", os.O_RDONLY))
    tell("itself", e.register, e.fileno())
    tell("twice", e.register, r)
    tell("unknown", e.unregister, w)


@case
def partial_writes_and_signals() -> None:
    """A blocked write that a handler interrupts returns what it wrote."""
    r, w = os.pipe()
    fcntl.fcntl(w, 1031, 4096)
    seen = Handled(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    data = b"x" * 10000
    print(libc.write(w, data, len(data)), seen.count)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    ctypes.set_errno(0)
    print(libc.write(w, data, len(data)), name_of(ctypes.get_errno()), seen.count)


@case
def tee_and_splice() -> None:
    r, w = os.pipe()
    r2, w2 = os.pipe()
    os.write(w, b"data")
    print(libc.tee(r, w2, 10, 0), os.read(r, 9), os.read(r2, 9))
    tell(
        "splice between files",
        raw,
        "splice",
        os.open("/image/plain", 0),
        None,
        os.open("f", os.O_CREAT | os.O_WRONLY),
        None,
        4,
        0,
    )
