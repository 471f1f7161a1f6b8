"""Guests of User-Mode Linux that misbehave: each ends in one clear message, and no process is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontain.errors import MachineError
from pycontain.platforms.trap.host import landlock_abi
from pycontain.vm.machine import Machine
from pycontain.vm.script import Script
from pycontain.vm.table import Table
from pycontain.vm.uml import boot, confinement, process, warden

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from machines import until
from uml_machines import UmlPycontain, skip_without_uml

pytestmark = pytest.mark.vm


def with_machine(tmp_path: Path, scenario: Callable[[Machine], Coroutine[Any, Any, None]]) -> None:
    """Boot one without a container, and end it whatever happens."""
    skip_without_uml()
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))

    async def main() -> None:
        machine = await boot.Booter(str(tmp_path)).boot(64, str(disk))
        try:
            await scenario(machine)
        finally:
            await machine.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(machine.process.pid, 0)

    asyncio.run(main())
    assert [name for name in os.listdir(tmp_path) if name.startswith(process.PREFIX)] == []


def test_a_kernel_that_panics(tmp_path: Path) -> None:
    async def scenario(machine: Machine) -> None:
        script = Script()
        script.write_file(b"/proc/sysrq-trigger", b"c")
        with pytest.raises(MachineError, match="the machine has ended"):
            await machine.exchange(script.table)
        assert "panic" in machine.process.last_words()

    with_machine(tmp_path, scenario)


def test_a_kernel_that_stands_still(tmp_path: Path) -> None:
    async def scenario(machine: Machine) -> None:
        table = Table()
        table.call("nanosleep", table.words([1000, 0]), 0)
        with pytest.raises(MachineError, match=r"no answer within 0\.5 s"):
            await machine.exchange(table, 0.5)

    with_machine(tmp_path, scenario)


def test_a_console_that_is_flooded(tmp_path: Path) -> None:
    async def scenario(machine: Machine) -> None:
        for _ in range(20):
            script = Script()
            script.write_file(b"/dev/console", b"flood\n" * 5000, what="write to the console")
            await machine.run(script)
        await asyncio.sleep(0.2)
        assert len(machine.process._said) <= process.CONSOLE_KEPT  # type: ignore[attr-defined]
        assert machine.process.last_words().endswith("flood")

    with_machine(tmp_path, scenario)


def test_what_the_guest_s_root_gets_of_the_host(tmp_path: Path) -> None:
    """Even the agent, which has every capability of the guest's."""

    async def scenario(machine: Machine) -> None:
        table = Table()
        for options in (b"/", b"/../../..", b"/etc", b""):
            at, text = table.text(b"/c/files"), table.text(options)
            table.keep(table.call("mount", table.text(b"none"), at, table.text(b"hostfs"), 0, text))
        opened = table.call("open", table.text(b"/modules/fuse.ko"), 0)
        table.keep(table.call("finit_module", opened, table.text(b""), 0))
        disk = table.call("open", table.text(b"/dev/ubda"), 1)
        table.keep(table.call("pwrite64", disk, table.data(b"x" * 512), 512, 0))
        results = (await machine.exchange(table)).results
        assert max(results) < 0, results
        with open(
            f"/proc/{machine.process.pid}/task/{machine.process.pid}/children", encoding="ascii"
        ) as file:
            (guard,) = file.read().split()
        with open(f"/proc/{guard}/task/{guard}/children", encoding="ascii") as file:
            (kernel,) = file.read().split()
        with open(f"/proc/{kernel}/status", encoding="ascii") as file:
            status = file.read()
        assert "NoNewPrivs:\t1" in status
        assert "CapEff:\t0000000000000000" in status or os.geteuid() != 0 or confinement.identity() is None

    with_machine(tmp_path, scenario)


def test_a_program_that_never_comes_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_uml()
    slow = tmp_path / "linux.uml"
    slow.write_text('#!/bin/sh\n[ "$1" = --version ] && echo 6.1.0 && exit\necho wondering\nsleep 1000\n')
    slow.chmod(0o755)
    real = boot.program.find()
    monkeypatch.setenv("PYCONTAIN_UML", str(slow))
    monkeypatch.setenv("PYCONTAIN_UML_MODULES", real.modules)
    monkeypatch.setattr(process, "LISTENING_DEADLINE", 0.5)
    disk = tmp_path / "disk"
    disk.write_bytes(b"")

    async def main() -> None:
        with pytest.raises(
            MachineError, match=r"does not come up within 0\.5 s; so did the first try"
        ) as caught:
            await boot.Booter(str(tmp_path)).boot(64, str(disk))
        assert caught.value.hint is not None and "wondering" in caught.value.hint

    asyncio.run(main())


def test_landlock_and_identity_of_what_the_warden_starts(tmp_path: Path) -> None:
    """The same confinement, around a program that tries to read what it must not."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    for path in [tmp_path, *tmp_path.parents[:3]] if confinement.identity() is not None else []:
        os.chmod(path, 0o755)  # so that only Landlock stands before it
    own = tmp_path / "own"
    own.mkdir()
    read, write = os.pipe()
    uid = confinement.identity()
    command = f"id -u; cat {secret}; cat /usr/bin/env | wc -c"
    place, program = os.open(own, os.O_PATH), os.open("/bin/sh", os.O_RDONLY)
    pid, alive = warden.spawn(
        24,
        ["sh", "-c", command],
        {1: write, 2: write, 20: place, 22: place, 24: program},
        {"PATH": "/usr/bin:/bin"},
        lambda table: confinement.confine(table, "/dev/shm", uid),
    )
    os.close(write)
    said = b""
    while data := os.read(read, 4096):
        said += data
    os.waitpid(pid, 0)
    for fd in (read, alive, place, program):
        os.close(fd)
    lines = said.split(b"\n")
    assert int(lines[0]) == (os.geteuid() if uid is None else uid)
    assert int(lines[-2]) > 1000
    assert (b"Permission denied" in said) == (landlock_abi() > 0)


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UmlPycontain]:
    skip_without_uml()
    pycontain = UmlPycontain(tmp_path_factory.mktemp("hostile-uml"))
    yield pycontain
    pycontain.end()
    assert pycontain.machines() == []


def test_a_program_s_root_is_docker_s(pc: UmlPycontain) -> None:
    attempts = (
        "busybox mount -t tmpfs none /tmp",
        "echo c > /proc/sysrq-trigger",
        "echo x > /proc/sys/kernel/core_pattern",
        "busybox mknod /m c 1 1 && head -c 1 /m",
        "busybox mknod /u b 98 0 && echo x > /u",
        "busybox mknod /p c 248 1 && head -c 1 /p",
        "busybox insmod /bin/busybox",
        "busybox reboot -f",
    )
    script = "; ".join(
        f"({attempt}) 2> /dev/null && echo done: {number}" for number, attempt in enumerate(attempts)
    )
    done = pc.uml("--rm", "box", "sh", "-c", script + "; grep CapEff /proc/self/status; echo alive")
    assert done.stdout == b"CapEff:\t00000000a80425fb\nalive\n"


def test_a_guest_that_fills_its_disk_and_its_memory(pc: UmlPycontain) -> None:
    script = "dd if=/dev/zero of=/fill bs=1M count=500 2>&1; rm /fill; echo $((6*7)); x=y; while :; do x=$x$x; done"
    done = pc.uml("--rm", "-m", "64m", "box", "sh", "-c", script, timeout=120)
    assert b"No space left" in done.stdout and done.stdout.endswith(b"42\n")
    assert done.returncode != 0
    assert pc.uml("--rm", "box", "echo", "well").stdout == b"well\n"


def test_a_guest_that_floods(pc: UmlPycontain) -> None:
    """Nobody reads: the program waits. A reader that leaves ends it."""
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "uml", "box"]
    process = subprocess.Popen(
        [*argv, "sh", "-c", "while :; do echo flood; done"], env=pc.env, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.read(500_000).startswith(b"flood\n")
    time.sleep(0.5)
    assert pc.uml("--rm", "box", "echo", "still here").stdout == b"still here\n"
    process.kill()
    process.wait()
    process.stdout.close()
    until(lambda: not pc.machines())


def test_nothing_is_left_when_the_server_is_killed(pc: UmlPycontain) -> None:
    pc.uml("-d", "--name", "orphan", "box", "sh", "-c", "sleep 1000 & sleep 1000 & wait", check=True)
    assert len(pc.machines()) > 6  # two that watch, the kernel, two helpers, the guest's processes
    os.kill(pc.server(), signal.SIGKILL)
    until(lambda: not pc.machines())
    assert b"Exited (137)" in pc("ps", "-a").stdout
    assert pc("start", "orphan").returncode == 0  # a new server takes over
    pc("rm", "-f", "orphan", check=True)


@pytest.mark.parametrize("victim", ["kernel", "guard", "reaper"])
def test_nothing_is_left_when_one_of_them_is_killed(pc: UmlPycontain, victim: str) -> None:
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "uml", "box", "sh", "-c"]
    process = subprocess.Popen(
        [*argv, "echo up; sleep 1000"], env=pc.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    os.kill(pc.tree()[victim], signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 137
    assert b"the machine ended" in errors
    until(lambda: not pc.machines())


def test_a_kernel_that_is_stopped(pc: UmlPycontain) -> None:
    """An exec fails within its deadline, and the machine is given up."""
    pc.uml("-d", "--name", "still", "box", "sleep", "1000", check=True)
    os.kill(pc.tree()["kernel"], signal.SIGSTOP)
    done = pc("exec", "still", "true")
    assert done.returncode == 125 and b"no answer within" in done.stderr
    until(lambda: not pc.machines())
    pc("rm", "-f", "still", check=True)
