"""Credentials: of a peer (SO_PEERCRED) and in messages (SCM_CREDENTIALS), of every kind of unix socket."""

from __future__ import annotations

import array
import os
import socket
import struct
import threading
import time

from probe import ALICE, BOB, become, case, outcome, spawn, tell, waited

UNIX, STREAM, DGRAM, SEQ = socket.AF_UNIX, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
SOL, RIGHTS, CREDENTIALS, PASSCRED = socket.SOL_SOCKET, socket.SCM_RIGHTS, 2, socket.SO_PASSCRED
KINDS = {"stream": STREAM, "sequenced": SEQ, "datagram": DGRAM}


def whose(pid: int, names: dict[int, str]) -> str:
    return names.get(pid) or ("self" if pid == os.getpid() else "parent" if pid == os.getppid() else f"other {pid == 0}")


def told(end: socket.socket, flags: int = 0, room: int = 100, **children: int) -> object:
    """What recvmsg says, credentials spelt out."""
    got = outcome(end.recvmsg, 20, room, flags)
    if isinstance(got, str):
        return got
    found = []
    for level, kind, data in got[1]:
        if (level, kind, len(data)) == (SOL, CREDENTIALS, 12):
            pid, uid, gid = struct.unpack("3i", data)
            found.append((whose(pid, {number: name for name, number in children.items()}), uid, gid))
        else:
            found.append((level, kind, len(data)))
    return got[0], found, got[2]


def peer(end: socket.socket, **children: int) -> object:
    pid, uid, gid = struct.unpack("3i", end.getsockopt(SOL, socket.SO_PEERCRED, 12))
    return whose(pid, {number: name for name, number in children.items()}), uid, gid


def mine(pid: int | None = None, uid: int = 0, gid: int = 0) -> list[tuple[int, int, bytes]]:
    return [(SOL, CREDENTIALS, struct.pack("3i", os.getpid() if pid is None else pid, uid, gid))]


@case
def pairs() -> None:
    for name, kind in KINDS.items():
        a, b = socket.socketpair(UNIX, kind)
        print(name, peer(a), peer(b))
        a.send(b"before")
        b.setsockopt(SOL, PASSCRED, 1)
        print(told(b))
        a.send(b"one")
        print(told(b, socket.MSG_PEEK), told(b))
        tell("explicit", a.sendmsg, [b"two"], mine())
        print(told(b))
        tell("of another user", outcome, a.sendmsg, [b"x"], mine(pid=1, uid=5))
        r, w = os.pipe()
        a.sendmsg([b"three"], [*mine(), (SOL, RIGHTS, array.array("i", [r]))])
        print(told(b))
        a.send(b"four")
        print(told(b, room=0), b.getsockopt(SOL, PASSCRED))
        a.send(b"five")
        print(told(b, room=20))
        b.setsockopt(SOL, PASSCRED, 0)
        while isinstance(outcome(b.recv, 10, 0x40), bytes) and kind != STREAM:
            pass


@case
def of_children() -> None:
    """Of other users, also when they have ended, or have become somebody else."""
    for name, kind in KINDS.items():
        a, b = socket.socketpair(UNIX, kind)
        b.setsockopt(SOL, PASSCRED, 1)
        go, gone = os.pipe()

        def alice() -> None:
            become(ALICE)
            a.send(b"alice")
            os.read(go, 1)  # or a stream makes one of two
            tell("explicit", a.sendmsg, [b"explicit"], mine(uid=ALICE, gid=ALICE))
            tell("as root", a.sendmsg, [b"x"], mine())
            tell("as bob", a.sendmsg, [b"x"], mine(uid=BOB, gid=ALICE))
            os.read(go, 1)

        pid = spawn(alice)
        print(name, told(b, child=pid))
        os.write(gone, b"x")
        print(told(b, child=pid))
        os.write(gone, b"x")
        waited(pid)

        def ended() -> None:
            os.setgid(BOB)
            os.setuid(BOB)
            a.send(b"bob")

        pid = spawn(ended)
        waited(pid)
        print(told(b, child=pid))
        pid = spawn(lambda: (b.setsockopt(SOL, PASSCRED, 1), print(told(b))) and None)
        a.send(b"to a child")
        waited(pid)
        for end in (a, b):
            end.close()


@case
def connections() -> None:
    """What a listener has set, a connection has; both ends; and who the peer is."""
    for name, kind in (("stream", STREAM), ("sequenced", SEQ)):
        server = socket.socket(UNIX, kind)
        server.bind(name)
        server.listen()
        os.chmod(name, 0o777)
        server.setsockopt(SOL, PASSCRED, 1)

        def connect() -> None:
            become(ALICE, BOB)
            s = socket.socket(UNIX, kind)
            s.connect(name)
            s.send(b"hello")
            print("server is", peer(s))
            s.setsockopt(SOL, PASSCRED, 1)
            print(told(s))

        pid = spawn(connect)
        end, _ = server.accept()
        print(name, end.getsockopt(SOL, PASSCRED), told(end, child=pid), peer(end, child=pid))
        end.send(b"back")
        waited(pid)
        print(told(end), peer(end, child=pid))


@case
def of_a_pair_that_was_passed() -> None:
    """Of who made it, whoever uses it."""
    a, b = socket.socketpair()

    def child() -> None:
        become(ALICE)
        print(peer(a), peer(b))

    waited(spawn(child))


@case
def of_datagram_sockets() -> None:
    s = socket.socket(UNIX, DGRAM)
    s.bind("server")
    c = socket.socket(UNIX, DGRAM)
    print(struct.unpack("3i", c.getsockopt(SOL, socket.SO_PEERCRED, 12)))
    c.connect("server")
    print(struct.unpack("3i", c.getsockopt(SOL, socket.SO_PEERCRED, 12)))


@case
def with_threads() -> None:
    """A process with threads that wait in calls, run, and start others."""
    stop = threading.Event()
    r, w = os.pipe()

    def spin() -> None:
        while not stop.is_set():
            sum(range(100))
            os.getppid()

    threads = [
        threading.Thread(target=spin),
        threading.Thread(target=os.read, args=(r, 1)),
        threading.Thread(target=stop.wait),
        threading.Thread(target=time.sleep, args=(0.3,)),
    ]
    for thread in threads:
        thread.start()
    a, b = socket.socketpair()
    for _ in range(20):
        b.setsockopt(SOL, PASSCRED, 1)
        a.send(b"x")
        got = told(b)
        if got == (b"x", [("self", 0, 0)], 0):
            break
    print(got)
    found: list[object] = []

    def receive() -> None:
        found.append(told(b))

    thread = threading.Thread(target=receive)
    thread.start()
    a.send(b"to a thread")
    thread.join()
    stop.set()
    os.write(w, b"x")
    for thread in threads:
        thread.join()
    print(found)


@case
def waiting() -> None:
    """A receiver that waits, and is interrupted."""
    import signal

    from probe import Handled

    for name, kind in KINDS.items():
        a, b = socket.socketpair(UNIX, kind)
        b.setsockopt(SOL, PASSCRED, 1)

        def late() -> None:
            time.sleep(0.1)
            a.send(b"late")

        seen = Handled(signal.SIGALRM, restart=True)
        pid = spawn(late)
        signal.setitimer(signal.ITIMER_REAL, 0.03)
        print(name, told(b, child=pid), seen.count)
        waited(pid)
        b.settimeout(0.05)
        try:
            b.recvmsg(10)
        except TimeoutError:
            print("in time")


@case
def storm() -> None:
    """Many messages while signals arrive."""
    import signal

    from probe import Handled

    a, b = socket.socketpair(UNIX, SEQ)
    b.setsockopt(SOL, PASSCRED, 1)
    seen = Handled(signal.SIGALRM, restart=True)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)

    def sender() -> None:
        for number in range(500):
            a.sendmsg([b"%d" % number], mine())

    pid = spawn(sender)
    good = 0
    for number in range(500):
        good += told(b, child=pid) == (b"%d" % number, [("child", 0, 0)], 0)
    signal.setitimer(signal.ITIMER_REAL, 0, 0)
    print(good, seen.count > 0, waited(pid))
