"""The kernel is stopped and goes on, as a debugger does it, or a freezer when the machine goes to sleep: no call may
notice. Unlike a signal that cannot be blocked, and it interrupts whatever the kernel waits for."""

from __future__ import annotations

import json
import os
import signal
import time

from command_line import CommandLine

CALLS = """
import os, socket, subprocess, sys, time
rounds, wrong = 0, []
def check(what, good):
    if not good:
        wrong.append(what)
os.mkfifo("/fifo")
print("ready", flush=True)
end = time.monotonic() + 4
while time.monotonic() < end:
    try:
        for _ in range(40):
            fd = os.open("/etc/passwd", os.O_RDONLY)
            check(f"descriptor {fd}", fd == 3)
            check("/etc/passwd is empty", os.read(fd, 1))
            os.close(fd)
            directory = os.open("/etc", os.O_RDONLY)
            check("a directory's descriptor", directory == 3)
            os.close(directory)
        with open("/file", "x") as file:
            file.write("text")
        with open("/file") as file:
            check("/file is empty", file.read() == "text")
        os.rename("/file", "/other")
        os.unlink("/other")
        fifo = os.open("/fifo", os.O_RDWR)
        check("the FIFO's descriptor", fifo == 3)
        os.close(fifo)
        one, two = socket.socketpair()
        check("a socket's descriptor", one.fileno() == 3)
        one.close(), two.close()
        if rounds % 4 == 0:
            check("a program", subprocess.run(["true"]).returncode == 0)
    except OSError as error:
        wrong.append(repr(error))
    rounds += 1
print("enough" if rounds > 20 else f"{rounds} rounds", "nothing wrong" if not wrong else wrong[:20])
"""


def test_calls_while_the_kernel_is_stopped_again_and_again(pycontain: CommandLine) -> None:
    pycontain("run", "--rm", "host/base", "true")
    kernel = json.loads(pycontain("kernel", "status", "--format", "json").stdout)["pid"]
    program = pycontain.spawn("run", "--rm", "host/base", "python3", "-c", CALLS, stdout=-1)
    assert program.stdout is not None and program.stdout.readline() == b"ready\n"
    stops, deadline = 0, time.monotonic() + 60
    while program.poll() is None and time.monotonic() < deadline:
        os.kill(kernel, signal.SIGSTOP)
        os.kill(kernel, signal.SIGCONT)
        stops += 1
        time.sleep(0.0005)
    out = program.communicate(timeout=60)[0].decode()
    assert out == "enough nothing wrong\n" and stops > 500
