"""The report, the page and the packing; the probe, run on the host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pycontain.compare import consolidate, probe
from pycontain.compare.report import METRICS, Report, Row
from pycontain.compare.text import number, table
from pycontain.errors import MachineError

SPEC = b"""
[host]
cpus = 8
memory = 8000
reserve = 0
[machine]
memory = 40
[[service]]
name = "web"
count = 10
cpu = 0.2
cpu_peak = 2
memory = 300
memory_peak = 600
"""


def report() -> Report:
    rows = [
        Row("host", "host", "", "none", "", {"first": [0.002], "cpu": [100.0]}, {}),
        Row(
            "container",
            "container",
            "",
            "a kernel",
            "pycontain run --rm hello",
            {"first": [0.06, 0.07, 0.05], "cpu": [99.0]},
            {},
        ),
        Row(
            "machine (TCG)",
            "machine",
            "tcg",
            "a <CPU>",
            "pycontain run",
            {"first": [0.3]},
            {"cpu": "it broke"},
        ),
    ]
    return Report(
        "hello", ["true"], rows, ["podman: not installed"], {"kernel": "6.1", "cpus": 2, "time": "now"}
    )


def test_medians_and_json() -> None:
    value = report().to_json()
    assert value["rows"][1]["median"]["first"] == 0.06
    assert value["rows"][2]["failures"] == {"cpu": "it broke"}
    assert {metric["key"] for metric in value["metrics"]} == {metric.key for metric in METRICS}


def test_the_table_tells_numbers_boundaries_and_what_is_missing() -> None:
    text = table(report())
    assert "start to first output (s)" in text and "0.060" in text
    assert "a kernel" in text and "podman: not installed" in text and "it broke" in text
    assert [number(v) for v in (None, 0.0, 0.00032, 0.0052, 0.1234, 1.234, 12.34, 123.4, 12345.0)] == [
        "-",
        "0.000",
        "0.00032",
        "0.0052",
        "0.123",
        "1.23",
        "12.3",
        "123",
        "12,345",
    ]


def test_the_page_is_one_file() -> None:
    pytest.importorskip("matplotlib")
    from pycontain.compare.page import page

    text = page(report())
    assert "Beside the container, machine (TCG): the time to start is 5.00 times as much." in text
    assert text.count("The scale is logarithmic") == 1  # 2 ms to 300 ms
    assert text.count("<svg") == 2 and "a &lt;CPU&gt;" in text
    assert "src=" not in text and "@import" not in text


def test_the_probe_runs_on_the_host(tmp_path: Path) -> None:
    for name, data in (
        ("exit", probe.exiting()),
        ("measure", probe.measuring(os.fsencode(tmp_path / "exit"), os.fsencode(tmp_path / "f"))),
    ):
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o755)
    assert subprocess.run([tmp_path / "exit"], timeout=20, check=False).returncode == 0
    done = subprocess.run([tmp_path / "measure"], capture_output=True, timeout=60, check=True)
    times = probe.read_times(done.stdout)
    assert 0 < times.loop < 1e-3 and 0 < times.call < 1e-3 and 0 < times.fork < 1 and times.file > 1e6
    assert not (tmp_path / "f").exists()
    with pytest.raises(MachineError):
        probe.read_times(b"short")


def test_containers_need_fewer_hosts() -> None:
    containers, machines = consolidate.pack(consolidate.read_spec(SPEC, "s.toml"))
    assert (len(containers.hosts), len(machines.hosts)) == (1, 4)
    assert containers.memory > machines.memory
    assert "10 × web" in consolidate.text([containers, machines])


HOST = b"[host]\ncpus = 4\nmemory = 1000\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"x = [", "read s"),
        (b"[host]\ncpus=1\nmemory=1\n", "service"),
        (SPEC.replace(b"= 600", b"= 60000"), "fit"),
        (b"[host]\ncpus=0\nmemory=1\n[[service]]\nname='a'", r"\[host\]: cpus = 0: not above 0"),
        (HOST + b"[[service]]\nname='a'\ncpu=1\nmemory=1\ntypo=3", "service a: typo is not known"),
        (HOST + b"[[service]]\nname='a'\ncpu='x'\nmemory=1", "service a: cpu = 'x': not a number"),
        (HOST + b"[[service]]\nname='a'\ncpu=nan\nmemory=1", "service a: cpu = nan: not a number"),
        (HOST + b"[[service]]\nname='a'\ncpu=2\ncpu_peak=1\nmemory=1", "cpu_peak = 1: not at least the average, 2"),
        (HOST + b"[[service]]\nname='a'\ncpu=1\nmemory=1\ncount=-3", "count = -3: not a whole number"),
        (HOST + b"[[service]]\nname='a'\ncpu=0\nmemory=0\ncount=100000000", "not at most 10000 instances"),
        (HOST + b"[[service]]\ncpu=1\nmemory=1", "name = None: not a name"),
        (b"service = 1\n" + HOST, "there is no"),
    ],
)
def test_specifications_that_make_no_sense(data: bytes, words: str) -> None:
    with pytest.raises(MachineError, match=words):
        consolidate.pack(consolidate.read_spec(data, "s.toml"))


def test_many_services_are_packed_in_no_time() -> None:
    service = b"[[service]]\nname='a'\ncpu=0.1\nmemory=10\ncount=10000"
    begun = time.process_time()
    containers, machines = consolidate.pack(consolidate.read_spec(HOST + service, "s.toml"))
    assert time.process_time() - begun < 20
    # 3.6 cores: 0.1 each, one of them at its peak; or each at its peak and a twentieth
    assert (len(containers.hosts), len(machines.hosts)) == (-(-10000 // 35), -(-10000 // 17))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--consolidate", "s.toml", "--html", "x"], "--html does not go with it"),
        (["--consolidate", "s.toml", "image"], "IMAGE does not go with it"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], reason: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pycontain", "compare", *words], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 125 and reason in done.stderr.decode()
