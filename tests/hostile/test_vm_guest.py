"""Guests that misbehave: each ends in one clear message, and no QEMU is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontain.errors import MachineError
from pycontain.vm.channel import Channel
from pycontain.vm.table import BUFFER, Table

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from machines import Pycontain, skip_without_machines, until


def talk(answer: bytes | None, *, timeout: float = 5) -> str:
    """Ask a guest that answers this; the failure's words."""

    async def main() -> str:
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        table = Table()
        table.keep(table.call("getpid"))
        table.collect("read", 0, BUFFER, 100, most=100)
        future = asyncio.ensure_future(channel.exchange(table, timeout))
        await asyncio.sleep(0)
        if answer is not None:
            theirs.sendall(answer)
        if answer == b"":
            theirs.close()
        try:
            await future
        except MachineError as error:
            with pytest.raises(MachineError):
                await channel.exchange(Table(), timeout)  # it is given up for good
            return str(error)
        finally:
            channel.close()
            theirs.close()
        return "no failure"

    return asyncio.run(main())


GOOD = struct.pack("<QQqq", 1, 37, 5, 5) + b"hello"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (GOOD, "no failure"),
        (struct.pack("<QQ", 2, 37) + GOOD[16:], "not asked for"),
        (struct.pack("<QQ", 1, 1 << 60) + GOOD[16:], "not asked for"),
        (struct.pack("<QQ", 1, 3), "not asked for"),
        (struct.pack("<QQqq", 1, 37, 5, 2) + b"hello", "instead of"),
        (struct.pack("<QQqq", 1, 37, 5, 1 << 62) + b"hello", "instead of"),
        (struct.pack("<QQ", 1, 20) + b"abcd", "instead of"),
        (os.urandom(200_000), "not asked for|instead of"),
        (b"", "has ended"),
    ],
)
def test_what_a_guest_may_send(answer: bytes, words: str) -> None:
    import re

    assert re.search(words, talk(answer))


def test_an_answer_with_any_byte_changed() -> None:
    """Tag, lengths and results are checked; only the bytes that were asked for may be anything."""
    free = [*range(16, 24), *range(32, 37)]  # the first call's result, and what the second one read
    for place in range(len(GOOD)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(GOOD)
            changed[place] ^= change
            words = talk(bytes(changed), timeout=0.05)
            assert (words == "no failure") == (place in free), (place, change, words)


def test_a_guest_that_never_answers() -> None:
    assert "no answer within 0.2 s" in talk(None, timeout=0.2)


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pycontain]:
    skip_without_machines()
    pycontain = Pycontain(tmp_path_factory.mktemp("hostile-vm"))
    yield pycontain
    pycontain.end()
    assert pycontain.processes() == []


@pytest.mark.vm
def test_a_guest_that_panics(pc: Pycontain) -> None:
    done = pc.vm("--rm", "box", "sh", "-c", "echo before; sleep 0.2; echo c > /proc/sysrq-trigger; sleep 100")
    assert done.returncode == 137
    assert done.stdout == b"before\n"
    assert b"the machine ended" in done.stderr
    until(lambda: not pc.machines())


@pytest.mark.vm
def test_a_guest_that_fills_its_disk(pc: Pycontain) -> None:
    done = pc.vm(
        "--rm",
        "box",
        "sh",
        "-c",
        "dd if=/dev/zero of=/fill bs=1M count=500 2>&1; rm /fill; echo $((6*7))",
        timeout=120,
    )
    assert b"No space left" in done.stdout and done.stdout.endswith(b"42\n")


@pytest.mark.vm
def test_a_guest_that_floods(pc: Pycontain) -> None:
    """Nobody reads: the program waits. A reader that leaves ends it."""
    argv = [
        sys.executable,
        "-m",
        "pycontain",
        "run",
        "--rm",
        "--runtime",
        "vm",
        "box",
        "sh",
        "-c",
        "while :; do echo flood; done",
    ]
    process = subprocess.Popen(argv, env=pc.env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(500_000).startswith(b"flood\n")
    time.sleep(0.5)
    assert pc.vm("--rm", "box", "echo", "still here").stdout == b"still here\n"
    process.kill()
    process.wait()
    process.stdout.close()
    until(lambda: not pc.machines())


@pytest.mark.vm
def test_a_guest_that_writes_to_the_agents_ports(pc: Pycontain) -> None:
    """Its root may make any device there is; both ports are open already, and open to nobody else."""
    script = (
        "for n in 1 2; do read d < /sys/class/virtio-ports/vport0p$n/dev; busybox mknod /p$n c ${d%:*} ${d#*:};"
        " echo garbage > /p$n; done; echo $((6*7))"
    )
    done = pc.vm("--rm", "box", "sh", "-c", script)
    assert done.stdout == b"42\n" and done.stderr.count(b"busy") == 2, done.stderr


@pytest.mark.vm
def test_nothing_is_left_when_the_client_is_killed(pc: Pycontain) -> None:
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "vm", "box", "sleep", "1000"]
    process = subprocess.Popen(argv, env=pc.env)
    until(pc.machines)
    time.sleep(0.5)
    process.kill()
    process.wait()
    until(lambda: not pc.machines())


@pytest.mark.vm
def test_nothing_is_left_when_the_server_is_killed(pc: Pycontain) -> None:
    pc.vm("-d", "--name", "orphan", "box", "sleep", "1000", check=True)
    assert pc.machines()
    os.kill(pc.server(), signal.SIGKILL)
    until(lambda: not pc.processes())
    assert b"Exited (137)" in pc("ps", "-a").stdout
    assert pc("start", "orphan").returncode == 0  # a new server takes over
    pc("rm", "-f", "orphan", check=True)


@pytest.mark.vm
def test_what_a_killed_server_leaves_is_cleared_by_the_next(pc: Pycontain) -> None:
    """Its machines' files, and a snapshot that it was writing."""
    pc.vm("-d", "--name", "saved", "box", "sleep", "1000", check=True)
    snapshots, run = pc.root / "vm" / "snapshots", pc.root / "vm" / "run"
    argv = [sys.executable, "-m", "pycontain", "vm", "snapshot", "saved", "half"]
    process = subprocess.Popen(argv, env=pc.env, stderr=subprocess.PIPE)
    until(lambda: list(snapshots.glob("half~*/state")))
    os.kill(pc.server(), signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 125 and errors.count(b"\n") == 1, errors
    assert list(snapshots.iterdir()) and list(run.iterdir())
    assert pc("vm", "ls").stdout.count(b"\n") == 1
    assert pc.vm("--rm", "box", "echo", "here").stdout == b"here\n"
    assert list(snapshots.iterdir()) == []
    until(lambda: not [path for path in run.iterdir() if not path.name.startswith("zygote")])
    pc("rm", "-f", "saved", check=True)


@pytest.mark.vm
def test_a_machine_that_stands_still(pc: Pycontain) -> None:
    """QEMU itself is stopped: an exec fails within its deadline, and the machine is given up."""
    pc.vm("-d", "--name", "still", "box", "sleep", "1000", check=True)
    (machine,) = pc.machines()
    os.kill(machine, signal.SIGSTOP)
    begun = time.monotonic()
    done = pc("exec", "still", "true")
    assert done.returncode == 125 and b"no answer within" in done.stderr
    assert time.monotonic() - begun < 40
    until(lambda: not pc.machines())
    pc("rm", "-f", "still", check=True)


@pytest.mark.vm
def test_a_guest_that_takes_all_its_memory(pc: Pycontain, tmp_path: Path) -> None:
    """Its kernel kills the program, and neither of the agents: the share is still served."""
    (tmp_path / "file").write_text("still served\n")
    script = "for n in 1 2; do busybox tail /dev/zero; echo $?; done; cat /s/file"
    done = pc.vm("--rm", "-v", f"{tmp_path}:/s", "box", "sh", "-c", script, timeout=180)
    assert (done.returncode, done.stdout) == (0, b"137\n137\nstill served\n"), done.stderr


@pytest.mark.vm
def test_a_guest_that_starts_programs_without_end(pc: Pycontain) -> None:
    """It may come to a standstill, but it can be removed, and others do not notice."""
    pc.vm("-d", "--name", "bomb", "box", "sh", "-c", "while :; do sleep 1000 & done", check=True)
    time.sleep(3)
    assert pc.vm("--rm", "box", "echo", "here").stdout == b"here\n"
    pc("rm", "-f", "bomb", check=True)
    until(lambda: not pc.machines())


@pytest.mark.vm
def test_nothing_is_left_when_the_server_is_killed_during_a_boot(tmp_path: Path) -> None:
    skip_without_machines()
    other = Pycontain(tmp_path / "other")
    try:
        argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "vm", "box", "true"]
        process = subprocess.Popen(argv, env=other.env, stderr=subprocess.PIPE)
        until(other.machines)
        os.kill(other.server(), signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 125 and errors.startswith(b"pycontain: ") and errors.count(b"\n") == 1
        until(lambda: not other.processes())
        (left,) = (other.root / "vm" / "templates").iterdir()
        os.utime(left, (1, 1))  # long ago
        assert other.vm("--rm", "box", "echo", "here").stdout == b"here\n"
        (made,) = (other.root / "vm" / "templates").iterdir()
        assert made != left and (made / "template.json").exists()
    finally:
        other.end()
