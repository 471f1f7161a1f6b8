"""Interactive containers: the test holds the user's terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator

import pytest
from command_line import CommandLine


class User:
    """A person at a terminal of 24 by 80."""

    def __init__(self, cli: CommandLine, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.seen = b""
        self.process = cli.spawn(
            *words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=_take_terminal
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def sees(self, text: str, seconds: float = 20) -> None:
        """Read until the text is there, and forget all up to it."""
        end = time.monotonic() + seconds
        while text.encode() not in self.seen:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                self.seen += os.read(self.master, 65536)
        self.seen = self.seen.partition(text.encode())[2]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        os.close(self.master)
        os.close(self.slave)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def shell(pycontain: CommandLine) -> Iterator[User]:
    user = User(pycontain, "run", "-it", "--rm", "-e", "PS1=ready> ", "host/base", "bash", "--norc")
    user.sees("ready> ")
    yield user
    user.close()


def test_terminal_and_exit_code(shell: User) -> None:
    shell.types("tty; stty size; test -t 1 && echo is'a'terminal\r")
    shell.sees("/dev/pts/")
    shell.sees("24 80")
    shell.sees("isaterminal")
    shell.types("exit 5\r")
    assert shell.process.wait(20) == 5
    assert termios.tcgetattr(shell.slave) == shell.before


def test_window_follows(shell: User) -> None:
    shell.types("echo s'e't; until [ \"$(stty size)\" = '50 132' ]; do sleep 0.02; done; echo f'o'llowed\r")
    shell.sees("set")
    shell.resize(50, 132)
    shell.sees("followed")


def test_ctrl_c_goes_to_the_program(shell: User) -> None:
    shell.types('python3 -c \'import time; print("be" + "gin", flush=True); time.sleep(100)\'\r')
    shell.sees("begin")
    shell.types("\x03")
    shell.sees("ready> ")
    shell.types("echo code=$?\r")
    shell.sees("code=130")


def test_detach_and_attach(pycontain: CommandLine) -> None:
    user = User(
        pycontain, "run", "-it", "--name", "leave", "-e", "PS1=ready> ", "host/base", "bash", "--norc"
    )
    try:
        user.sees("ready> ")
        user.types("echo st'a'y\r")
        user.sees("stay")
        user.types("\x10\x11")
        assert user.process.wait(20) == 0
        assert termios.tcgetattr(user.slave) == user.before
        assert pycontain("ps", "--format", "{{.Names}}", "-f", "name=leave").stdout == "leave\n"
    finally:
        user.close()
    again = User(pycontain, "attach", "leave")
    try:
        time.sleep(0)
        again.types("\r")
        again.sees("ready> ")
        again.types("exit 4\r")
        assert again.process.wait(20) == 4
    finally:
        again.close()
        pycontain("rm", "-f", "leave")


def test_terminal_is_restored_when_we_are_told_to_end(shell: User) -> None:
    shell.process.send_signal(signal.SIGTERM)
    assert shell.process.wait(20) == 128 + signal.SIGTERM
    assert termios.tcgetattr(shell.slave) == shell.before


def test_terminal_needs_a_terminal(pycontain: CommandLine) -> None:
    done = pycontain("run", "--rm", "-it", "host/base", "true", code=125)
    assert "terminal" in done.stderr


def test_exec_with_terminal(pycontain: CommandLine, container: Callable[..., str]) -> None:
    name = container("host/base", "sleep", "60")
    user = User(
        pycontain, "exec", "-it", name, "sh", "-c", "test -t 0 && stty size; read x; echo got $x; exit 6"
    )
    try:
        user.sees("24 80")
        user.types("word\r")
        user.sees("got word")
        assert user.process.wait(20) == 6
    finally:
        user.close()


def test_terminal_output_without_input(pycontain: CommandLine) -> None:
    done = subprocess.run(
        [*pycontain.program, "run", "--rm", "-t", "host/base", "sh", "-c", "test -t 1 && echo yes"],
        env=pycontain.environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.stdout == b"yes\r\n"
