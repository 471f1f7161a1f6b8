"""Reading what a container has printed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from host_kernel import MakeContainer

from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.logs import read_log
from pycontain.engine.start import start


def record(time: int, stream: int, data: bytes) -> bytes:
    return struct.pack("<QBI", time, stream, len(data)) + data


@pytest.fixture
def logged(make: MakeContainer) -> Container:
    container = make("true")
    Path(container.directory, "log").write_bytes(
        record(10, 1, b"one\ntw")
        + record(20, 2, b"error\n")
        + record(30, 1, b"o\nthree\n")
        + record(40, 1, b"end")
        + record(50, 1, b"cut off")[:-3]
    )
    return container


def test_all(engine: Engine, logged: Container) -> None:
    assert [r[1:] for r in read_log(engine, logged)] == [
        (1, b"one\ntw"),
        (2, b"error\n"),
        (1, b"o\nthree\n"),
        (1, b"end"),
    ]


def test_lines_have_the_time_of_their_first_byte(engine: Engine, logged: Container) -> None:
    assert [tuple(r) for r in read_log(engine, logged, whole_lines=True)] == [
        (10, 1, b"one\n"),
        (20, 2, b"error\n"),
        (10, 1, b"two\n"),
        (30, 1, b"three\n"),
        (40, 1, b"end"),
    ]


@pytest.mark.parametrize(("tail", "lines"), [(0, []), (1, [b"end"]), (2, [b"three\n", b"end"]), (99, None)])
def test_tail(engine: Engine, logged: Container, tail: int, lines: list[bytes] | None) -> None:
    found = [r.data for r in read_log(engine, logged, tail=tail)]
    assert found == lines if lines is not None else len(found) == 5


def test_since_and_until(engine: Engine, logged: Container) -> None:
    assert [r.data for r in read_log(engine, logged, since=20, until=30)] == [b"error\n", b"o\nthree\n"]


def test_no_log_yet(engine: Engine, make: MakeContainer) -> None:
    assert list(read_log(engine, make("true"))) == []


def test_follow_until_the_end(engine: Engine, make: MakeContainer) -> None:
    container = make("sh", "-c", "echo one; sleep 0.2; echo two")
    start(engine, container, attach=False)
    assert b"".join(r.data for r in read_log(engine, container, follow=True)) == b"one\ntwo\n"


def test_follow_after_tail(engine: Engine, make: MakeContainer) -> None:
    container = make("sh", "-c", "echo one; sleep 0.3; printf two")
    start(engine, container, attach=False)
    found = b"".join(r.data for r in read_log(engine, container, follow=True, tail=1, whole_lines=True))
    assert found in (b"one\ntwo", b"two")
