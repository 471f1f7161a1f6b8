"""What the kernel makes a task do when a call of its has been answered, while others disturb it: signals, stops and
traps, epolls that are closed or replaced meanwhile, an exec by another thread. Whoever is left tells the end."""

import ctypes
import os
import select
import signal
import socket
import threading
import time

from attempts import attempt

SECONDS = 2.0
libc = ctypes.CDLL(None)
place = "/tmp/injected"


def serve():
    server = socket.socket(socket.AF_UNIX)
    server.bind(place)
    server.listen(1000)

    def accept():
        while True:
            server.accept()[0].close()

    threading.Thread(target=accept, daemon=True).start()


def connecting(stop, polls):
    """Connect sockets that are watched from before, and move to the group of process 1 and back."""
    good = 0
    while not stop.is_set():
        end = socket.socket(socket.AF_UNIX)
        try:
            for poll in polls:
                poll.register(end.fileno(), select.EPOLLIN | select.EPOLLET)
        except (OSError, ValueError):
            pass
        try:
            end.connect(place)
            os.setpgid(0, 1)
            os.setpgid(0, 0)
            good += 1
        except OSError:
            pass
        end.close()
    return good


def disturb(what, target, stop, polls):
    null = os.open("/dev/null", os.O_RDONLY)
    while not stop.is_set():
        if what == "traps":
            libc.tgkill(target, target, signal.SIGTRAP)
            os.kill(target, signal.SIGUSR1)
        elif what == "epolls":
            for poll in polls:
                try:
                    os.dup2(null, poll.fileno())
                except (OSError, ValueError):
                    pass
        time.sleep(0.0005)


def child(what):
    """One that connects in its first thread and disturbs itself in others, or is disturbed by its parent."""
    for signum in (signal.SIGTRAP, signal.SIGUSR1):
        signal.signal(signum, lambda *_: None)
    stop = threading.Event()
    polls = [select.epoll() for _ in range(3)]
    threading.Timer(SECONDS, stop.set).start()
    threading.Thread(target=disturb, args=(what, os.getpid(), stop, polls), daemon=True).start()
    if what == "exec":

        def leave():
            time.sleep(SECONDS / 10)
            os.execv("/bin/sh", ["sh", "-c", "exit 7"])

        threading.Thread(target=leave, daemon=True).start()
    good = connecting(stop, polls)
    os._exit(5 if good else 6)


serve()
for what, expected in (("nothing", 5), ("traps", 5), ("epolls", 5), ("exec", 7), ("stops", 5)):
    for _ in range(3 if what == "exec" else 1):
        pid = os.fork()
        if pid == 0:
            try:
                child(what)
            finally:
                os._exit(9)
        if what == "stops":
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                os.kill(pid, signal.SIGSTOP)
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.005)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        attempt(what, lambda: status, lambda result: result == expected)
print("end")
