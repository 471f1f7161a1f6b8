"""Processes of the host, and calls that a container must not have."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from worlds import World


@pytest.fixture
def victim(world: World) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host in a group of its own, with the host uid that the container's programs run under."""
    words = ["sleep", "1000"]
    if os.geteuid() == 0:
        uid = 65534 if world.name == "root" else world.uid
        words = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", *words]
    process = subprocess.Popen(words, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_no_process_of_the_host_is_there(world: World, victim: subprocess.Popen[bytes]) -> None:
    pid, kernel = victim.pid, world.kernel_pid()
    affinity, priority = os.sched_getaffinity(pid), os.getpriority(os.PRIO_PROCESS, kernel)
    text = world.attack("processes", str(pid), str(kernel), str(os.getpgid(pid)))
    assert "priority of ours: 15" in text
    assert victim.poll() is None
    assert os.sched_getaffinity(pid) == affinity
    assert os.getpriority(os.PRIO_PROCESS, pid) == 0
    assert os.getpriority(os.PRIO_PROCESS, kernel) == priority
    with open(f"/proc/{pid}/status") as file:
        assert "State:\tS" in file.read()


def test_calls_that_do_not_exist(world: World) -> None:
    world.attack("kernelcalls")


@pytest.mark.usefixtures("compiler")
def test_other_doors_and_odd_children(world: World, victim: subprocess.Popen[bytes]) -> None:
    text = world.run(world.compiled("foreign"), str(world.directory / "secret"), str(victim.pid))
    print(text)
    assert victim.poll() is None
    assert text.count("status 7") >= 6


def test_signals_from_pid_one(world: World, victim: subprocess.Popen[bytes]) -> None:
    """The first process of a container has a number of its own, which must not be taken for the host's pid 1."""
    text = world.run("sh", "-c", "echo $$; kill -KILL 1; kill -TERM -1; kill -0 2 || echo no 2; echo lives")
    assert text.startswith("1\n")
    assert "no 2\n" in text
    assert "lives\n" in text
    os.kill(1, 0) if os.geteuid() == 0 else None
    assert victim.poll() is None


def test_a_number_that_the_host_uses_again(world: World) -> None:
    """/proc/PID of a process that has ended, held open, when the host gives its number to a process of its own."""
    with open("/proc/sys/kernel/pid_max") as file:
        if int(file.read()) > 65536:
            pytest.skip("the host has too many process numbers to wait for one to come again")
    if os.geteuid() != 0:
        pytest.skip("only root chooses the number of the next process")
    with world.cli.spawn(
        *("run", "--rm", "-i", "-v", f"{world.directory}/attack:/attack:ro", "host/base"),
        *("python3", "/attack/reused.py"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as container:
        assert container.stdin is not None and container.stdout is not None
        number = int(container.stdout.readline())
        process = _with_number(number, world)
        try:
            container.stdin.write(b"go\n")
            container.stdin.close()
            text = container.stdout.read().decode()
        finally:
            if process is not None:
                process.send_signal(signal.SIGKILL)
                process.wait()
    assert world.secret not in text, text
    assert "ESCAPED" not in text, text
    assert "end" in text


def _with_number(number: int, world: World) -> subprocess.Popen[bytes] | None:
    """A process of the host that has the secret in its environment and open, with this number."""
    for _ in range(50):
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(number - 1))
        with open(world.directory / "secret") as secret:
            process = subprocess.Popen(["sleep", "100"], env={"SECRET": world.secret}, stdin=secret)
        if process.pid == number:
            return process
        process.kill()
        process.wait()
    pytest.skip("the number could not be had")
