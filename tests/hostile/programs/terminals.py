"""Open terminals, close them, and look for them when somebody else has their numbers."""

import os
import sys

from attempts import attempt

pairs = [os.openpty() for _ in range(8)]
numbers = [int(os.ttyname(slave).rsplit("/", 1)[1]) for _, slave in pairs]
held = [os.open(f"/dev/pts/{number}", os.O_PATH) for number in numbers]
for primary, slave in pairs:
    os.close(primary)
    os.close(slave)
print(*numbers, flush=True)
sys.stdin.readline()
for number, fd in zip(numbers, held):
    for path in (f"/dev/pts/{number}", f"/proc/self/fd/{fd}"):
        attempt(
            f"opening {path}", lambda: os.write(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK), b"x")
        )
    attempt(f"stat of {number}", lambda: os.stat(f"/dev/pts/{number}"))
    attempt(
        f"a node with the number {number}",
        lambda: (
            os.mknod(f"/tmp/{number}", 0o20666, os.makedev(136, number)),
            os.open(f"/tmp/{number}", os.O_RDWR),
        ),
    )
attempt("terminals", lambda: os.listdir("/dev/pts"), lambda r: r == ["ptmx"])
print("end")
