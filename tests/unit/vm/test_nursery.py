"""When zygotes are made, used, given up and ended; the zygote itself is a double."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pycontain.errors import MachineError
from pycontain.vm import nursery, qemu
from pycontain.vm.nursery import Nursery
from pycontain.vm.template import Template

PROGRAM = qemu.Qemu("/q", "7.2", "test")
TEMPLATE = Template("key", "/t", "/k", "6.1", "microvm", "tcg", 128, 1, 3, "virtio2", "virtio1", 1.0)
MACHINE = qemu.Machine("microvm", "tcg", 128, 1, None, "/ram", False, "/con", "/disk")


class Double:
    """pid counts those that were made."""

    made = 0
    ended: list[int] = []
    make_fails = fork_fails = ""

    def __init__(self) -> None:
        Double.made += 1
        self.pid = Double.made

    @classmethod
    async def make(cls, *_: Any) -> Double:
        await asyncio.sleep(0)
        if cls.make_fails:
            raise MachineError(cls.make_fails)
        return cls()

    async def fork(self, *_: Any) -> str:
        await asyncio.sleep(0)
        if self.fork_fails:
            raise MachineError(self.fork_fails)
        return f"forked of {self.pid}"

    async def end(self) -> None:
        Double.ended.append(self.pid)


Ask = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Ask, Nursery], Any]], None]:
    monkeypatch.setattr(nursery, "Zygote", Double)
    monkeypatch.setattr(Double, "made", 0)
    monkeypatch.setattr(Double, "ended", [])

    def run(scenario: Callable[[Ask, Nursery], Any]) -> None:
        async def main() -> None:
            it = Nursery(str(tmp_path))

            async def ask(template: Template = TEMPLATE, machine: qemu.Machine = MACHINE) -> Any:
                return await it.fork(PROGRAM, template, machine, "/log")

            await scenario(ask, it)

        asyncio.run(main())

    return run


def test_the_second_machine_makes_one(asked: Any) -> None:
    async def scenario(ask: Ask, it: Nursery) -> None:
        assert await ask() is None
        assert it.pids() == []
        together = await asyncio.gather(ask(), ask(), ask())
        assert together == ["forked of 1"] * 3
        other = TEMPLATE._replace(key="other")
        assert [await ask(other), await ask(other)] == [None, "forked of 2"]
        assert it.pids() == [1, 2]
        await it.end()
        assert Double.ended == [1, 2]

    asked(scenario)


def test_the_second_machine_long_after_the_first_makes_none(asked: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(nursery, "AGAIN", 0.0)

    async def scenario(ask: Ask, it: Nursery) -> None:
        assert [await ask(), await asyncio.sleep(0.01), await ask()] == [None, None, None]

    asked(scenario)


def test_under_kvm_there_is_none(asked: Any) -> None:
    async def scenario(ask: Ask, it: Nursery) -> None:
        kvm = TEMPLATE._replace(accel="kvm")
        assert [await ask(kvm), await ask(kvm), await ask(kvm)] == [None] * 3

    asked(scenario)


def test_an_unused_one_ends(asked: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(nursery, "UNUSED", 0.02)

    async def scenario(ask: Ask, it: Nursery) -> None:
        await ask()
        await ask()
        await asyncio.sleep(0.1)
        assert Double.ended == [1] and it.pids() == []
        assert await ask() == "forked of 2"
        await it.end()

    asked(scenario)


def test_qemu_that_cannot_be_forked_is_asked_once(asked: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(Double, "make_fails", "fork QEMU: no ptrace here")

    async def scenario(ask: Ask, it: Nursery) -> None:
        assert [await ask(), await ask(), await ask()] == [None] * 3
        assert await asyncio.gather(ask(), ask()) == [None, None]

    asked(scenario)
    assert capsys.readouterr().err == "a machine is cloned without a zygote: fork QEMU: no ptrace here\n"


def test_one_that_does_not_come_up_is_not_waited_for(asked: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(nursery, "DEADLINE", 0.01)
    monkeypatch.setattr(Double, "make", lambda *_: asyncio.sleep(1000))

    async def scenario(ask: Ask, it: Nursery) -> None:
        assert [await ask(), await ask(), await ask()] == [None] * 3
        await it.end()

    asked(scenario)
    assert "there was none within 0.01 s" in capsys.readouterr().err


def test_one_that_fails_is_replaced(asked: Any, monkeypatch: Any, capsys: Any) -> None:
    async def scenario(ask: Ask, it: Nursery) -> None:
        await ask()
        monkeypatch.setattr(Double, "fork_fails", "fork process 7: No such process")
        assert await ask() is None
        monkeypatch.setattr(Double, "fork_fails", "")
        assert await ask() == "forked of 2"
        assert Double.ended == [1]
        await it.end()

    asked(scenario)
    assert "No such process" in capsys.readouterr().err


def test_a_port_that_is_taken_is_the_user_s_to_know(asked: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        Double, "fork_fails", "Could not set up host forwarding rule 'tcp:0.0.0.0:80-:80'"
    )

    async def scenario(ask: Ask, it: Nursery) -> None:
        await ask()
        with pytest.raises(MachineError, match="forwarding rule"):
            await ask(TEMPLATE, MACHINE._replace(forwards=(("0.0.0.0", 80, 80, "tcp"),)))
        assert it.pids() == [1] and Double.ended == []
        await it.end()

    asked(scenario)
