"""The loop's turns: nobody keeps the others from theirs."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import pytest

from pycontain.kernel.loop import LEAST_PAUSE, Loop


class Source:
    """A listener that is always ready, and whose events take some time; the loop does not own it."""

    def __init__(self, loop: Loop, seconds: float) -> None:
        self.events = 0
        self.seconds = seconds
        self.reader, self.writer = os.pipe()
        os.write(self.writer, b"x")
        loop.handlers[self.reader] = self.ready
        loop.poll.register(self.reader, select.EPOLLIN)

    def ready(self, events: int) -> None:
        self.events += 1
        until = time.thread_time() + self.seconds
        while time.thread_time() < until:
            pass

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


def failed(error: Exception) -> None:
    raise error


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop(failed)
    yield made
    made.close()


def run(loop: Loop, seconds: float) -> None:
    loop.later(seconds, loop.stop)
    loop.run()


def test_who_takes_long_waits_for_the_others(loop: Loop) -> None:
    quick, slow = Source(loop, 0.0), Source(loop, 0.02)
    run(loop, 1.0)
    assert slow.events > 2
    assert quick.events > 20 * slow.events, "one each in turn would have been as many"
    quick.close()
    slow.close()


def test_nobody_waits_for_those_who_want_nothing(loop: Loop) -> None:
    slow = Source(loop, 2 * LEAST_PAUSE)
    spent = time.thread_time()
    run(loop, 0.5)
    spent = time.thread_time() - spent
    assert slow.events * slow.seconds > 0.9 * spent
    slow.close()


def test_a_timer_that_comes_again_at_once_lets_events_through(loop: Loop) -> None:
    source = Source(loop, 0.0)

    def again() -> None:
        loop.later(0.0, again)
        if source.events > 10:
            loop.stop()

    loop.later(0.0, again)
    loop.later(10.0, loop.stop)
    loop.run()
    assert source.events > 10
    source.close()


@pytest.mark.parametrize("watched", [False, True])
def test_a_failing_handler_ends_nothing(watched: bool) -> None:
    failures: list[Exception] = []
    loop = Loop(failures.append)
    good, slow = Source(loop, 0.0), Source(loop, 0.001 if watched else 0.0)
    bad = Source(loop, 0.0)

    def fail(events: int) -> None:
        raise ValueError("handler")

    loop.handlers[bad.reader] = fail
    run(loop, 0.2)
    assert failures and good.events and slow.events
    for source in (good, slow, bad):
        source.close()
    loop.close()
