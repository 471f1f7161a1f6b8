"""Datagrams to sockets of the host and of another container, by every call that takes an address, while other threads
change it; and datagrams that would make the kernel hold more than it should.

datagrams PATH NAME [listen]     a path and an abstract name that are not this container's
"""

import array
import ctypes
import os
import socket
import sys
import threading
import time

from attempts import attempt, libc, syscall, unix_address

path, abstract = sys.argv[1], "\0" + sys.argv[2]
UNIX, DATAGRAM = socket.AF_UNIX, socket.SOCK_DGRAM


def new():
    return socket.socket(UNIX, DATAGRAM)


if sys.argv[3:] == ["listen"]:  # the other container
    receiver = new()
    receiver.bind(abstract)
    print("ready", flush=True)
    receiver.settimeout(60)
    try:
        print("ESCAPED", receiver.recvfrom(100))
    except TimeoutError:
        pass
    sys.exit()

own = new()
own.bind("\0own")
places = []
for order, (name, s) in enumerate(
    (("new", new()), ("bound", new()), ("connected", new()), ("a pair's", socket.socketpair(UNIX, DATAGRAM)[0]))
):
    places.append((name, s))
    for number in (100, 980, 1010, 1500):  # duplicates, also under numbers that the kernel sees
        os.dup2(s.fileno(), number + order)
        places.append((f"{name} as {number + order}", socket.socket(fileno=number + order)))
places[5][1].bind("\0bound")
places[10][1].connect("\0own")
for target in (path, path + ".dgram", abstract, abstract + ".dgram"):
    for name, s in places:
        address = unix_address(target.encode()) + (b"" if target[0] == "\0" else b"\0")
        attempt(f"connect of {name}", lambda: libc.connect(s.fileno(), address, len(address)), lambda r: r < 0)
        attempt(f"sendto of {name}", lambda: syscall(44, s.fileno(), b"hello", 5, 0x40, address, len(address)))
        # under a number that the kernel does not see, it goes to the own peer
        attempt(f"sendmsg of {name}", lambda: s.sendmsg([b"hello"], [], 0x40, target), lambda r: "connected" in name or "pair" in name)
        attempt(f"bind of {name}", lambda: s.bind(path + "-planted"))

# an address that changes while it is looked at
buffer = ctypes.create_string_buffer(110)
good, bad = unix_address(b"\0own"), [unix_address(t.encode()) for t in (path + ".dgram", abstract + ".dgram", abstract)]
stop = False


def change():
    turn = 0
    while not stop:
        turn += 1
        for text in (good, bad[turn % 3], good):
            ctypes.memmove(buffer, text.ljust(110, b"\0"), 110)


class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class Header(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("name_size", ctypes.c_uint32), ("parts", ctypes.POINTER(Part)), ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_size", ctypes.c_size_t), ("flags", ctypes.c_int),
    ]  # fmt: skip


head = Header(ctypes.addressof(buffer), len(good), ctypes.pointer(Part(b"hello", 5)), 1)
thread = threading.Thread(target=change)
thread.start()
sent = refused = 0
own.setblocking(False)
for turn in range(4000):
    s = places[(0, 5, 1, 2)[turn % 4]][1]
    head.name_size = (len(good), 110)[turn // 4 % 2]
    if libc.sendmsg(s.fileno(), ctypes.byref(head), 0x4040) == 5:
        sent += 1
    else:
        refused += 1
    try:
        while True:
            own.recv(100)
    except BlockingIOError:
        pass
stop = True
thread.join()
print("changing addresses", sent > 0, refused > 0)

# much at once, and descriptors that wait
big = ctypes.create_string_buffer(1 << 18)
many = (Header * 2048)()
r, w = os.pipe()
full = new()
full.bind("\0full")
sender = new()
sender.connect("\0full")
sender.setblocking(False)
try:
    while True:
        sender.send(bytes(3000))
except BlockingIOError:
    pass


def wait():
    s = new()
    try:
        s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [r] * 253))], 0, "\0full")
    except OSError as error:
        print("a message that waits:", error, flush=True)


for _ in range(8):
    threading.Thread(target=wait, daemon=True).start()
time.sleep(0.3)
sockets = []
try:
    while len(sockets) < 3000:
        sockets.append(new())
except OSError as error:
    print("sockets:", error)
print("end", flush=True)
os._exit(0)
