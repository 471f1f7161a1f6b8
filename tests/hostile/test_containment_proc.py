"""What /proc, /dev, terminals and standard input name."""

from __future__ import annotations

import os
import pty
import subprocess
import time

import pytest
from worlds import World


def test_nothing_of_the_host_in_proc_and_dev(world: World) -> None:
    text = world.attack("proc", str(world.directory / "secret"), str(world.kernel_pid()))
    assert text.endswith("end\n")


@pytest.mark.parametrize("kind", ["file", "directory", "terminal"])
def test_standard_input_of_the_host(world: World, kind: str) -> None:
    """It may be read. It may not be written, emptied, entered or listed, and its content stays."""
    given = world.directory / "given"
    given.write_text("content of the host")
    if world.name != "root":
        os.chown(given, world.uid, world.uid)
    primary = -1
    if kind == "terminal":
        primary, fd = pty.openpty()
    else:
        fd = os.open(given if kind == "file" else world.directory, os.O_RDONLY)
    try:
        done = subprocess.run(
            [
                *(*world.cli.program, "run", "--rm", "-i", "-v", f"{world.directory}/attack:/attack:ro"),
                *("host/base", "python3", "/attack/stdin.py", world.secret),
            ],
            stdin=fd,
            env=world.cli.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(fd)
        if primary >= 0:
            os.close(primary)
    text = (done.stdout + done.stderr).decode()
    assert "ESCAPED" not in text, text
    assert given.read_text() == "content of the host"
    assert (world.directory / "secret").read_text() == world.secret
    given.unlink()


def test_a_terminal_number_that_the_host_uses_again(world: World) -> None:
    """A container closes its terminals; the next one of that number is somebody's login."""
    with world.cli.spawn(
        *("run", "--rm", "-i", "-v", f"{world.directory}/attack:/attack:ro", "host/base"),
        *("python3", "/attack/terminals.py"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as container:
        assert container.stdin is not None and container.stdout is not None
        line = container.stdout.readline().decode()
        numbers = {int(number) for number in line.split()}
        ends = [pty.openpty() for _ in range(8)]
        reused = {int(os.ttyname(slave).rsplit("/", 1)[1]) for _, slave in ends} & numbers
        if world.name != "root":
            for _, slave in ends:
                os.fchown(slave, world.uid, -1)
        container.stdin.write(b"go\n")
        container.stdin.close()
        text = container.stdout.read().decode()
        time.sleep(0.1)
        for primary, slave in ends:
            os.set_blocking(primary, False)
            with pytest.raises(BlockingIOError):
                os.read(primary, 100)
            os.close(primary)
            os.close(slave)
    assert reused, "the host did not give a number again"
    assert "ESCAPED" not in text, text
    assert "end" in text
