"""Sockets of the host: by path, by abstract name, by datagrams, and by what a socket tells of its other end."""

import array
import ctypes
import os
import socket
import struct
import sys

from attempts import attempt, syscall, unix_address

path, abstract, directory = sys.argv[1], "\0" + sys.argv[2], sys.argv[3]
STREAM, DATAGRAM, SEQUENCED = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET


def new(kind=STREAM):
    return socket.socket(socket.AF_UNIX, kind)


def raw(kind):
    pair = (ctypes.c_int * 2)()
    syscall(53, 1, kind, 0, pair)
    return socket.socket(fileno=pair[0]), socket.socket(fileno=pair[1])


def send(end, target):
    """Every way to say whom a message is for. What a connected socket sends goes to its own peer."""
    address = ctypes.create_string_buffer(unix_address(target.encode()))
    length = 2 + len(target) + (target[0] != "\0")
    syscall(44, end.fileno(), b"hello", 5, 0x4040, address, length)
    return "sent"


for target in (path, path + ".dgram", abstract, abstract + ".dgram"):
    shown = target.replace("\0", "@")
    attempt(f"connect to {shown}", lambda: new().connect(target))
    attempt(f"connect of sequenced packets to {shown}", lambda: new(SEQUENCED).connect(target))
    attempt(f"a datagram socket to {shown}", lambda: new(DATAGRAM).sendto(b"x", target))
    for kind in (1, 2, 3, 5):
        attempt(f"a socket of kind {kind}", lambda: socket.socket(socket.AF_UNIX, kind), lambda r: True)
        ends = attempt(f"a pair of kind {kind}", lambda: raw(kind), lambda r: True)
        if ends is None:
            continue
        attempt(f"connect of a pair {kind} to {shown}", lambda: ends[0].connect(target))
        attempt(
            f"bind of a pair {kind} to {shown}",
            lambda: ends[0].bind(target + "-planted"),
            lambda r: kind in (2, 3) and target[0] == "\0",  # a name of the container's own
        )
        attempt(f"message of a pair {kind} to {shown}", lambda: send(ends[0], target), lambda r: True)
        ends[1].close()
        attempt(f"connect of a lonely pair {kind} to {shown}", lambda: ends[0].connect(target))
        attempt(f"message of a lonely pair {kind} to {shown}", lambda: send(ends[0], target))

# thousands of sockets, so that the first ones are forgotten
keep = new()
inside = new()
inside.bind("/tmp/inside")
inside.listen(10)
peer = new()
peer.connect("/tmp/inside")
accepted = inside.accept()[0]
for _ in range(6000):
    new().close()
for name, end in (("first", keep), ("listening", inside), ("connected", peer), ("accepted", accepted)):
    attempt(f"connect of the {name}", lambda: end.connect(path))
    attempt(f"connect of the {name} to a name", lambda: end.connect(abstract))
    attempt(f"bind of the {name}", lambda: end.bind(f"{directory}/planted"))
    attempt(f"bind of the {name} to a name", lambda: end.bind(abstract + "-planted"), lambda r: end is keep)

# through a socket: descriptors and what is known of the sender
left, right = socket.socketpair()
middle = new()
left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [middle.fileno()]))])
middle.close()
for _ in range(6000):
    new().close()
received = socket.socket(fileno=array.array("i", right.recvmsg(1, 100)[1][0][2])[0])
attempt("connect of one that was in flight", lambda: received.connect(path))
attempt("connect to a name of one that was in flight", lambda: received.connect(abstract))
for name, end in (("pair", left), ("connected", peer), ("accepted", accepted)):
    pid = struct.unpack("iII", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    attempt(f"the peer of the {name}", lambda: pid, lambda r: r == os.getpid())
    attempt(f"a descriptor of the peer of the {name}", lambda: end.getsockopt(socket.SOL_SOCKET, 77, 4))
    for other in (os.getpid() + 1, os.getppid()):
        credentials = struct.pack("iII", other, 0, 0)
        attempt(
            f"credentials of somebody else by the {name}",
            lambda: end.sendmsg([b"x"], [(socket.SOL_SOCKET, 2, credentials)]),
        )
with open("/proc/net/unix") as file:
    text = file.read()
text = text.replace(sys.argv[2] + "-planted", "")  # ours
attempt("names of the host's sockets", lambda: text, lambda r: path not in r and sys.argv[2] not in r)
for family in (*range(3, 46), 1 << 16):
    if family not in (socket.AF_INET6, socket.AF_NETLINK):
        attempt(f"family {family}", lambda: syscall(41, family, 3, 0))
for protocol in range(1, 23):
    attempt(f"netlink {protocol}", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))
attempt("raw internet", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packets", lambda: socket.socket(17, socket.SOCK_RAW, 3))
