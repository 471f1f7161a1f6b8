"""The kernel is killed. Nothing of its containers may run on, and the store must be as good as before."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from worlds import World


def children_of(kernel: int) -> set[int]:
    """Every process that descends from it, and whoever it traces."""
    found = {kernel}
    parents: dict[int, int] = {}
    tracers: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{name}/status").read_text()
        except OSError:
            continue  # it has ended meanwhile
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        parents[int(name)], tracers[int(name)] = int(fields["PPid"]), int(fields["TracerPid"])
    while True:
        more = {
            pid for pid in parents if pid not in found and (parents[pid] in found or tracers[pid] == kernel)
        }
        if not more:
            return found - {kernel}
        found |= more


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_nothing_outlives_the_kernel(world: World) -> None:
    kernel = world.kernel_pid()
    mounted = ["-v", f"{world.directory}/attack:/attack:ro", "host/base", "python3", "/attack/family.py"]
    world.cli("run", "-d", "--name", "kept", *mounted)
    with world.cli.spawn("run", "--rm", *mounted, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert len(client.stdout.readline().split()) >= 6
        running = children_of(kernel)
        assert len(running) >= 12
        os.kill(kernel, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while left := {pid for pid in running if alive(pid)}:
            assert time.monotonic() < deadline, f"run on without a kernel: {left}"
            time.sleep(0.01)
        _, error = client.communicate(timeout=20)
        assert client.returncode != 0
        assert b"kernel" in error and (b"it was killed by SIGKILL" in error or b"does not tell" in error)

    # the store: the container that was to stay is there and has ended, the other one leaves nothing; both can go on
    assert world.run("echo", "again") == "again\n"
    assert "137" in world.cli("ps", "-a", "--filter", "name=kept").stdout
    world.cli("start", "kept")
    world.cli("rm", "-f", "kept")
    world.cli("system", "prune", "-f")
    assert world.cli("ps", "-aq").stdout == ""
    store = world.directory / "store"
    assert list((store / "containers").iterdir()) == []
    assert list((store / "tmp").iterdir()) == []
    assert world.run("echo", "again") == "again\n"


def test_killed_again_and_again(world: World) -> None:
    """At moments that are not chosen: in the middle of starts, of calls, of writing the journal."""
    for number in range(8):
        kernel = world.kernel_pid()
        words = [
            "run",
            "--rm",
            "host/base",
            "sh",
            "-c",
            "i=0; while :; do i=$((i+1)); echo $i > /tmp/$i; mv /tmp/$i /var/$i; done",
        ]
        with world.cli.spawn(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
            time.sleep(0.05 + number * 0.06)
            running = children_of(kernel)
            os.kill(kernel, signal.SIGKILL)
            try:
                client.wait(timeout=5)
            except (
                subprocess.TimeoutExpired
            ):  # on a busy machine: it had not asked yet, and has started another one
                world.cli("kernel", "stop")
                client.wait(timeout=30)
        deadline = time.monotonic() + 10
        while any(alive(pid) for pid in running):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert world.run("echo", "again") == "again\n"


def test_nothing_ends_the_kernel_without_a_word(world: World) -> None:
    """Its log tells what it was: a request, a fault with the place, or that it was killed."""
    words = ("run", "--rm", "host/base", "sh", "-c", "echo there; sleep 1000")
    for number, said in {
        signal.SIGTERM: "SIGTERM: the kernel ends, and 1 containers with it",
        signal.SIGSEGV: "Fatal Python error: Segmentation fault",
        signal.SIGBUS: "Fatal Python error: Bus error",
        signal.SIGKILL: "was killed, and its containers with it",
    }.items():
        kernel = world.kernel_pid()
        before = len(world.log())
        with world.cli.spawn(*words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
            assert client.stdout is not None and client.stdout.readline() == b"there\n"
            os.kill(kernel, number)
            assert client.wait(timeout=20) != 0
        assert world.run("echo", "again") == "again\n"  # the next one has looked how it found things
        assert said in world.log()[before:], number.name
        assert number is signal.SIGTERM or f"kernel {kernel} has gone: " in world.log()[before:]
    world.cli("run", "-d", "--name", "home", "host/base", "sleep", "1000")
    world.cli("kernel", "stop")
    assert "a client wants the kernel to end, and 1 containers with it" in world.log()
    world.cli("rm", "-f", "home")


def test_client_that_never_reads(world: World) -> None:
    """Its container waits; the kernel keeps no more of the output than some megabytes, and others are served."""

    def resident() -> int:
        return int(Path(f"/proc/{world.kernel_pid()}/statm").read_text().split()[1]) * 4096

    before = resident()
    words = [
        "run",
        "--rm",
        "--name",
        "loud",
        "host/base",
        "sh",
        "-c",
        "while :; do cat /usr/bin/python3; done",
    ]
    with world.cli.spawn(*words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as loud:
        assert loud.stdout is not None
        loud.stdout.read(1)
        loud.send_signal(signal.SIGSTOP)
        try:
            for _ in range(20):
                time.sleep(0.05)
                assert resident() < before + (64 << 20)
            assert world.run("echo", "served") == "served\n"
        finally:
            world.cli("rm", "-f", "loud")
            loud.send_signal(signal.SIGCONT)
            loud.kill()


def test_writers_that_outlive_their_session(world: World) -> None:
    """What `exec` started ends, and leaves writers behind that are faster than the kernel reads."""
    world.cli("run", "-d", "--name", "home", "host/base", "sleep", "1000")
    try:
        writers = "for i in 1 2 3 4; do (while :; do cat /usr/bin/python3; done) & done; exit 3"
        with world.cli.spawn("exec", "home", "sh", "-c", writers, stdout=subprocess.DEVNULL) as client:
            assert client.wait(timeout=30) == 3
        assert world.run("echo", "served") == "served\n"
    finally:
        world.cli("rm", "-f", "home")
