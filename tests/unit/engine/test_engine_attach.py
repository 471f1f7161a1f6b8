"""Input, output and signals between this process and a program, with real pipes and terminals."""

from __future__ import annotations

import os
import pty
import signal
import struct
import termios
from collections.abc import Callable
from fcntl import ioctl

import pytest
from host_kernel import MakeContainer

from pycontain.engine.attach import FORWARDED, Attachment, Detached, Interrupted, Signals
from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.start import start


class Pipes:
    """Somebody's standard streams, and what came out of them."""

    def __init__(self, data: bytes = b"") -> None:
        self.stdin, writer = os.pipe()
        os.write(writer, data)
        os.close(writer)
        self.out_file, self.err_file = os.memfd_create("out"), os.memfd_create("err")

    @property
    def out(self) -> bytes:
        return os.pread(self.out_file, 1 << 24, 0)

    @property
    def err(self) -> bytes:
        return os.pread(self.err_file, 1 << 24, 0)

    def close(self) -> None:
        for fd in (self.stdin, self.out_file, self.err_file):
            os.close(fd)


@pytest.fixture
def pipes() -> object:
    made: list[Pipes] = []

    def new(data: bytes = b"") -> Pipes:
        made.append(Pipes(data))
        return made[-1]

    yield new
    for one in made:
        one.close()


NewPipes = Callable[..., Pipes]


def follow(engine: Engine, container: Container, ends: Pipes, *, interactive: bool = False) -> int:
    """As the command line does it without a terminal."""
    read_end = write_end = None
    if interactive:
        read_end, write_end = os.pipe()
    with Signals(FORWARDED) as signals:
        session = start(engine, container, attach=True, stdin=read_end)
        if read_end is not None:
            os.close(read_end)
        attachment = Attachment(
            session,
            stdin=ends.stdin if interactive else None,
            pipe=write_end,
            stdout=ends.out_file,
            stderr=ends.err_file,
        )
        try:
            return attachment.run(signals)
        finally:
            session.close()


def test_streams_are_kept_apart(engine: Engine, make: MakeContainer, pipes: NewPipes) -> None:
    ends = pipes()
    assert follow(engine, make("sh", "-c", "echo out; echo err >&2; exit 3"), ends) == 3
    assert (ends.out, ends.err) == (b"out\n", b"err\n")


def test_input_reaches_the_program_and_ends(engine: Engine, make: MakeContainer, pipes: NewPipes) -> None:
    ends = pipes(b"some input")
    assert follow(engine, make("cat"), ends, interactive=True) == 0
    assert ends.out == b"some input"


def test_program_that_does_not_read(engine: Engine, make: MakeContainer, pipes: NewPipes) -> None:
    assert follow(engine, make("true"), pipes(b"x" * 65536), interactive=True) == 0


def test_signal_is_passed_on(engine: Engine, make: MakeContainer, pipes: NewPipes) -> None:
    script = f"trap 'exit 9' USR1; kill -USR1 {os.getpid()}; while :; do sleep 0.05; done"
    assert follow(engine, make("bash", "-c", script), pipes()) == 9


def test_end_by_a_signal(engine: Engine, make: MakeContainer, pipes: NewPipes) -> None:
    assert follow(engine, make("sh", "-c", "kill -9 $$"), pipes()) == 128 + 9


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in FORWARDED]
    with Signals(FORWARDED) as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.arrived() == bytes([signal.SIGUSR1])
        assert signals.arrived() == b""
    assert [signal.getsignal(number) for number in FORWARDED] == before


class Typed:
    """Attach to a program with a terminal, and type."""

    def __init__(self, engine: Engine, container: Container, keys: bytes, **options: object) -> None:
        ends = Pipes(keys)
        try:
            with Signals([*FORWARDED, signal.SIGWINCH]) as signals:
                session = start(engine, container, attach=True, size=(24, 80))
                attachment = Attachment(session, stdin=ends.stdin, stdout=ends.out_file, **options)  # type: ignore[arg-type]
                try:
                    self.code = attachment.run(signals)
                finally:
                    session.signal(signal.SIGKILL)
                    session.close()
                    self.out = ends.out
        finally:
            ends.close()


def test_terminal(engine: Engine, make: MakeContainer) -> None:
    typed = Typed(engine, make("sh", "-c", "stty size; read x; echo got $x; exit 5", tty=True), b"word\r")
    assert typed.code == 5
    assert b"24 80\r\n" in typed.out
    assert b"got word\r\n" in typed.out


def test_detach_keys(engine: Engine, make: MakeContainer) -> None:
    with pytest.raises(Detached):
        Typed(engine, make("sleep", "100", tty=True), b"ab\x10\x11")
    with pytest.raises(Detached):
        Typed(engine, make("sleep", "100", tty=True), b"\x10\x10\x11")
    with pytest.raises(Detached):
        Typed(engine, make("sleep", "100", tty=True), b"xyz", detach_keys=b"z")


def test_half_of_the_detach_keys_is_input(engine: Engine, make: MakeContainer) -> None:
    typed = Typed(engine, make("sh", "-c", "read x; echo got $x", tty=True), b"xaxxz\ry", detach_keys=b"xy")
    assert b"got xaxxz\r\n" in typed.out


def test_signal_while_the_terminal_is_held(engine: Engine, make: MakeContainer) -> None:
    script = f"kill -TERM {os.getpid()}; sleep 100"
    with pytest.raises(Interrupted) as caught:
        Typed(engine, make("sh", "-c", script, tty=True), b"", forward=False)
    assert caught.value.number == signal.SIGTERM


def test_window_size_follows(engine: Engine, make: MakeContainer) -> None:
    master, slave = pty.openpty()
    try:
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 50, 132, 0, 0))
        script = f"trap 'stty size; exit 0' WINCH; kill -WINCH {os.getpid()}; while :; do sleep 0.05; done"
        typed = Typed(engine, make("bash", "-c", script, tty=True), b"", window=slave)
        assert b"50 132" in typed.out
    finally:
        os.close(master)
        os.close(slave)
