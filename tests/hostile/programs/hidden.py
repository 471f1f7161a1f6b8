"""Directory descriptors where the kernel cannot see them: in flight, and in a thread's own table of descriptors.
As a user without rights, what they come to name later must not be another's private directory."""

import array
import os
import socket
import threading

from attempts import attempt, syscall

os.mkdir("/secret", 0o755)
os.mkdir("/secret/private", 0o755)
with open("/secret/private/token", "w") as file:
    file.write("token")
os.chmod("/secret", 0o700)
ready_end, told = os.pipe()
waiting, go_on = os.pipe()
child = os.fork()
if child == 0:
    os.dup2(waiting, 0)
    os.setgid(1000)
    os.setuid(1000)
    left, right = socket.socketpair()
    own = os.open("/tmp", os.O_RDONLY)
    left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [own] * 3))])
    ready, go = threading.Event(), threading.Event()
    seen = []

    def thread():
        syscall(436, 1 << 20, 0xFFFFFFFF, 2)  # close_range(CLOSE_RANGE_UNSHARE): a table of our own
        mine = os.open("/tmp", os.O_RDONLY)
        ready.set()
        go.wait()
        for use in (lambda: os.listdir(mine), lambda: os.open("token", os.O_RDONLY, dir_fd=mine)):
            try:
                seen.append(use())
            except OSError as error:
                seen.append(str(error))

    other = threading.Thread(target=thread)
    other.start()
    ready.wait()
    os.close(own)
    os.write(told, b"x")
    os.read(0, 1)
    go.set()
    other.join()
    attempt(
        "a table of a thread's own",
        lambda: seen,
        lambda r: "token" not in str(r[0]) and isinstance(r[1], str),
    )
    for fd in array.array("i", right.recvmsg(1, 100)[1][0][2]):
        attempt("a listing", lambda: os.listdir(fd), lambda r: "token" not in r)
        attempt("a file", lambda: os.open("token", os.O_RDONLY, dir_fd=fd))
        attempt("above", lambda: os.open("../secret/private/token", os.O_RDONLY, dir_fd=fd))
    os._exit(0)
os.read(ready_end, 1)
for _ in range(3):
    held = [os.open("/secret/private", os.O_RDONLY) for _ in range(200)]
    for fd in held[::2]:
        os.close(fd)
os.write(go_on, b"x")
os.waitpid(child, 0)
print("end")
