"""Locks (flock) on what containers share at the host, without any of them knowing of the others.

    hold        lock everything, say so in /shared/held, stay
    try         none of that may be locked for us
    many N      as many locks as there may be
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

PLACES = ("/etc/passwd", "/bin/sh", "/etc", "/", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/full")


def lock(path: str) -> int:
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd


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
