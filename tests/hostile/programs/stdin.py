"""What can be done with a standard input that is the host's."""

import fcntl
import os
import stat
import sys
import termios

from attempts import attempt

secret = sys.argv[1].encode()
piped = stat.S_ISFIFO(os.fstat(0).st_mode)  # the kernel may have put a pipe of its own in between
for flags, name in (
    (os.O_RDWR, "reading and writing"),
    (os.O_WRONLY, "writing"),
    (os.O_RDONLY | os.O_TRUNC, "emptying"),
):
    for path in ("/proc/self/fd/0", "/dev/stdin", "/dev/fd/0"):
        attempt(
            f"{path} for {name}",
            lambda: os.open(path, flags | os.O_NONBLOCK),
            lambda r: piped or os.isatty(r),
        )
attempt("truncating", lambda: os.ftruncate(0, 0))
attempt("truncating by path", lambda: os.truncate("/proc/self/fd/0", 0))
attempt("chmod", lambda: os.fchmod(0, 0o777), lambda r: True)
attempt("chown", lambda: os.fchown(0, 1000, 1000), lambda r: True)
attempt("listing", lambda: os.listdir(0))
attempt("listing by path", lambda: os.listdir("/proc/self/fd/0"))
attempt("entering", lambda: os.fchdir(0))
attempt("below", lambda: os.read(os.open("secret", os.O_RDONLY, dir_fd=0), 100))
attempt("below by path", lambda: os.read(os.open("/proc/self/fd/0/secret", os.O_RDONLY), 100))
attempt("above", lambda: os.open("..", os.O_RDONLY, dir_fd=0))
attempt("a link to it", lambda: os.link("/proc/self/fd/0", "/tmp/link", src_dir_fd=0, follow_symlinks=True))
attempt("executing it", lambda: os.execve(0, ["x"], {}))
for request in (0x5412, 0x5423, 0x541C, 0x541D):
    attempt(f"terminal request {request:x}", lambda: fcntl.ioctl(0, request, b"x\0\0\0"))
attempt("making it our terminal", lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 1))
