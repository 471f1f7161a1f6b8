"""Unix sockets (path, abstract, pairs, descriptors, names), TCP and UDP on loopback, netlink."""

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

from probe import (
    ALICE,
    Handled,
    as_user,
    case,
    child,
    describe,
    look,
    outcome,
    put,
    spawn,
    tell,
    until,
    waited,
)

UNIX, STREAM, DGRAM, SEQ = socket.AF_UNIX, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET


def listener(address: object, kind: int = STREAM) -> socket.socket:
    s = socket.socket(UNIX, kind)
    s.bind(address)  # type: ignore[arg-type]
    s.listen(8)
    return s


@case
def by_path() -> None:
    server = listener("sock")
    look("sock")
    client = socket.socket(UNIX)
    client.connect("sock")
    peer, address = server.accept()
    print(
        repr(address),
        client.getpeername(),
        repr(client.getsockname()),
        peer.getsockname(),
        repr(peer.getpeername()),
    )
    client.sendall(b"hello")
    print(peer.recv(10))
    peer.sendall(b"back")
    print(client.recv(10))
    client.close()
    print(peer.recv(10))


@case
def a_client_with_a_name() -> None:
    server = listener("sock")
    for name in ("client", "\0client"):
        client = socket.socket(UNIX)
        client.bind(name)
        client.connect("sock")
        peer, _ = server.accept()
        print(client.getsockname(), client.getpeername(), peer.getsockname(), peer.getpeername())


@case
def address_of_a_client_with_a_name() -> None:
    server = listener("sock")
    client = socket.socket(UNIX)
    client.bind("client")
    client.connect("sock")
    print(server.accept()[1])


@case
def bind_errors() -> None:
    put("file")
    os.mkdir("d")
    os.symlink("nowhere", "link")
    a = socket.socket(UNIX)
    tell("file", a.bind, "file")
    tell("directory", a.bind, "d")
    tell("dangling link", a.bind, "link")
    tell("missing directory", a.bind, "no/sock")
    tell("below a file", a.bind, "file/sock")
    tell("slash", a.bind, "sock/")
    tell("too long", a.bind, "x" * 107)
    look("x" * 107)
    b = socket.socket(UNIX)
    tell("ok", b.bind, "sock")
    tell("again", b.bind, "other")
    tell("taken", socket.socket(UNIX).bind, "sock")
    os.mkdir("closed")
    as_user(ALICE, lambda: tell("no permission", socket.socket(UNIX).bind, "closed/sock"))
    os.umask(0o077)
    socket.socket(UNIX).bind("masked")
    look("masked")


@case
def connect_errors() -> None:
    put("file")
    s = socket.socket(UNIX)
    tell("missing", s.connect, "no")
    tell("file", s.connect, "file")
    tell("directory", s.connect, ".")
    bound = socket.socket(UNIX)
    bound.bind("bound")
    tell("not listening", s.connect, "bound")
    server = listener("server")
    server.close()
    tell("closed", s.connect, "server")
    tell("abstract, missing", s.connect, "\0no such name")
    server = listener("seq", SEQ)
    tell("other kind", s.connect, "seq")
    server = listener("real")
    s.connect("real")
    tell("twice", s.connect, "real")
    os.chmod("real", 0o600)
    as_user(ALICE, lambda: tell("no permission", socket.socket(UNIX).connect, "real"))
    os.chmod("real", 0o002)
    as_user(ALICE, lambda: tell("write permission", socket.socket(UNIX).connect, "real"))
    tell("listening", server.connect, "real")


@case
def names_follow_the_file() -> None:
    server = listener("sock")
    os.rename("sock", "moved")
    client = socket.socket(UNIX)
    tell("old name", client.connect, "sock")
    tell("new name", client.connect, "moved")
    print(client.getpeername(), server.getsockname())
    os.link("moved", "hard")
    tell("hard link", socket.socket(UNIX).connect, "hard")
    os.symlink("moved", "soft")
    tell("symlink", socket.socket(UNIX).connect, "soft")
    os.unlink("moved")
    os.unlink("hard")
    tell("unlinked", socket.socket(UNIX).connect, "moved")
    again = listener("moved")
    client = socket.socket(UNIX)
    client.connect("moved")
    again.settimeout(1)
    again.accept()[0].sendall(b"new one")
    print(client.recv(10))


@case
def relative_names() -> None:
    os.mkdir("d")
    os.chdir("d")
    server = listener("sock")
    os.chdir("..")
    s = socket.socket(UNIX)
    tell("from elsewhere", s.connect, "sock")
    tell("by path", s.connect, "d/sock")
    print(s.getpeername(), server.getsockname())


@case
def abstract() -> None:
    server = listener("\0name\0with\0zeros")
    client = socket.socket(UNIX)
    client.connect("\0name\0with\0zeros")
    print(client.getpeername(), server.getsockname())
    tell("taken", socket.socket(UNIX).bind, "\0name\0with\0zeros")
    tell("shorter", socket.socket(UNIX).connect, "\0name")
    server.close()
    client.close()
    tell("free again", socket.socket(UNIX).bind, "\0name\0with\0zeros")
    s = socket.socket(UNIX)
    s.bind("")
    name = s.getsockname()
    print(type(name), len(name), name[:1])


@case
def pairs() -> None:
    for kind in (STREAM, SEQ, DGRAM):
        a, b = socket.socketpair(UNIX, kind)
        a.send(b"one")
        a.send(b"two")
        print(
            b.recv(10),
            outcome(b.recv, 10, socket.MSG_DONTWAIT),
            a.type == kind,
            repr(a.getsockname()),
            repr(b.getpeername()),
        )
    a, b = socket.socketpair(UNIX, STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    print(a.getblocking(), outcome(a.recv, 1), os.get_inheritable(a.fileno()))
    tell("inet", socket.socketpair, socket.AF_INET, STREAM)
    tell("bad type", socket.socketpair, UNIX, 77)


@case
def datagram_pair_ends() -> None:
    """A datagram pair whose other end is closed."""
    a, b = socket.socketpair(UNIX, DGRAM)
    a.send(b"")
    print(b.recv(10))
    b.close()
    tell("send", a.send, b"x")


@case
def datagrams() -> None:
    server = socket.socket(UNIX, DGRAM)
    server.bind("dgram")
    look("dgram")
    client = socket.socket(UNIX, DGRAM)
    print(client.type == DGRAM, repr(client.getsockname()))
    client.sendto(b"hello", "dgram")
    client.sendto(b"second", "./dgram")
    print(server.recv(3), server.recv(10))
    client.bind("client")
    client.connect("dgram")
    print(client.getsockname(), client.getpeername())
    client.send(b"again")
    client.sendmsg([b"in ", b"parts"])
    print(server.recv(10), server.recv(20))
    server.sendto(b"back", "client")
    print(client.recv(10))
    tell("empty queue", client.recv, 10, socket.MSG_DONTWAIT)
    tell("missing", client.sendto, b"x", "no")
    put("file")
    tell("no socket", client.sendto, b"x", "file")
    tell("of another kind", lambda: listener("stream") and client.connect("stream"))
    tell("taken", socket.socket(UNIX, DGRAM).bind, "dgram")
    tell("listen", server.listen)
    tell("too long", client.sendto, b"x" * 300000, "dgram")


@case
def datagrams_with_names() -> None:
    server, client = (socket.socket(UNIX, DGRAM) for _ in range(2))
    server.bind("\0name")
    client.connect("\0name")
    client.send(b"one")
    print(server.recv(10), server.getsockname(), client.getpeername())
    libc = ctypes.CDLL(None)
    print(libc.connect(client.fileno(), bytes(2), 2))
    tell("no peer any more", client.getpeername)
    client.connect("\0name")
    client.send(b"two")
    print(server.recv(10))
    r, w = os.pipe()
    socket.send_fds(client, [b"with a descriptor"], [w])
    data, fds, _, _ = socket.recv_fds(server, 100, 4)
    os.write(fds[0], b"through it")
    print(data, os.read(r, 20))
    stream = socket.socket(UNIX)
    stream.bind("\0name")
    print("names are apart by kind")
    tell("stream to a datagram socket", lambda: socket.socket(UNIX).connect("\0name"))


@case
def empty_datagrams() -> None:
    server, client = (socket.socket(UNIX, DGRAM) for _ in range(2))
    server.bind("dgram")
    client.connect("dgram")
    for data in (b"", b"one", b"", b"", b"two"):
        client.send(data)
    client.sendto(b"", "dgram")
    print([server.recv(10) for _ in range(6)])
    for data in (b"", b"three", b"", b"four"):
        client.send(data)
    client.close()
    print([server.recv(10) for _ in range(4)])


@case
def datagrams_of_who_has_no_peer() -> None:
    """Nothing that is sent is lost without a word; connected afterwards, it sends and still receives."""
    server, client, third = (socket.socket(UNIX, DGRAM) for _ in range(3))
    server.bind("dgram")
    client.bind("client")
    third.connect("client")
    third.send(b"before")
    print(client.recv(10))
    print("fails", isinstance(outcome(client.send, b"lost"), str), isinstance(outcome(client.send, b""), str))
    tell("empty queue", client.recv, 10, socket.MSG_DONTWAIT)
    poll = select.epoll()
    poll.register(client.fileno(), select.EPOLLIN)
    client.connect("dgram")
    client.send(b"one")
    print(server.recv(10), client.getsockname(), client.getpeername())
    server.sendto(b"back", "client")
    print(poll.poll(5) == [(client.fileno(), select.EPOLLIN)], client.recv(10))
    server.close()
    until(lambda: isinstance(outcome(client.send, b"x"), str))
    print("gone", isinstance(outcome(client.send, b"x"), str))
    again = socket.socket(UNIX, DGRAM)
    os.unlink("dgram")
    again.bind("dgram")
    client.connect("dgram")
    client.send(b"two")
    print(again.recv(10))
    again.connect("dgram")
    again.send(b"to itself")
    print(again.recv(10))


@case
def datagrams_between_processes() -> None:
    server = socket.socket(UNIX, DGRAM)
    server.bind("dgram")

    def sender(number: int, count: int = 200) -> None:
        mine = socket.socket(UNIX, DGRAM)
        mine.connect("dgram")
        for i in range(count):
            mine.send(b"%d %d" % (number, i))

    pids = [spawn(sender, number) for number in range(3)]
    got = [server.recv(100).split() for _ in range(600)]
    for number in (b"0", b"1", b"2"):
        print(number, [int(i) for n, i in got if n == number] == list(range(200)))
    print([waited(pid) for pid in pids])
    e = select.epoll()
    e.register(server.fileno(), select.EPOLLIN)
    print(e.poll(0))
    child(sender, 4, 1)
    print(e.poll(5) == [(server.fileno(), select.EPOLLIN)], server.recv(10))


@case
def datagrams_to_who_does_not_read() -> None:
    """A full queue stops the sender, and goes on when there is room; a server that starts anew is found."""
    server = socket.socket(UNIX, DGRAM)
    server.bind("dgram")
    client = socket.socket(UNIX, DGRAM)
    client.connect("dgram")
    client.setblocking(False)
    sent = 0
    try:
        while sent < 100000:
            client.send(b"%d" % sent)
            sent += 1
    except BlockingIOError:
        print("full", sent > 5)
    got = 0
    server.settimeout(0.2)
    try:
        while server.recv(100) == b"%d" % got:
            got += 1
    except TimeoutError:
        print("all came, in order", got == sent)
    server.close()
    os.unlink("dgram")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    until(lambda: isinstance(outcome(client.send, b"x"), str))
    print("the peer has gone")
    server = socket.socket(UNIX, DGRAM)
    server.bind("dgram")
    client = socket.socket(UNIX, DGRAM)
    client.connect("dgram")
    client.send(b"anew")
    print(server.recv(10))


@case
def datagram_senders() -> None:
    server, client = (socket.socket(UNIX, DGRAM) for _ in range(2))
    server.bind("dgram")
    client.bind("client")
    client.sendto(b"x", "dgram")
    print(server.recvfrom(10))
    tell("message with an address", client.sendmsg, [b"y"], [], 0, "dgram")
    tell("not connected", client.send, b"x")
    tell("neither", socket.socket(UNIX, DGRAM).send, b"x")


@case
def descriptors() -> None:
    a, b = socket.socketpair()
    put("f", b"content")
    fd = os.open("f", os.O_RDONLY)
    directory = os.open(".", os.O_RDONLY)
    socket.send_fds(a, [b"x"], [fd, directory])
    data, fds, flags, _ = socket.recv_fds(b, 10, 4)
    print(data, len(fds), flags, os.read(fds[0], 10), sorted(os.listdir(fds[1])))
    print(os.readlink(f"/proc/self/fd/{fds[0]}") == os.readlink(f"/proc/self/fd/{fd}"))

    def other() -> None:
        _, fds, _, _ = socket.recv_fds(b, 10, 4)
        print("in a child", os.read(fds[0], 3), os.fstat(fds[0]).st_size, sorted(os.listdir(fds[1])))

    os.lseek(fd, 0, 0)
    socket.send_fds(a, [b"x"], [fd, directory])
    child(other)
    tell("bad descriptor", socket.send_fds, a, [b"x"], [99])
    socket.send_fds(a, [b"x"], [fd])
    b.recvmsg(10, 0)
    print("lost without complaint")


@case
def descriptors_after_close() -> None:
    """In flight while the sender has closed it."""
    a, b = socket.socketpair()
    put("f", b"content")
    os.mkdir("d")
    put("d/x")
    fd, directory = os.open("f", os.O_RDONLY), os.open("d", os.O_RDONLY)
    socket.send_fds(a, [b"x"], [fd, directory])
    os.close(fd)
    os.close(directory)
    for i in range(200):
        os.close(os.open(".", os.O_RDONLY))
    _, fds, _, _ = socket.recv_fds(b, 10, 4)
    print(os.read(fds[0], 10), os.listdir(fds[1]))


@case
def credentials() -> None:
    a, b = socket.socketpair()
    pid, uid, gid = struct.unpack("3i", a.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    print(pid == os.getpid(), uid, gid)
    server = listener("sock")
    os.chmod("sock", 0o777)
    pid = spawn(lambda: as_user_connect("sock"))
    peer, _ = server.accept()
    told, uid, gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    print(told == pid, uid, gid)
    peer.close()
    waited(pid)


def as_user_connect(path: str) -> None:
    from probe import become

    become(ALICE)
    s = socket.socket(UNIX)
    s.connect(path)
    s.recv(1)


@case
def credentials_in_messages() -> None:
    a, b = socket.socketpair()
    b.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    a.send(b"x")
    _, control, _, _ = b.recvmsg(10, 100)
    for level, kind, data in control:
        pid, uid, gid = struct.unpack("3i", data)
        print(level == socket.SOL_SOCKET, kind, pid == os.getpid(), uid, gid)
    mine = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
    tell("own", a.sendmsg, [b"y"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, mine)])
    tell(
        "false", a.sendmsg, [b"y"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", 1, 5, 5))]
    )


@case
def nonblocking_connect() -> None:
    server = socket.socket(UNIX)
    server.bind("sock")
    server.listen(1)
    clients = []
    for _ in range(4):
        s = socket.socket(UNIX)
        s.setblocking(False)
        clients.append((s, outcome(s.connect, "sock")))
    print([r for _, r in clients][:2], "EAGAIN" in [r for _, r in clients])


@case
def blocking_connect() -> None:
    """A full backlog makes connect wait until the server accepts."""
    server = socket.socket(UNIX)
    server.bind("sock")
    server.listen(0)
    first = socket.socket(UNIX)
    first.connect("sock")
    done: list[object] = []

    def late() -> None:
        s = socket.socket(UNIX)
        done.append(outcome(s.connect, "sock"))
        s.close()

    thread = threading.Thread(target=late)
    thread.start()
    import time

    time.sleep(0.05)
    print(done)
    server.accept()
    thread.join(2)
    print(done)


@case
def accept_is_interrupted() -> None:
    import signal

    server = listener("sock")
    seen = Handled(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0)
    server.settimeout(None)
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.accept(server.fileno(), None, None)
    print(result, ctypes.get_errno(), seen.count)


@case
def socket_stat() -> None:
    import stat

    s = socket.socket(UNIX)
    info = os.fstat(s.fileno())
    print(stat.filemode(info.st_mode), info.st_size, info.st_nlink, info.st_uid)
    print(os.readlink(f"/proc/self/fd/{s.fileno()}") == f"socket:[{info.st_ino}]")
    tell("open by proc", os.open, f"/proc/self/fd/{s.fileno()}", os.O_RDWR)
    s.bind("sock")
    print(os.stat("sock").st_ino != os.fstat(s.fileno()).st_ino)
    tell("read of the name", os.open, "sock", os.O_RDONLY)
    tell("seek", os.lseek, s.fileno(), 0, 0)
    print(describe("sock"))


@case
def close_on_exec_survives_connect() -> None:
    import fcntl

    listener("sock")
    for cloexec in (0, socket.SOCK_CLOEXEC):
        for nonblock in (0, socket.SOCK_NONBLOCK):
            s = socket.socket(UNIX, STREAM | cloexec | nonblock)
            fd = os.dup(s.fileno())
            os.set_inheritable(s.fileno(), not cloexec)
            s.connect("sock")
            print(
                fcntl.fcntl(s.fileno(), fcntl.F_GETFD),
                bool(fcntl.fcntl(s.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK),
            )
            os.close(fd)


@case
def options_survive_bind_and_connect() -> None:
    """Options set before, duplicates made before, and an epoll that watches."""
    server = listener("sock")
    s = socket.socket(UNIX)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    copy = os.dup(s.fileno())
    e = select.epoll()
    e.register(s.fileno(), select.EPOLLIN)
    s.connect("sock")
    peer, _ = server.accept()
    peer.send(b"x")
    print("passcred", s.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED))
    print(
        "duplicate",
        outcome(lambda: socket.socket(fileno=copy).recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)),
    )
    print("epoll", [events for _, events in e.poll(0.5)])


@case
def epolls_from_before() -> None:
    """Several, of several numbers of the socket, some edge-triggered; what they watch can be changed afterwards."""
    server = listener("sock")
    other, kept = socket.socketpair()
    for kind in ("connected", "bound"):
        s = socket.socket(UNIX)
        copy = os.dup(s.fileno())
        polls = [select.epoll() for _ in range(4)]
        polls[0].register(s.fileno(), select.EPOLLIN)
        polls[0].register(copy, select.EPOLLIN | select.EPOLLET)
        polls[0].register(other.fileno(), select.EPOLLIN)
        polls[1].register(copy, select.EPOLLOUT)
        polls[2].register(s.fileno(), select.EPOLLPRI)
        shared = os.dup(polls[2].fileno())
        if kind == "connected":
            s.connect("sock")
            peer, _ = server.accept()
            peer.send(b"x")
        else:
            s.bind("\0epolls")
            s.listen(1)
            client = socket.socket(UNIX)
            client.connect("\0epolls")
        names = {s.fileno(): "s", copy: "copy"}
        for poll in polls:
            print(kind, sorted((names[fd], events) for fd, events in poll.poll(0.01)))
        print("edge", sorted((names[fd], events) for fd, events in polls[0].poll(0)))
        tell("again", polls[0].register, s.fileno(), select.EPOLLIN)
        tell("change", polls[2].modify, s.fileno(), select.EPOLLIN)
        print(sorted((names[fd], events) for fd, events in polls[2].poll(0.01)))
        tell("remove", polls[1].unregister, copy)
        tell("not there", polls[3].unregister, copy)
        for fd in (copy, shared):
            os.close(fd)
        s.close()
        print("closed", [poll.poll(0) for poll in polls])


@case
def epolls_from_before_and_signals() -> None:
    """The calls are made while signals arrive, also such as interrupt them."""
    server = listener("sock")
    seen = Handled(signal.SIGALRM)
    child_seen = Handled(signal.SIGCHLD)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    good = 0
    for i in range(200):
        if i % 20 == 0:
            pid = spawn(lambda: 0)
        s = socket.socket(UNIX)
        poll = select.epoll()
        poll.register(s.fileno(), select.EPOLLIN)
        s.connect("sock")
        peer, _ = server.accept()
        peer.send(b"x")
        good += poll.poll(5) == [(s.fileno(), select.EPOLLIN)]
        poll.close()
        s.close()
        peer.close()
        if i % 20 == 19:
            waited(pid)
    signal.setitimer(signal.ITIMER_REAL, 0, 0)
    print(good, seen.count > 0, child_seen.count > 0)


@case
def tcp() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    peer, address = server.accept()
    print(address == client.getsockname(), client.getpeername() == ("127.0.0.1", port))
    client.sendall(b"x" * 100000)
    client.shutdown(socket.SHUT_WR)
    total = 0
    while data := peer.recv(65536):
        total += len(data)
    print(total)
    peer.close()
    print(client.recv(1))
    tell("taken", lambda: socket.socket().bind(("127.0.0.1", port)))
    server.close()
    tell("refused", socket.create_connection, ("127.0.0.1", port), 2)


@case
def tcp_errors() -> None:
    s = socket.socket()
    tell("send", s.send, b"x")
    tell("name", s.getpeername)
    print(s.getsockname())
    tell("listen twice", lambda: (s.listen(), s.listen()))
    tell("unroutable", socket.socket().bind, ("203.0.113.1", 0))
    tell("accept of a client", lambda: socket.socket().accept())
    n = socket.socket()
    n.setblocking(False)
    server = socket.create_server(("127.0.0.1", 0))
    tell("nonblocking", n.connect, server.getsockname())
    select.select([], [n], [], 1)
    print(n.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    tell("family", socket.socket, 77)
    tell("type", socket.socket, socket.AF_INET, 77)


@case
def udp() -> None:
    a = socket.socket(type=DGRAM)
    b = socket.socket(type=DGRAM)
    a.bind(("127.0.0.1", 0))
    b.sendto(b"hello", a.getsockname())
    data, address = a.recvfrom(10)
    a.sendto(b"back", address)
    print(data, b.recv(10))
    b.connect(a.getsockname())
    b.send(b"connected")
    print(a.recv(20))


@case
def ipv6() -> None:
    server = outcome(socket.create_server, ("::1", 0), family=socket.AF_INET6)
    if isinstance(server, str):
        print(server)
        return
    client = socket.create_connection(server.getsockname()[:2])
    peer, _ = server.accept()
    peer.send(b"six")
    print(client.recv(5))


@case
def privileged_ports() -> None:
    def bind() -> None:
        tell("port 801", lambda: socket.socket().bind(("127.0.0.1", 801)))

    bind()


@case
def netlink() -> None:
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    tell("bind", s.bind, (0, 0))
    print(s.getsockname()[0] != 0)
    print(any(name == "lo" for _, name in socket.if_nameindex()))
    tell("audit", socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 77)


@case
def names_of_the_host() -> None:
    print(socket.gethostname())
    print(socket.getaddrinfo("127.0.0.1", 80, type=STREAM)[0][4])


@case
def scatter_and_gather() -> None:
    a, b = socket.socketpair()
    print(a.sendmsg([b"ab", b"cd", b"ef"]))
    one, two = bytearray(3), bytearray(10)
    print(b.recvmsg_into([one, two])[0], one, two[:3])
    print(outcome(b.recvmsg, 1, 0, socket.MSG_DONTWAIT))
    a.sendall(b"peek")
    print(b.recv(2, socket.MSG_PEEK), b.recv(10))
    value = array.array("i", [0])
    import fcntl
    import termios

    a.sendall(b"12345")
    fcntl.ioctl(b, termios.FIONREAD, value)
    print(value[0])
    until(lambda: True)


@case
def datagrams_of_who_has_gone() -> None:
    """Messages that wait for room in a full queue arrive, even if their sender has ended."""
    server = socket.socket(UNIX, DGRAM)
    server.bind("dgram")

    def sender(number: int) -> None:
        mine = socket.socket(UNIX, DGRAM)
        mine.connect("dgram")
        for i in range(60):
            mine.send(b"%d %03d" % (number, i) + bytes(1000))

    pids = [spawn(sender, number) for number in range(8)]
    got = []
    for _ in range(480):
        got.append(server.recv(2000)[:5])
        if len(got) % 40 == 0:
            time.sleep(0.01)
    for number in range(8):
        mine = [m for m in got if m.startswith(b"%d" % number)]
        print(number, mine == [b"%d %03d" % (number, i) for i in range(60)])
    print([waited(pid) for pid in pids])
