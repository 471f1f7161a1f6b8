"""An exec of the stub that the host refuses: what may pass is tried again, and nobody is told of anything else."""

from __future__ import annotations

import errno
import os
import signal
from typing import Any

import pytest

from pycontain.platforms.trap import execute, host
from pycontain.platforms.trap import x86_64 as arch


class Host:
    """Answers as a host whose execveat has failed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.result = 0
        self.set: list[int] = []
        self.killed: list[tuple[int, int]] = []
        self.arguments = 0
        monkeypatch.setattr(host, "get_registers", lambda tid: self._registers())
        monkeypatch.setattr(host, "set_registers", self._take)
        monkeypatch.setattr(os, "kill", lambda pid, signum: self.killed.append((pid, signum)))
        monkeypatch.setattr(execute, "_arguments_error", lambda *_: self.arguments)

    def _registers(self) -> bytes:
        registers = [0] * 27
        registers[arch.RESULT] = self.result & (1 << 64) - 1
        return arch.REGISTERS.pack(*registers)

    def _take(self, tid: int, registers: bytes) -> None:
        self.set = list(arch.REGISTERS.unpack(registers))


class Task:
    tid = 7


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


@pytest.fixture
def pending() -> execute.Pending:
    program: Any = None
    made = execute.Pending(program, 3, 4, 5)
    made.stage = 3
    made.registers = [1] * 27
    made.call = [2] * 27
    return made


def refuse(fake: Host, pending: execute.Pending, error: int) -> float:
    fake.result = -error
    task: Any = Task
    return execute.refused(task, pending)


def test_what_may_pass_is_tried_again(fake: Host, pending: execute.Pending) -> None:
    pauses = [refuse(fake, pending, errno.ENOMEM) for _ in range(execute.ATTEMPTS)]
    assert pauses == sorted(pauses) and pauses[0] > 0 and 1 < sum(pauses) < 5
    task: Any = Task
    execute.try_again(task, pending)
    assert pending.stage == 2 and fake.set == [2] * 27
    assert not fake.killed
    assert refuse(fake, pending, errno.ENOMEM) == 0
    assert fake.killed == [(7, signal.SIGKILL)]


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EACCES, errno.ELOOP, errno.ENOEXEC])
def test_what_depends_on_a_path_is_not_told(fake: Host, pending: execute.Pending, error: int) -> None:
    assert refuse(fake, pending, error) == 0
    assert fake.killed == [(7, signal.SIGKILL)] and not fake.set


def test_what_the_arguments_explain_is_told(fake: Host, pending: execute.Pending) -> None:
    fake.arguments = errno.E2BIG
    assert refuse(fake, pending, errno.E2BIG) == 0
    assert pending.stage == 5
    task: Any = Task
    closed = [fake.set[arch.ARGUMENTS[0]]]
    while execute.clean_up(task, pending):
        closed.append(fake.set[arch.ARGUMENTS[0]])
    assert closed == [5, 4, 3]
    assert fake.set[arch.RESULT] == (1 << 64) - errno.E2BIG and fake.set[arch.ARGUMENTS[0]] == 1
    assert not fake.killed


def test_what_a_signal_took_back_is_made_again(fake: Host, pending: execute.Pending) -> None:
    assert refuse(fake, pending, execute.ERESTARTNOINTR) == 0
    assert pending.stage == 2 and not fake.killed and not fake.set
