"""The event loop: timers in order, whatever was set when, and errors of handlers that do not end it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from pycontain.kernel.loop import Loop


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def loop(errors: list[Exception]) -> Iterator[Loop]:
    made = Loop(errors.append)
    yield made
    made.close()


def test_timers_come_in_their_order(loop: Loop) -> None:
    seen: list[str] = []
    loop.later(0.02, lambda: seen.append("second"))
    loop.later(0.03, loop.stop)
    loop.later(0.01, lambda: seen.append("first"))
    start = time.monotonic()
    loop.run()
    assert seen == ["first", "second"]
    assert 0.03 <= time.monotonic() - start < 5


def test_a_timer_sets_another(loop: Loop) -> None:
    loop.later(0, lambda: loop.later(0, loop.stop))
    loop.run()


def test_a_timer_is_not_early(loop: Loop) -> None:
    start = time.monotonic()
    loop.later(0.015, loop.stop)
    loop.run()
    assert time.monotonic() - start >= 0.015


def test_errors_are_told_and_the_loop_goes_on(loop: Loop, errors: list[Exception]) -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"x")

        def ready(events: int) -> None:
            os.read(reader, 1)
            raise ValueError("a handler's")

        def due() -> None:
            raise KeyError("a timer's")

        loop.register(reader, ready)
        loop.later(0.001, due)
        loop.later(0.01, loop.stop)
        loop.run()
        assert {type(error) for error in errors} == {ValueError, KeyError}
        loop.unregister(reader)
        assert reader not in loop.handlers
    finally:
        os.close(reader)
        os.close(writer)


def test_a_waiting_loop_is_not_woken(loop: Loop) -> None:
    """No timer, no event: nothing runs (an idle kernel costs no CPU)."""
    loop.later(0.001, lambda: None)
    loop.later(0.3, loop.stop)
    before = time.process_time()
    loop.run()
    assert time.process_time() - before < 0.1
