"""Who shares the kernel's processor, for how long, and when nobody does: with a clock and a scheduler that play the
host's."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator

import pytest

from pycontain.platforms.trap import placement
from pycontain.platforms.trap.placement import CROWDED, MOST, NEAR, REST, TURN, WAKE_UP, Placement
from pycontain.platforms.trap.traced import Memories, Memory, Traced

ALL = frozenset(range(4))
KERNEL = 0  # as sched_setaffinity(2) calls the caller


class Scheduler:
    """The host: where everybody may run, a clock, and what waits for a processor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed: dict[int, frozenset[int]] = {}
        self.now = 100.0
        self.kernel_ran = 0.0
        self.waited: dict[int, int] = {}
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.refuses = False
        monkeypatch.setattr(placement.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(placement.time, "process_time", lambda: self.kernel_ran)
        monkeypatch.setattr(placement.host, "current_processor", lambda: 2)
        monkeypatch.setattr(placement, "_schedule_of", lambda tid: self.waited.get(tid, 0))
        monkeypatch.setattr(placement.os, "sched_getaffinity", lambda pid: ALL)
        monkeypatch.setattr(placement.os, "sched_setaffinity", self.set)
        self.placement = Placement(lambda seconds, call: self.timers.append((self.now + seconds, call)))

    def set(self, tid: int, processors: Collection[int]) -> None:
        if self.refuses:
            raise OSError(22, "refused")
        self.allowed[tid] = frozenset(processors)

    def after(self, seconds: float) -> None:
        """Time passes, and what is due is done."""
        self.now += seconds
        due = [call for when, call in self.timers if when <= self.now]
        self.timers = [(when, call) for when, call in self.timers if when > self.now]
        for call in due:
            call()

    def call(self, traced: Traced) -> None:
        """As the platform does it with each call."""
        if traced.sharing:
            traced.calls += 1
        else:
            self.placement.called(traced)

    def talk(self, *several: Traced) -> None:
        for _ in range(2):
            self.now += NEAR / 10
            for traced in several:
                self.call(traced)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scheduler]:
    with monkeypatch.context() as patched:
        yield Scheduler(patched)


def task(tid: int) -> Traced:
    return Traced(tid, -1, Memory(tid, Memories(None)), None)


def test_who_calls_often_shares_until_it_does_not(host: Scheduler) -> None:
    one = task(10)
    host.call(one)
    assert host.allowed == {}
    host.now += NEAR / 2
    host.call(one)
    assert host.allowed == {KERNEL: {2}, 10: {2}}
    for _ in range(3):
        host.call(one)
        host.after(TURN)
        assert host.allowed[10] == {2}
    host.after(TURN)
    assert host.allowed == {KERNEL: ALL, 10: ALL}
    assert not host.timers  # an idle kernel is not woken


def test_rare_calls_change_nothing(host: Scheduler) -> None:
    one = task(10)
    for _ in range(5):
        host.call(one)
        host.after(2 * NEAR)
    assert host.allowed == {} and not host.timers


def test_a_chosen_set_is_kept(host: Scheduler) -> None:
    one, elsewhere = task(10), task(11)
    host.placement.choose(one, [1, 2])
    host.placement.choose(elsewhere, [0, 1])
    host.talk(one, elsewhere)
    assert host.allowed == {KERNEL: {2}, 10: {2}, 11: {0, 1}}
    assert host.placement.processors(one) == {1, 2}
    host.placement.choose(one, [1, 3])  # while it shares
    assert host.allowed[10] == {1, 3}
    for _ in range(2):
        host.after(TURN)
    assert host.allowed == {KERNEL: ALL, 10: {1, 3}, 11: {0, 1}}


def test_a_child_is_let_go_with_its_parents_set(host: Scheduler) -> None:
    parent, child = task(10), task(11)
    host.placement.choose(parent, [1, 2])
    host.talk(parent)
    host.allowed[11] = host.allowed[10]  # as fork(2) does it
    host.placement.forked(child, parent)
    for _ in range(3):
        host.after(TURN)
    assert host.allowed[11] == {1, 2}


def test_a_child_born_before_its_parent_was_let_go(host: Scheduler) -> None:
    """The event of a birth may come after the turn that has let the parent go."""
    parent, child = task(10), task(11)
    host.talk(parent)
    host.allowed[11] = host.allowed[10]
    for _ in range(3):
        host.after(TURN)
    assert host.allowed[10] == ALL
    host.placement.forked(child, parent)
    for _ in range(3):
        host.after(TURN)
    assert host.allowed[11] == ALL and not host.timers


def test_births_are_conversation(host: Scheduler) -> None:
    parent = task(10)
    for number in range(2):
        host.now += NEAR / 2
        child = task(11 + number)
        host.placement.forked(child, parent)
    assert host.allowed == {KERNEL: {2}, 10: {2}, 12: {2}}


def test_a_launched_process_comes_from_where_the_kernel_is(host: Scheduler) -> None:
    one, launched = task(10), task(11)
    host.placement.launched(task(9))
    assert host.allowed == {}
    host.talk(one)
    host.placement.launched(launched)
    for _ in range(3):
        host.after(TURN)
    assert host.allowed[11] == ALL


def test_a_thread_that_becomes_its_process(host: Scheduler) -> None:
    leader, thread = task(10), task(11)
    host.placement.choose(thread, [2, 3])
    host.talk(thread)
    host.placement.execed(leader, thread)
    assert host.placement.processors(leader) == {2, 3}
    for _ in range(3):
        host.after(TURN)
    assert host.allowed[10] == {2, 3}


def test_those_who_wait_for_each_other_part(host: Scheduler) -> None:
    one, other = task(10), task(11)
    rest = REST
    for _ in range(3):
        host.talk(one, other)
        assert host.allowed[10] == host.allowed[11] == {2}
        for _ in range(2):  # what was waited for before the first turn does not count
            host.call(one)
            host.call(other)
            host.waited[10] = host.waited.get(10, 0) + int(2 * CROWDED * TURN * 1e9)
            host.after(TURN)
        assert host.allowed == {KERNEL: ALL, 10: ALL, 11: ALL}
        host.talk(one, other)
        assert host.allowed[10] == ALL  # for a while
        host.after(rest)
        rest *= 2


def test_waiting_for_the_kernel_or_for_less_than_wake_ups_cost(host: Scheduler) -> None:
    one, other = task(10), task(11)
    host.talk(one, other)
    for _ in range(5):
        for _ in range(100):
            host.call(one)
        host.call(other)
        host.waited[10] = host.waited.get(10, 0) + int((100 * WAKE_UP + TURN / 2) * 1e9)
        host.kernel_ran += TURN / 2
        host.after(TURN)
        assert host.allowed[10] == host.allowed[11] == {2}


def test_a_crowd_is_no_conversation(host: Scheduler) -> None:
    many = [task(10 + number) for number in range(MOST + 5)]
    host.talk(*many)
    assert sum(host.allowed.get(traced.tid) == {2} for traced in many) == MOST


def test_who_has_gone_is_forgotten(host: Scheduler) -> None:
    one = task(10)
    host.talk(one)
    host.placement.gone(one)
    host.after(TURN)
    assert host.allowed == {KERNEL: ALL, 10: {2}} and not host.timers


def test_a_host_that_refuses_is_left_alone(host: Scheduler) -> None:
    one, other = task(10), task(11)
    host.talk(one)
    host.refuses = True
    host.talk(other)
    for _ in range(3):
        host.after(TURN)
    host.refuses = False
    host.after(1000)
    host.talk(other)
    assert 11 not in host.allowed


def test_who_may_not_place_others_does_not_try_again(host: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(tid: int, processors: Collection[int]) -> None:
        tried.append(tid)
        if tid != KERNEL:
            raise PermissionError(1, "refused")
        host.set(tid, processors)

    one = task(10)
    with monkeypatch.context() as patched:  # undone before what the fixture has replaced
        patched.setattr(placement.os, "sched_setaffinity", refuse)
        for _ in range(5):
            host.talk(one)
            host.after(TURN)
    assert tried.count(10) == 1
    assert host.allowed[KERNEL] == ALL and not host.timers


def test_one_processor_leaves_nothing_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement.os, "sched_getaffinity", lambda pid: {3})
    monkeypatch.setattr(placement.os, "sched_setaffinity", lambda *_: pytest.fail("nothing to choose"))
    alone = Placement(lambda seconds, call: None)
    one = task(10)
    for _ in range(10):
        alone.called(one)


def test_what_the_host_tells_of_waiting() -> None:
    found = placement._schedule_of(os.getpid())
    assert found is None or found >= 0
    assert placement._schedule_of(0) is None
