"""Locks (flock) on what containers share at the host, without any of them knowing of the others.

    hold        lock everything, say so in /shared/held, stay
    try         none of that may be locked for us
    many N      as many locks as there may be
    meddle      send other things where a descriptor may be on its way to the kernel
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import threading
import time

PLACES = ("/etc/passwd", "/bin/sh", "/etc", "/", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/full")


def lock(path: str) -> int:
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd


def meddle() -> None:
    """What is a socket meanwhile gets descriptors that nobody asked for."""
    with open("/tmp/mine", "w") as mine:
        while True:
            for number in range(3, 20):
                try:
                    with socket.socket(fileno=os.dup(number)) as found:
                        socket.send_fds(found, [b"x"], [mine.fileno()] * 100, socket.MSG_DONTWAIT)
                        socket.send_fds(found, [b"y"], [], socket.MSG_DONTWAIT)
                except OSError:
                    pass


def main() -> None:
    what = sys.argv[1]
    if what == "hold":
        kept = [lock(path) for path in PLACES]
        with open("/shared/held", "w") as file:
            file.write(str(len(kept)))
        time.sleep(300)
    elif what == "try":
        for path in PLACES:
            try:
                lock(path)
            except BlockingIOError:
                print(f"{path}: ESCAPED, another container's lock is seen")
            else:
                print(f"{path}: free")
    elif what == "meddle":
        threading.Thread(target=meddle, daemon=True).start()
        fds = [os.open(path, os.O_RDONLY) for path in PLACES]
        found = {}
        for _ in range(300):
            for fd in fds:
                for operation in (fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN):
                    try:
                        fcntl.flock(fd, operation)
                        told = "done"
                    except OSError as error:
                        told = str(error.strerror)
                    found[told] = found.get(told, 0) + 1
        print(found, flush=True)
        os._exit(0)  # a thread that ends with the interpreter needs a library that is not in the image
    else:
        os.mkdir("/tmp/d")
        kept = []
        try:
            for _ in range(int(sys.argv[2])):
                os.mkdir(f"/tmp/d/{len(kept)}")
                kept.append(lock(f"/tmp/d/{len(kept)}"))
        except OSError as error:
            print(error.strerror)
        print("locks:", len(kept))
        while kept:
            os.close(kept.pop())
        lock("/tmp/d/0")
        print("and again")


main()
