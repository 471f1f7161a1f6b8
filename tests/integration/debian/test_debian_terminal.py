"""People at a terminal: job control, less, vi, top, su."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Iterator

import pytest
from debian_user import DebianUser

pytestmark = pytest.mark.debian


class Terminal:
    """A terminal of 24 by 80 with `pycontain run -it` on it."""

    def __init__(self, user: DebianUser, *words: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.seen = b""
        self.process = user.spawn(
            *("run", "-it", "--rm", "-e", "PS1=ready> ", "-e", "TERM=xterm", user.IMAGE, *words),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def sees(self, text: str, seconds: float = 20) -> None:
        """Read until the text is there, and forget all up to it."""
        assert self._shows(text, seconds), f"no {text!r} in {self.seen!r}"
        self.seen = self.seen.partition(text.encode())[2]

    def presses(self, key: str, text: str) -> None:
        """Press it until the text is seen: bash prints a prompt, or a job's name, before it is ready for signals."""
        for _ in range(20):
            self.types(key)
            if self._shows(text, 1):
                break
        self.sees(text, 0)

    def _shows(self, text: str, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while (
            text.encode() not in self.seen
            and select.select([self.master], [], [], max(0, end - time.monotonic()))[0]
        ):
            self.seen += os.read(self.master, 65536)
        return text.encode() in self.seen

    def command(self, text: str, *seen: str) -> None:
        """A line for the shell, what is seen then, in this order, and its prompt."""
        self.types(text + "\r")
        self.sees(text.rpartition(" ")[2] + "\r\n")  # the echo
        for each in (*seen, "ready> "):
            self.sees(each)

    def starts(self, perl: str = "sleep 100") -> None:
        """A program that says so when it runs: no key may come to it earlier."""
        self.types(f'perl -e \'$|=1; print "he"."re\\n"; {perl}\'\r')
        self.sees("here\r\n")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        os.close(self.master)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def bash(either: DebianUser) -> Iterator[Terminal]:
    terminal = Terminal(either, "bash", "--norc")
    terminal.sees("ready> ")
    terminal.command("bind 'set enable-bracketed-paste off'")
    yield terminal
    terminal.close()


def test_job_control(bash: Terminal) -> None:
    bash.starts()
    bash.types("\x1a")
    bash.sees("Stopped")
    bash.sees("ready> ")
    bash.command("jobs -l; ps -o stat= -C perl", "Stopped", "T")
    bash.command("bg; jobs", "Running")
    bash.types("fg\r")
    bash.sees("sleep 100'\r\n")
    bash.presses("\x03", "ready> ")
    bash.types("echo al''one\r")  # all prompts before this are gone
    bash.sees("alone")
    bash.sees("ready> ")
    bash.command("jobs; ps -C perl | wc -l", "1\r\n")
    bash.command("sh -c 'kill -STOP $$; echo again; exit 4'; echo st$?", "st147")
    bash.command("fg; echo code=$?", "again\r\n", "code=4")


def test_interrupts_and_traps(bash: Terminal) -> None:
    bash.command("trap 'echo tr\"\"apped' INT")
    bash.presses("\x03", "trapped")
    bash.types("\recho al''one\r")
    bash.sees("alone")
    bash.sees("ready> ")
    bash.starts('$SIG{INT}=sub{print "af"."ter\\n"; exit}; print "now\\n"; sleep 9')
    bash.sees("now\r\n")
    bash.types("\x03")
    bash.sees("after")
    bash.sees("ready> ")
    bash.starts("print while <STDIN>")
    bash.types("line\r\x04")
    bash.sees("line\r\nline\r\n")
    bash.sees("ready> ")
    bash.starts()
    bash.types("\x1c")
    bash.sees("Quit")
    bash.sees("ready> ")
    bash.command("trap 'echo bye' EXIT")
    bash.types("exit 3\r")
    bash.sees("bye")
    assert bash.process.wait(30) == 3


def test_the_background_may_not_read(bash: Terminal) -> None:
    bash.command("cat &")
    bash.command("wait; jobs; stty tostop; (echo unseen) & wait; jobs", "Stopped")
    bash.command("kill %1 %2; stty -tostop")


def test_less(bash: Terminal) -> None:
    bash.types("seq 1000 > /tmp/numbers; less /tmp/numbers\r")
    bash.sees("23\r\n")
    bash.types("G")
    bash.sees("1000\r\n")
    bash.types("?^500$\r")
    bash.sees("500")
    bash.types("!echo fr''om less\r")
    bash.sees("from less")
    bash.types("\rq")
    bash.sees("ready> ")
    bash.types("exit 6\r")
    assert bash.process.wait(30) == 6


def test_vi(bash: Terminal) -> None:
    bash.types("vi /tmp/text\r")
    bash.sees('"/tmp/text" [New File]')
    bash.types("ihello\rworld\x1byyp:%s/world/there/\r")
    bash.types(":w\r")
    bash.sees("written")
    bash.types(":!tr a-z A-Z < %\r")
    bash.sees("HELLO\r\nTHERE\r\nTHERE\r\n")
    bash.types("\r:q\r")
    bash.sees("ready> ")
    bash.command("wc -l < /tmp/text; ls -A /tmp", "3\r\n", "text\r\n")  # and no swap file


@pytest.mark.parametrize("program", ["top", "htop"])
def test_a_program_that_draws(bash: Terminal, program: str) -> None:
    bash.command("sleep 1234 &")
    bash.types(f"{program}\r")
    bash.sees("sleep")
    bash.types("q")
    bash.sees("ready> ")
    bash.command("kill %1; stty -a | grep -c ' echo '", "1\r\n")


def test_a_shell_of_another_user(bash: Terminal) -> None:
    """su gives the terminal to a shell with job control, and takes it back."""
    bash.command("useradd -m -s /bin/bash bob")
    bash.types("su - bob\r")
    bash.sees("$ ")
    bash.types("PS1='ready> '\r")
    bash.sees("ready> ")
    bash.sees("ready> ")
    bash.command("id -un; tty", "bob", "/dev/pts/")
    bash.starts()
    bash.types("\x1a")
    bash.sees("Stopped")
    bash.sees("ready> ")
    bash.command("kill %1; wait")
    bash.types("exit 5\r")
    bash.sees("ready> ")
    bash.command("echo code=$?; id -un", "code=5\r\nroot\r\n")
