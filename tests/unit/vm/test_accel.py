"""The accelerator, by verdicts that are given; the measurement itself only where it must come to an end."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pycontain.errors import MachineError
from pycontain.vm import accel
from pycontain.vm.accel import Verdict

GOOD = Verdict(True, 2e9, "a guest runs 2000 million instructions per second")
BAD = Verdict(False, 0, "there is no /dev/kvm")


def give(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> list[int]:
    """measure() gives this; one entry for each time that it is asked."""
    asked: list[int] = []

    def measure() -> Verdict:
        asked.append(1)
        return verdict

    monkeypatch.setattr(accel, "measure", measure)
    return asked


@pytest.mark.parametrize(
    ("wanted", "verdict", "chosen"),
    [
        ("auto", GOOD, "kvm"),
        ("auto", BAD, "tcg"),
        ("kvm", GOOD, "kvm"),
        ("tcg", GOOD, "tcg"),
        ("tcg", BAD, "tcg"),
    ],
)
def test_the_choice(
    wanted: str, verdict: Verdict, chosen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    give(monkeypatch, verdict)
    assert accel.choose(wanted, str(tmp_path)) == chosen


def test_kvm_that_does_not_work_is_told_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give(monkeypatch, BAD)
    with pytest.raises(MachineError, match="there is no /dev/kvm"):
        accel.choose("kvm", str(tmp_path))
    with pytest.raises(MachineError, match="xen is not one of"):
        accel.choose("xen", str(tmp_path))


def test_a_verdict_holds_until_the_next_boot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = give(monkeypatch, GOOD)
    assert accel.remembered(str(tmp_path)) == accel.remembered(str(tmp_path)) == GOOD
    assert len(asked) == 1
    file = tmp_path / "accel.json"
    for change in ({"boot": "another"}, {"uid": os.geteuid() + 1}):
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        assert accel.remembered(str(tmp_path)) == GOOD
    file.write_text("{damaged")
    assert accel.remembered(str(tmp_path)) == GOOD
    assert len(asked) == 4


def test_devices_that_are_none(tmp_path: Path) -> None:
    assert accel.measure(str(tmp_path / "kvm")) == Verdict(False, 0, f"there is no {tmp_path}/kvm")
    (tmp_path / "kvm").touch()
    verdict = accel.measure(str(tmp_path / "kvm"))
    assert not verdict.works and "does not run" in verdict.reason


def test_a_guest_that_never_halts_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(accel, "_run_loop", lambda device: time.sleep(60))
    (tmp_path / "kvm").touch()
    begun = time.monotonic()
    verdict = accel.measure(str(tmp_path / "kvm"))
    assert not verdict.works and "did not end" in verdict.reason
    assert time.monotonic() - begun < 10 * accel.DEADLINE


def test_a_slow_guest_is_not_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kvm").touch()
    for speed, works in ((accel.GOOD - 1, False), (accel.GOOD + 1, True)):
        monkeypatch.setattr(accel, "_run_loop", lambda device, speed=speed: f"yes {speed:.0f}")
        verdict = accel.measure(str(tmp_path / "kvm"))
        assert (verdict.works, verdict.speed) == (works, speed)
