"""Hold everything of a child's /proc; it ends; the test gives its number to a process of the host; look again."""

import os
import sys
import time

from attempts import attempt

child = os.fork()
if child == 0:
    time.sleep(1000)
held = os.open(f"/proc/{child}", os.O_RDONLY)
fds = os.open(f"/proc/{child}/fd", os.O_RDONLY)
paths = {
    name: os.open(f"/proc/{child}/{name}", os.O_PATH)
    for name in ("environ", "maps", "status", "comm", "oom_score_adj")
}
links = {name: os.open(f"/proc/{child}/{name}", os.O_PATH | os.O_NOFOLLOW) for name in ("cwd", "root", "exe")}
descriptor = os.open(f"/proc/{child}/fd/0", os.O_PATH)
os.chdir(f"/proc/{child}")
os.kill(child, 9)
os.waitpid(child, 0)
print(child, flush=True)
sys.stdin.readline()


def read(path, dir_fd=None):
    with open(os.open(path, os.O_RDONLY, dir_fd=dir_fd), "rb") as file:
        return file.read()


for name in ("environ", "status", "cmdline", "maps", "stat", "fd/0", "task"):
    attempt(f"{name} below a held directory", lambda: read(name, held))
    attempt(f"{name} below the working directory", lambda: read(name))
for name, fd in paths.items():
    attempt(f"held {name}", lambda: read(f"/proc/self/fd/{fd}"))
for name, fd in links.items():
    attempt(f"held link {name}", lambda: os.readlink("", dir_fd=fd))
    attempt(f"through the held link {name}", lambda: os.listdir(f"/proc/self/fd/{fd}/"))
attempt("held descriptor", lambda: read(f"/proc/self/fd/{descriptor}"))
attempt("listing descriptors", lambda: os.listdir(fds), lambda r: r == [])
attempt("listing", lambda: os.listdir(held), lambda r: r == [])
attempt("a descriptor", lambda: read("0", fds))
print("end")
