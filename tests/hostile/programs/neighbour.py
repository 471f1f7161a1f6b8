"""Two containers with a shared directory. One sends descriptors of its directories, files and sockets to the other.

neighbour send      a directory, then many others, so that its object might be used again
neighbour receive   what came must not lead into the sender's tree
"""

import array
import os
import socket
import sys
import time

from attempts import attempt

if sys.argv[1] == "send":
    os.mkdir("/private")
    with open("/private/token", "w") as file:
        file.write(sys.argv[2])
    end = socket.socket(socket.AF_UNIX)
    for _ in range(500):
        try:
            end.connect("/shared/meeting")
            break
        except OSError:
            end = socket.socket(socket.AF_UNIX)
            time.sleep(0.02)
    held = [
        os.open("/private", os.O_RDONLY),
        os.open("/private/token", os.O_PATH),
        os.open("/proc/self/fd", os.O_RDONLY),
    ]
    end.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", held))])
    for fd in held:
        os.close(fd)
    while end.recv(1):  # the receiver opens some directories, we open others
        for _ in range(300):
            os.close(os.open("/private", os.O_RDONLY))
        end.send(b"y")
else:
    token = sys.argv[2]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("/shared/meeting")
    listener.listen()
    end, _ = listener.accept()
    fds = array.array("i", end.recvmsg(1, 100)[1][0][2])
    for turn in range(3):
        for fd in fds:
            attempt("listing", lambda: os.listdir(fd))
            attempt("opening below", lambda: os.read(os.open("token", os.O_RDONLY, dir_fd=fd), 100))
            attempt(
                "opening above", lambda: os.read(os.open("../private/token", os.O_RDONLY, dir_fd=fd), 100)
            )
            attempt("entering", lambda: os.fchdir(fd))
            attempt("its path", lambda: os.readlink(f"/proc/self/fd/{fd}"), lambda r: "private" not in r)
            attempt("through /proc", lambda: os.read(os.open(f"/proc/self/fd/{fd}/token", os.O_RDONLY), 100))
            attempt(
                "again", lambda: os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 100), lambda r: r == b""
            )
            attempt("creating", lambda: os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        for _ in range(300):
            os.close(os.open("/etc", os.O_RDONLY))
        end.send(b"y")
        end.recv(1)
    print("end")
