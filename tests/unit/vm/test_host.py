"""What of a host a saved machine depends on; and its time stamp counter, measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pycontain.vm import accel, host, qemu, tsc
from pycontain.vm.accel import Verdict
from pycontain.vm.host import Host

HERE = Host("7.2.22", "tcg", "", 2_300_000)
KVM = Host("7.2.22", "kvm", "Some CPU, features 1", 0)
CPUINFO = """processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 207
model name	: Some CPU
stepping	: 2
flags		: fpu sse avx2

processor	: 1
model name	: Another CPU
"""


@pytest.mark.parametrize(
    ("saved", "here", "words"),
    [
        (HERE, HERE, None),
        (HERE, HERE._replace(tsc=2_301_000), None),
        (HERE, HERE._replace(qemu="8.0.1"), "saved by QEMU 7.2.22, and here is 8.0.1"),
        (HERE, HERE._replace(tsc=2_600_000), "counted 2.30 GHz where it was saved, and counts 2.60 here"),
        (KVM, KVM, None),
        (KVM, KVM._replace(processor="Some CPU, features 2"), "another processor"),
    ],
)
def test_what_has_to_be_the_same(saved: Host, here: Host, words: str | None) -> None:
    found = saved.differs(here)
    assert found == words if words is None else words in (found or "")


def test_obstacles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = qemu.Qemu("/q", "7.2.22", "PATH", "q35")
    monkeypatch.setattr(tsc, "measure", lambda: 2_300_000)
    assert host.obstacle(HERE, "q35", program, str(tmp_path)) is None
    assert "no firmware" in (host.obstacle(HERE, "microvm", program, str(tmp_path)) or "")
    monkeypatch.setattr(accel, "measure", lambda: Verdict(False, 0, "there is no /dev/kvm"))
    assert "there is no /dev/kvm" in (host.obstacle(KVM, "q35", program, str(tmp_path)) or "")


def test_a_processor_is_its_model_and_what_it_can() -> None:
    told = host.processor(CPUINFO)
    assert told.startswith("Some CPU, features ")
    assert host.processor(CPUINFO.replace("avx2", "avx2 avx512f")) != told
    assert host.processor(CPUINFO + "\n\nprocessor: 2\nflags: none\n") == told
    assert host.parse(json.loads(json.dumps(KVM))) == KVM


def test_the_time_stamp_counter_is_measured_once_a_boot(tmp_path: Path) -> None:
    first = tsc.kilohertz(str(tmp_path))
    assert 200_000 < first < 10_000_000 and first % tsc.ROUNDED == 0
    assert abs(tsc.measure() - first) < first * 0.001
    assert json.loads((tmp_path / "tsc.json").read_text())["values"] == {"khz": first}
    (tmp_path / "tsc.json").write_text("[]")
    assert abs(tsc.kilohertz(str(tmp_path)) - first) < first * 0.001
