"""A process of several threads is forked as it stands; the program here is Python, since its threads wait in as many
ways as QEMU's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pycontain.errors import MachineError
from pycontain.vm import forking
from pycontain.vm.forking import Child, Frozen

PROGRAM = """
import os, queue, threading, time
asked = queue.SimpleQueue()
count = [0]
def answer():
    while True:
        word = asked.get()
        count[0] += 1
        os.write(1, b"%s %d %d\\n" % (word, os.getpid(), count[0]))
def sleep():
    while True:
        time.sleep(1000)
for work in (answer, sleep):
    threading.Thread(target=work, daemon=True).start()
os.write(1, b"ready\\n")
while word := os.read(0, 100).strip():
    asked.put(word)
"""


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()


def ask(process: subprocess.Popen[bytes], word: bytes) -> list[bytes]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(word + b"\n")
    process.stdin.flush()
    return process.stdout.readline().split()


def test_all_threads_go_on_in_each_child(program: subprocess.Popen[bytes]) -> None:
    assert ask(program, b"first") == [b"first", b"%d" % program.pid, b"1"]
    frozen = Frozen(program.pid)
    for number in range(3):
        # they share the pipes with who stands still, and none of its memory: each counts from where that stood
        pid = frozen.fork(lambda child: None)
        assert ask(program, b"word%d" % number) == [b"word%d" % number, b"%d" % pid, b"2"]
        assert len(os.listdir(f"/proc/{pid}/task")) == 3
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            status = file.read()
        assert f"PPid:\t{os.getpid()}\n" in status and "TracerPid:\t0\n" in status
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)
    frozen.end()
    assert not os.path.exists(f"/proc/{program.pid}")


def test_it_is_stopped_while_it_is_at_rest() -> None:
    """A thread that runs may hold locks, which know it by its number."""
    code = "import os, time\nos.write(1, b'x')\nwhile True:\n for _ in range(10000): pass\n time.sleep(0.002)"
    busy = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert busy.stdout is not None
    assert busy.stdout.read(1) == b"x"
    frozen = Frozen(busy.pid)
    with open(f"/proc/{busy.pid}/syscall", encoding="ascii") as file:
        assert file.read().split()[0] == "230"  # clock_nanosleep
    frozen.end()
    busy.stdout.close()
    busy.wait()


def test_what_is_never_at_rest_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "TRIES", 3)
    busy = subprocess.Popen([sys.executable, "-c", "print('x', flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    assert busy.stdout is not None
    busy.stdout.readline()
    with pytest.raises(MachineError, match="never at rest"):
        Frozen(busy.pid)
    busy.stdout.close()
    assert not os.path.exists(f"/proc/{busy.pid}")
    busy.wait()


def test_a_child_is_prepared_by_calls_of_its_own(program: subprocess.Popen[bytes]) -> None:
    frozen = Frozen(program.pid)
    read, write = os.pipe()

    def prepare(child: Child) -> None:
        child.name(b"prepared")
        child.write(child.room, f"/proc/{os.getpid()}/fd/{write}".encode() + b"\0")
        child.call("dup2", child.call("open", child.room, os.O_WRONLY), 1)
        with pytest.raises(FileNotFoundError):
            child.call("chdir", child.room + 100)

    pid = frozen.fork(prepare)
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:
        assert file.read() == "prepared\n"
    assert program.stdin is not None
    program.stdin.write(b"here\n")
    program.stdin.flush()
    assert os.read(read, 100).startswith(b"here %d 1\n" % pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    frozen.end()
    os.close(read)
    os.close(write)


def test_a_child_that_cannot_be_prepared_is_not_left_behind(program: subprocess.Popen[bytes]) -> None:
    frozen = Frozen(program.pid)
    made = []

    def prepare(child: Child) -> None:
        made.append(child.pid)
        child.call("dup2", 77, 78)

    with pytest.raises(MachineError, match=rf"fork process {program.pid}: Bad file descriptor"):
        frozen.fork(prepare)
    assert not os.path.exists(f"/proc/{made[0]}")
    frozen.end()


def test_a_process_that_is_killed_while_it_stands_still(program: subprocess.Popen[bytes]) -> None:
    frozen = Frozen(program.pid)
    program.kill()
    with pytest.raises(MachineError, match="fork"):
        frozen.fork(lambda child: None)
    frozen.end()
    assert not os.path.exists(f"/proc/{program.pid}")


def test_it_dies_with_who_holds_it() -> None:
    code = (
        "import os, subprocess, sys, time; from pycontain.vm.forking import Frozen\n"
        "p = subprocess.Popen(['sleep', '1000']); time.sleep(0.2); f = Frozen(p.pid)\n"
        "print(p.pid, flush=True); time.sleep(1000)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    pid = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    holder.stdout.close()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}/exe") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{pid}/exe")


def test_what_cannot_be_traced_is_an_error() -> None:
    with pytest.raises(MachineError, match=r"fork process \d+: "):
        Frozen(1) if os.geteuid() else Frozen(os.getpid())
