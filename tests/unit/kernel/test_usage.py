"""Processor time and memory of containers, accounted from real processes of the host."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kernel_world import KernelWorld

from pycontain.kernel.credentials import Credentials
from pycontain.kernel.task import FileContext, Process, Task
from pycontain.kernel.usage import Spent, Usage

EAT = """
import os, sys, time
exec(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""
Start = Callable[[str], "Running"]


class Running:
    """A Python program on the host as a process of the container."""

    def __init__(self, world: KernelWorld, program: str) -> None:
        self.world = world
        self.popen = subprocess.Popen(
            [sys.executable, "-c", EAT, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.popen.stdout is not None
        assert self.popen.stdout.readline() == b"ready\n"
        self.process = adopt(world, self.popen.pid, None)

    def end(self) -> None:
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self.popen.stdin.close()
        self.popen.stdout.close()
        _, status, usage = os.wait4(self.popen.pid, 0)
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        self.world.kernel.exited(self.popen.pid, status, usage)


def adopt(world: KernelWorld, pid: int, parent: Process | None) -> Process:
    root = world.container.root
    process = Process(
        pid, world.container, parent, Credentials.login(0, 0, frozenset(), 0), FileContext(root, root, 0)
    )
    world.kernel.adopt(Task(pid, process), pid)
    return process


@pytest.fixture
def usage(world: KernelWorld) -> Usage:
    world.container.processes.clear()  # the world's own task is this test itself
    return world.container.usage


@pytest.fixture
def start(world: KernelWorld, usage: Usage) -> Start:
    return lambda program: Running(world, program)


def rusage(user: float, system: float = 0.0) -> resource.struct_rusage:
    return resource.struct_rusage([user, system, *[0] * 14])


def test_time_of_a_process_counts_while_it_lives_and_when_it_has_ended(usage: Usage, start: Start) -> None:
    one = start("while time.process_time() < 0.3: pass")
    assert 0.3 <= usage.cpu_seconds() < 0.6
    before = usage.cpu_seconds()
    assert usage.spent().cpu == pytest.approx(before, abs=0.03)
    one.end()
    assert before <= usage.cpu_seconds() < before + 0.1
    assert usage.spent().cpu == usage.cpu_seconds()


def test_children_that_were_waited_for_count_once(usage: Usage, start: Start, world: KernelWorld) -> None:
    one = start(
        "import subprocess; subprocess.run([sys.executable, '-c', 'while __import__(\"time\").process_time() < 0.4: pass'])"
    )
    child = Process(0, world.container, one.process, one.process.credentials, one.process.files)
    usage.died(child, rusage(0.39, 0.01))
    assert 0.4 <= usage.cpu_seconds() < 0.65
    one.end()
    assert 0.4 <= usage.cpu_seconds() < 0.65


def test_children_that_are_discarded_count_too(usage: Usage, start: Start, world: KernelWorld) -> None:
    one = start("import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)")
    child = Process(0, world.container, one.process, one.process.credentials, one.process.files)
    usage.died(child, rusage(2.0, 1.0))
    assert 3.0 <= usage.cpu_seconds() < 3.3
    one.end()
    assert 3.0 <= usage.cpu_seconds() < 3.3


def test_those_that_joined_count_when_they_have_ended(usage: Usage, world: KernelWorld) -> None:
    joined = Process(
        0, world.container, None, Credentials.login(0, 0, frozenset(), 0), world.task.process.files
    )
    usage.died(joined, rusage(1.0, 0.5))
    assert usage.cpu_seconds() == 1.5
    assert usage.spent() == Spent(1.0, 0.5)


def test_memory_of_a_process(usage: Usage, start: Start) -> None:
    empty = start("pass")
    least = usage.measure_memory()
    empty.end()
    full = start("x = bytearray(50 << 20)")
    more = usage.measure_memory()
    assert 49 << 20 < more.anonymous - least.anonymous < 52 << 20
    assert more.total == more.anonymous + more.shared + more.swapped
    assert usage.peak == more.total
    full.end()


def test_pages_that_processes_share_count_once(usage: Usage, start: Start, world: KernelWorld) -> None:
    one = start(
        "x = bytearray(40 << 20); import mmap; y = mmap.mmap(-1, 20 << 20); y.write(bytes(20 << 20))\n"
        "if os.fork() == 0: sys.stdin.read(); os._exit(0)"
    )
    (child,) = [
        int(pid) for pid in Path(f"/proc/{one.popen.pid}/task/{one.popen.pid}/children").read_text().split()
    ]
    adopt(world, child, one.process)
    quick, exact = usage.quick_memory(), usage.measure_memory()
    assert quick.total > 100 << 20
    assert 60 << 20 <= exact.total < 80 << 20
    assert 20 << 20 <= exact.shared < 21 << 20
    del world.container.processes[child]
    one.end()


def test_blocks(usage: Usage, start: Start, tmp_path: Path) -> None:
    one = start(
        f"f = open({str(tmp_path / 'x')!r}, 'wb'); f.write(bytes(1 << 20)); f.flush(); os.fsync(f.fileno())"
    )
    written = usage.spent().written
    with open(f"/proc/{one.popen.pid}/io") as file:
        told = {key: int(value) for key, _, value in (line.partition(": ") for line in file)}
    assert written == told["write_bytes"]
    one.end()
    assert usage.spent().written == written // 512 * 512
