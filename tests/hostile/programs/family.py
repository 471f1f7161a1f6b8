"""Children of every sort, which nothing but the end of the kernel ends. Prints their host numbers, then waits."""

import os
import signal
import threading
import time


def child(*steps):
    """A process that leaves its session and its parent, as daemons do."""
    if os.fork() == 0:
        for step in steps:
            step()
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_IGN)
        while True:
            time.sleep(1)


def orphan():
    if os.fork():
        os._exit(0)


child()
child(os.setsid)
child(os.setsid, orphan)
child(lambda: os.setpgid(0, 0), lambda: os.kill(os.getpid(), signal.SIGSTOP))
child(lambda: threading.Thread(target=time.sleep, args=(1000,)).start())
time.sleep(0.3)
print(*[name for name in os.listdir("/proc") if name.isdigit()], flush=True)
time.sleep(1000)
