"""Unix datagrams: who sent them, every call that sends or receives, what is sent along, and who is not there."""

from __future__ import annotations

import array
import ctypes
import os
import select
import signal
import socket
import struct
import threading
import time

from probe import ALICE, Handled, as_user, become, case, child, name_of, outcome, spawn, tell, until, waited

UNIX, DGRAM = socket.AF_UNIX, socket.SOCK_DGRAM
SOL, RIGHTS, CREDENTIALS, PASSCRED = socket.SOL_SOCKET, socket.SCM_RIGHTS, 2, socket.SO_PASSCRED
WAITFORONE = 0x10000
libc = ctypes.CDLL(None, use_errno=True)


def bound(address: object) -> socket.socket:
    s = socket.socket(UNIX, DGRAM)
    s.bind(address)  # type: ignore[arg-type]
    return s


def free() -> socket.socket:
    return socket.socket(UNIX, DGRAM)


class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Header(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("name_size", ctypes.c_uint32), ("parts", ctypes.POINTER(Part)),
        ("count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]  # fmt: skip


class Many(ctypes.Structure):
    _fields_ = [("header", Header), ("size", ctypes.c_uint32)]


def address(path: str) -> bytes:
    return struct.pack("<H", UNIX) + path.encode() + (b"" if path[:1] == "\0" else b"\0")


def prepared(messages: list[tuple[ctypes.Array, bytes]]) -> tuple[ctypes.Array, list[object]]:
    """struct mmsghdr of buffers and addresses, and what must live as long."""
    kept: list[object] = []
    many = (Many * len(messages))()
    for each, (buffer, name) in zip(many, messages, strict=True):
        part = Part(ctypes.addressof(buffer), len(buffer))
        text = ctypes.create_string_buffer(name, len(name)) if name else None
        kept += [buffer, part, text]
        each.header.parts = ctypes.pointer(part)
        each.header.count = 1
        if text is not None:
            each.header.name, each.header.name_size = ctypes.addressof(text), len(name)
    return many, kept


def called(name: str, *args: object) -> object:
    ctypes.set_errno(0)
    result = getattr(libc, name)(*args)
    return name_of(ctypes.get_errno()) if result < 0 else result


@case
def senders() -> None:
    """By path, relative and absolute, by abstract name, by autobind, without a name."""
    server = bound("server")
    os.mkdir("d")
    for name in ("client", "./d/client", os.path.abspath("d/other"), "\0abstract\0name", None):
        client = free() if name is None else bound(name)
        client.sendto(b"x", "server")
        client.sendmsg([b"y", b"z"], [], 0, "server")
        client.connect("server")
        client.send(b"connected")
        for _ in range(3):
            data, sender = server.recvfrom(20)
            print(data, repr(sender).replace(os.getcwd(), "HERE"))
    client = free()
    client.bind("")
    client.sendto(b"x", "server")
    print(server.recvfrom(10)[1] == client.getsockname())


@case
def ask_and_answer() -> None:
    server = bound("\0server")

    def serve() -> None:
        for _ in range(30):
            data, sender = server.recvfrom(100)
            server.sendto(b"answer to " + data, sender)

    pid = spawn(serve)
    server.close()
    for number, name in enumerate(("one", "\0two", "three")):
        client = bound(name)
        if number == 2:
            client.connect("\0server")
        for turn in range(10):
            question = b"%d %d" % (number, turn)
            if number == 2:
                client.send(question)
            elif turn % 2:
                client.sendto(question, "\0server")
            else:
                client.sendmsg([question], [], 0, "\0server")
            data, sender = client.recvfrom(100)
            if turn in (0, 9):
                print(data, sender)
    print(waited(pid))


@case
def messages_with_names() -> None:
    """recvmsg's name, how long it was, and what was too long."""
    server, client = bound("server"), bound("client with a name")
    client.sendto(b"hello", "server")
    print(server.recvmsg(10))
    client.sendto(b"hello", "server")
    print(server.recvmsg(3))
    free().sendto(b"hello", "server")
    print(server.recvmsg(10))
    client.sendto(b"hello", "server")
    print(server.recvmsg(10, 0, socket.MSG_PEEK), server.recvmsg(3, 0, socket.MSG_PEEK | socket.MSG_TRUNC))
    data, sender = server.recvfrom(2, socket.MSG_PEEK | socket.MSG_TRUNC)
    print(len(data), data[:2], sender)  # behind them is whatever was in Python's memory
    print(server.recvfrom(10), outcome(server.recv, 1, 0x40))
    one, two = bytearray(3), bytearray(10)
    client.sendto(b"scattered", "server")
    print(server.recvmsg_into([one, two]), one, two[:6])
    client.sendto(b"", "server")
    print(server.recvmsg(10))
    # what is read by calls that do not ask for the sender
    other = bound("other")
    for who in (client, other, client, other, client):
        who.sendto(b"same size", "server")
    print(server.recv(20), server.recvfrom(20)[1], os.read(server.fileno(), 20), server.recvfrom(20)[1])
    print(server.recvmsg(20)[3])


@case
def names_that_are_cut() -> None:
    server, client = bound("server"), bound("client")
    for room in (0, 1, 2, 5, 9, 10, 100, -1):
        client.sendto(b"x", "server")
        buffer, name, size = ctypes.create_string_buffer(10), ctypes.create_string_buffer(b"-" * 20), ctypes.c_int(room)
        result = called("recvfrom", server.fileno(), buffer, 10, 0, name, ctypes.byref(size))
        print(room, result, size.value, name.raw)
    outcome(server.recv, 10, 0x40)
    client.sendto(b"x", "server")
    print(called("recvfrom", server.fileno(), buffer, 10, 0, name, None))
    client.sendto(b"x", "server")
    print(called("recvfrom", server.fileno(), buffer, 10, 0, None, ctypes.byref(size)))


@case
def many_messages() -> None:
    """sendmmsg and recvmmsg, to several receivers and from several senders."""
    server, second, client = bound("server"), bound("\0second"), bound("client")
    texts = [ctypes.create_string_buffer(text, len(text)) for text in (b"one", b"two!", b"three", b"four")]
    many, _kept = prepared(list(zip(texts, map(address, ("server", "\0second", "server", "server")), strict=True)))
    print(called("sendmmsg", client.fileno(), many, 4, 0), [each.size for each in many])
    print(second.recvfrom(10))
    free().sendto(b"unnamed", "server")
    many, kept = prepared([(ctypes.create_string_buffer(10), b"-" * 30) for _ in range(6)])
    print(called("recvmmsg", server.fileno(), many, 6, socket.MSG_DONTWAIT, None))
    for each, text, name in list(zip(many, kept[::3], kept[2::3], strict=True))[:4]:
        print(each.size, text.raw[: each.size], each.header.name_size, name.raw[: each.header.name_size])
    print(called("recvmmsg", server.fileno(), many, 6, socket.MSG_DONTWAIT, None))
    client.sendto(b"x", "server")
    print(called("recvmmsg", server.fileno(), many, 6, WAITFORONE, None), many[0].size)
    client.sendto(b"x", "server")
    print(called("recvmmsg", server.fileno(), many, 1, 0, None))
    print(called("recvmmsg", server.fileno(), many, 0, 0, None))

    def late() -> None:
        time.sleep(0.05)
        bound("late").sendto(b"late", "server")

    pid = spawn(late)
    print(called("recvmmsg", server.fileno(), many, 6, WAITFORONE, None), kept[2].raw[: many[0].header.name_size])
    waited(pid)
    many, _kept = prepared(list(zip(texts, map(address, ("server", "\0second", "missing", "server")), strict=True)))
    print(called("sendmmsg", client.fileno(), many, 4, 0), server.recv(10), second.recv(10))
    many, _kept = prepared(list(zip(texts, map(address, ("missing", "server", "server", "server")), strict=True)))
    print(called("sendmmsg", client.fileno(), many, 4, 0), called("sendmmsg", client.fileno(), many, 0, 0))


@case
def who_is_not_there() -> None:
    _server, client = bound("server"), bound("client")
    for send in (lambda name: client.sendto(b"x", name), lambda name: client.sendmsg([b"x"], [], 0, name)):
        tell("missing", send, "no")
        tell("no directory", send, "no/server")
        tell("directory", send, ".")
        tell("abstract, missing", send, "\0no such name")
        tell("empty", send, "")
        stream = socket.socket(UNIX)
        outcome(os.unlink, "stream")
        stream.bind("stream")
        tell("of another kind", send, "stream")
        tell("connect to another kind", client.connect, "stream")
        stream.close()
        tell("nobody", send, "stream")
    tell("not connected", client.send, b"x")
    tell("not connected", client.sendmsg, [b"x"])
    tell("new, not connected", free().send, b"x")
    tell("no peer", client.getpeername)
    os.chmod("server", 0o600)
    as_user(ALICE, lambda: tell("no permission", free().sendto, b"x", "server"))
    os.chmod("server", 0o222)
    as_user(ALICE, lambda: tell("may write", free().sendto, b"x", "server"))
    tell("bad address", lambda: called("sendto", client.fileno(), b"x", 1, 0, None, 10) or None)
    print(called("sendto", client.fileno(), b"x", 1, 0, b"\2\0" + bytes(14), 16))
    print(called("sendto", client.fileno(), b"x", 1, 0, address("server"), 1))
    print(called("sendto", client.fileno(), b"x", 1, 0, address("server"), 200))
    print(called("sendto", client.fileno(), 1, 1, 0, address("server"), 9))
    print(called("sendto", client.fileno(), 1, 0, 0, address("server"), 9))
    print(called("sendmsg", client.fileno(), 1, 0))
    tell("too long", client.sendmsg, [b"x" * 300000], [], 0, "server")
    tell("out of band", client.sendto, b"x", socket.MSG_OOB, "server")
    stream = socket.socket(UNIX)
    tell("stream with an address", stream.sendto, b"x", "server")


@case
def the_peer_goes() -> None:
    client = bound("client")
    for name in ("server", "\0server"):
        server = bound(name)
        client.connect(name)
        server.close()
        print(client.getpeername())
        tell("send", client.send, b"x")
        tell("again", client.send, b"x")
        tell("no peer any more", client.getpeername)
        tell("still receives", client.recv, 10, socket.MSG_DONTWAIT)
        free().sendto(b"to the client", "client")
        print(client.recvfrom(20))
        outcome(os.unlink, "server")
        server = bound(name)
        client.connect(name)
        client.send(b"a new one")
        print(server.recvfrom(20))
        server.close()
        tell("message", client.sendmsg, [b"x"])
        tell("with an address", client.sendto, b"x", name)
        outcome(os.unlink, "server")
    poll = select.poll()
    poll.register(client, select.POLLIN | select.POLLOUT)
    print([events & select.POLLIN for _, events in poll.poll(0)])


@case
def one_peer_only() -> None:
    """Who is connected receives from its peer; the others are told."""
    a, b, c = bound("a"), bound("b"), bound("c")
    a.connect("b")
    tell("other", c.sendto, b"x", "a")
    tell("other, connecting", c.connect, "a")
    tell("unnamed", free().sendto, b"x", "a")
    tell("peer", b.sendto, b"x", "a")
    print(a.recvfrom(10))
    b.connect("a")
    b.send(b"both")
    a.send(b"ways")
    print(a.recvfrom(10), b.recvfrom(10))
    print(libc.connect(a.fileno(), bytes(2), 2))
    tell("other, after all", c.sendto, b"x", "a")
    print(a.recvfrom(10))
    a.connect("a")
    a.send(b"itself")
    print(a.recvfrom(10))
    tell("other", c.sendto, b"x", "a")


@case
def unread_when_connected() -> None:
    """What was there before is still to be read."""
    server, client = bound("server"), bound("client")
    for number in range(3):
        server.sendto(b"before %d" % number, "client")
    r, w = os.pipe()
    server.sendmsg([b"pipe"], [(SOL, RIGHTS, array.array("i", [w]))], 0, "client")
    client.connect("server")
    for _ in range(3):
        print(client.recvfrom(20))
    data, fds, _, sender = socket.recv_fds(client, 10, 2)
    os.write(fds[0], b"through")
    print(data, sender, os.read(r, 10))


@case
def descriptors_with_an_address() -> None:
    server, client = bound("server"), bound("client")
    r, w = os.pipe()
    directory = os.open(".", os.O_RDONLY)
    print(client.sendmsg([b"two"], [(SOL, RIGHTS, array.array("i", [w, directory]))], 0, "server"))
    os.close(w)
    os.close(directory)
    data, fds, flags, sender = socket.recv_fds(server, 10, 4)
    os.write(fds[0], b"through")
    print(data, len(fds), flags, sender, os.read(r, 10), sorted(os.listdir(fds[1])))
    client.connect("server")
    client.sendmsg([b"connected"], [(SOL, RIGHTS, array.array("i", [r]))])
    data, fds, flags, sender = socket.recv_fds(server, 10, 4)
    print(data, len(fds), flags, sender)
    tell("bad descriptor", client.sendmsg, [b"x"], [(SOL, RIGHTS, array.array("i", [99]))], 0, "server")
    many = array.array("i", [r] * 253)
    print(client.sendmsg([b"x"], [(SOL, RIGHTS, many)], 0, "server"), len(socket.recv_fds(server, 10, 300)[1]))
    tell("too many", client.sendmsg, [b"x"], [(SOL, RIGHTS, array.array("i", [r] * 254))], 0, "server")
    tell("unknown kind", client.sendmsg, [b"x"], [(SOL, 99, b"1234")], 0, "server")
    print(client.sendmsg([b"of another level"], [(0, 1, b"1234")], 0, "server"), server.recv(20))
    client.sendmsg([b"x"], [(SOL, RIGHTS, array.array("i", [r]))], 0, "server")
    print(server.recvmsg(10)[2] == socket.MSG_CTRUNC)
    client.sendmsg([], [(SOL, RIGHTS, array.array("i", [r]))], 0, "server")
    print(len(socket.recv_fds(server, 10, 4)[1]))


def told(control: list[tuple[int, int, bytes]]) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for level, kind, data in control:
        if (level, kind) == (SOL, CREDENTIALS):
            pid, uid, gid = struct.unpack("3i", data)
            found.append(("self" if pid == os.getpid() else "parent" if pid == os.getppid() else "other", uid, gid))
        else:
            found.append((level, kind, len(data)))
    return found


def mine(pid: int | None = None, uid: int | None = None, gid: int | None = None) -> list[tuple[int, int, bytes]]:
    words = (os.getpid() if pid is None else pid, os.getuid() if uid is None else uid, os.getgid() if gid is None else gid)
    return [(SOL, CREDENTIALS, struct.pack("3i", *words))]


@case
def credentials_of_senders() -> None:
    server, client = bound("server"), bound("client")
    os.chmod("server", 0o777)
    client.sendto(b"before", "server")
    server.setsockopt(SOL, PASSCRED, 1)
    client.sendto(b"x", "server")
    client.sendmsg([b"y"], mine(), 0, "server")
    client.connect("server")
    client.send(b"z")
    server.recv(10)
    for _ in range(3):
        data, control, flags, sender = server.recvmsg(10, 100)
        print(data, told(control), flags, sender)

    def as_alice(real: bool) -> None:
        if real:
            become(ALICE)
        else:
            os.setegid(ALICE)
            os.seteuid(ALICE)
        s = free()
        s.sendto(b"alice", "server")
        tell("as root", s.sendmsg, [b"x"], mine(uid=0), 0, "server")
        tell("of root's group", s.sendmsg, [b"x"], mine(gid=0), 0, "server")
        tell("as the parent", s.sendmsg, [b"x"], mine(pid=os.getppid()), 0, "server")
        tell("as bob", s.sendmsg, [b"x"], mine(uid=1001), 0, "server")

    for real in (True, False):
        pid = spawn(as_alice, real)
        waited(pid)
        while True:
            got = outcome(server.recvmsg, 10, 100, socket.MSG_DONTWAIT)
            if isinstance(got, str):
                break
            who = struct.unpack("3i", got[1][0][2])
            print(got[0], who[0] == pid, who[1:])
    tell("root as alice", client.sendmsg, [b"x"], mine(uid=ALICE, gid=ALICE), 0, "server")
    print(told(server.recvmsg(10, 100)[1]))
    tell("as another process", client.sendmsg, [b"x"], mine(pid=1), 0, "server")
    r, w = os.pipe()
    client.sendmsg([b"all"], [*mine(), (SOL, RIGHTS, array.array("i", [r, w]))], 0, "server")
    data, control, flags, sender = server.recvmsg(10, 100)
    print(data, sorted(map(str, told(control))), flags, sender)
    client.send(b"cut")
    print(server.recvmsg(10, 20)[2] & socket.MSG_CTRUNC == socket.MSG_CTRUNC)
    print(server.getsockopt(SOL, PASSCRED))


@case
def credentials_bring_a_name() -> None:
    server = bound("server")
    for how in ("sendto", "connect"):
        client = free()
        client.setsockopt(SOL, PASSCRED, 1)
        print(repr(client.getsockname()))
        if how == "connect":
            client.connect("server")
        else:
            client.sendto(b"x", "server")
            print(server.recvfrom(10)[1] == client.getsockname())
        print(len(client.getsockname()))


@case
def waiting_for_a_message() -> None:
    """In each call, ended by a message, a signal or a time."""
    server = bound("server")

    def late() -> None:
        time.sleep(0.05)
        bound(f"\0late{os.getpid()}").sendto(b"late", "server")

    for receive in (server.recvfrom, server.recvmsg):
        pid = spawn(late)
        got = receive(10)
        print(got[0], got[-1] == b"\0late%d" % pid)
        waited(pid)
    for restart in (False, True):
        seen = Handled(signal.SIGALRM, restart)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0)
        pid = spawn(lambda: (time.sleep(0.15), late()) and None) if restart else 0
        buffer, name, size = ctypes.create_string_buffer(10), ctypes.create_string_buffer(20), ctypes.c_int(20)
        print(called("recvfrom", server.fileno(), buffer, 10, 0, name, ctypes.byref(size)))
        signal.setitimer(signal.ITIMER_REAL, 0, 0)
        print(seen.count, size.value == 2 + len(f"\0late{pid}"))
        if pid:
            waited(pid)
    server.setsockopt(SOL, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50000))
    started = time.monotonic()
    print(outcome(server.recvfrom, 10), 0.04 < time.monotonic() - started < 2)
    print(outcome(server.recvmsg, 10))


@case
def waiting_for_room() -> None:
    """A full queue, in each call that sends with an address."""
    server, client = bound("server"), bound("client")
    client.setblocking(False)
    for send in (lambda: client.sendto(b"x" * 3000, "server"), lambda: client.sendmsg([b"x" * 3000], [], 0, "server")):
        sent = 0
        while outcome(send) == 3000:
            sent += 1
        print("full", outcome(send), sent > 5)
        while isinstance(outcome(server.recvfrom, 10, socket.MSG_DONTWAIT), tuple):
            sent -= 1
        print("all came", sent)
    while outcome(send) == 3000:
        pass
    client.setblocking(True)

    def drain() -> None:
        time.sleep(0.05)
        while server.recvfrom(10)[0] != b"end":
            pass

    pid = spawn(drain)
    print(send(), client.sendto(b"end", "server"), waited(pid))
    client.setblocking(False)
    while outcome(send) == 3000:
        pass
    client.setblocking(True)
    seen = Handled(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0)
    print(called("sendto", client.fileno(), b"x" * 3000, 3000, 0, address("server"), len(address("server"))), seen.count)
    client.setsockopt(SOL, socket.SO_SNDTIMEO, struct.pack("ll", 0, 50000))
    print(outcome(client.sendto, b"x" * 3000, "server"))


@case
def signals_lose_nothing() -> None:
    """A storm of them while messages go back and forth."""
    server = bound("server")

    def serve() -> None:
        Handled(signal.SIGALRM, restart=True)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for _ in range(300):
            data, sender = server.recvfrom(100)
            server.sendmsg([data], [], 0, sender)

    pid = spawn(serve)
    seen = Handled(signal.SIGALRM, restart=True)
    client = bound("client")
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    good = 0
    for number in range(300):
        client.sendmsg([b"%d" % number], [], 0, "server")
        good += client.recvfrom(100) == (b"%d" % number, "server")
    signal.setitimer(signal.ITIMER_REAL, 0, 0)
    print(good, seen.count > 0, waited(pid))


@case
def several_readers() -> None:
    """Threads and processes that wait on one socket: each message goes to one, with its sender."""
    server = bound("server")
    got: list[bool] = []

    def read() -> None:
        while True:
            data, sender = server.recvfrom(100)
            if data == b"end":
                return
            got.append(data.decode() == sender)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    clients = [bound(f"client{number}") for number in range(10)]
    for _ in range(20):
        for number, client in enumerate(clients):
            client.sendto(b"client%d" % number, "server")
    for _ in threads:
        clients[0].sendto(b"end", "server")
    for thread in threads:
        thread.join(5)
    print(len(got), all(got))

    def process() -> None:
        for _ in range(10):
            data, sender = server.recvfrom(100)
            if data.decode() != sender:
                print("wrong", data, sender)

    pids = [spawn(process) for _ in range(3)]
    for turn in range(30):
        clients[turn % 10].sendto(b"client%d" % (turn % 10), "server")
    print([waited(pid) for pid in pids])


@case
def from_threads() -> None:
    """Several send by one socket that has no peer, each to another."""
    client = bound("client")
    servers = [bound(f"server{number}") for number in range(4)]

    def send(number: int) -> None:
        for turn in range(50):
            client.sendmsg([b"%d %d" % (number, turn)], [], 0, f"server{number}")

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number, server in enumerate(servers):
        got = [server.recvfrom(20) for _ in range(50)]
        print(got == [(b"%d %d" % (number, turn), "client") for turn in range(50)])


@case
def forked_and_inherited() -> None:
    server, client = bound("server"), bound("client")
    child(lambda: client.sendmsg([b"of a child"], [], 0, "server") and 0)
    print(server.recvfrom(20))
    os.set_inheritable(client.fileno(), True)
    program = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.sendmsg([b'of a program'], [], 0, 'server')"
    pid = os.fork()
    if pid == 0:
        os.execv("/usr/bin/python3", ["python3", "-c", program, str(client.fileno())])
    print(waited(pid), server.recvfrom(20))


@case
def shut_down() -> None:
    server, client = bound("server"), bound("client")
    client.connect("server")
    client.send(b"before")
    client.shutdown(socket.SHUT_WR)
    tell("send", client.send, b"x")
    tell("with an address", client.sendto, b"x", "server")
    print(server.recvfrom(10), outcome(server.recv, 10, 0x40))
    server.sendto(b"back", "client")
    print(client.recvfrom(10))
    server.shutdown(socket.SHUT_RD)
    other = bound("other")
    tell("to who does not receive", other.sendto, b"x", "server")
    for how in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
        for peer in (None, "other"):
            s = bound(f"s{how}{peer}")
            if peer:
                s.connect(peer)
                os.write(s.fileno(), b"before")
            s.shutdown(how)
            s.shutdown(how)
            tell("sends", s.sendto, b"x", "other")
            tell("receives", other.sendto, b"x", f"s{how}{peer}")
            print(outcome(s.recvfrom, 10, 0x40))
            s.close()
            tell("closed", other.sendto, b"x", f"s{how}{peer}")
            while isinstance(got := outcome(other.recvfrom, 10, 0x40), tuple):
                print(got)


@case
def ready_when() -> None:
    """poll(2) of sockets without a peer, with one, and with one that has gone."""
    server, client, new = bound("server"), bound("client"), free()
    poll = select.poll()
    for s in (server, client, new):
        poll.register(s, select.POLLIN)
    print(poll.poll(0))
    client.connect("server")
    client.send(b"x")
    print([(fd == server.fileno(), events) for fd, events in poll.poll(1000)])
    server.recv(1)
    server.sendto(b"y", "client")
    print([(fd == client.fileno(), events) for fd, events in poll.poll(1000)])
    print(client.recvfrom(10), poll.poll(0))
    until(lambda: True)


@case
def who_waits_for_room_is_told() -> None:
    """That the receiver has gone; with descriptors and without."""
    for descriptors in (False, True):
        server, client = bound("server"), bound("client")
        client.setblocking(False)
        while outcome(client.sendto, b"x" * 3000, "server") == 3000:
            pass
        client.setblocking(True)
        rights = [(SOL, RIGHTS, array.array("i", [0]))] if descriptors else []

        def send(message: list[tuple[int, int, array.array[int]]] = rights) -> None:
            server.close()
            tell("sent", client.sendmsg, [b"y" * 3000], message, 0, "server")

        pid = spawn(send)
        time.sleep(0.1)
        server.close()
        print(waited(pid))
        client.close()
        os.unlink("server")
        os.unlink("client")
