"""stats and top of containers that compute, fork and hold memory; the host's own figures are the measure."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Callable

import pytest
from command_line import CommandLine

BURN = "import time\nx = bytearray(64 << 20)\nprint('ready', flush=True)\nwhile True: pass"
FORKS = "while :; do ls / > /dev/null; done"


def row(pycontain: CommandLine, *names: str) -> dict[str, str]:
    (line,) = pycontain("stats", "--no-stream", "--format", "json", *names).stdout.splitlines()
    found: dict[str, str] = json.loads(line)
    return found


def percent(text: str) -> float:
    return float(text.removesuffix("%"))


def test_busy_and_full(pycontain: CommandLine, container: Callable[..., str]) -> None:
    name = container("--name", "burner", "-m", "128m", "--cpus", "0.5", "host/base", "python3", "-c", BURN)
    while "ready" not in pycontain("logs", name).stdout:
        time.sleep(0.05)
    found = row(pycontain, "burner")
    assert 15 < percent(found["CPUPerc"]) < 65  # 50 on a machine that has nothing else to do
    assert found["MemUsage"].endswith(" / 128MiB")
    assert 64 < float(found["MemUsage"].split("MiB")[0]) < 80
    assert 50 < percent(found["MemPerc"]) < 63
    assert found["PIDs"] == "1"
    assert (found["Name"], found["Container"], found["ID"]) == ("burner", "burner", name[:12])
    assert found["NetIO"] == "0B / 0B"  # the host's network, as docker shows it with --network host


def test_children_that_have_ended_count(pycontain: CommandLine, container: Callable[..., str]) -> None:
    """sh itself does next to nothing: what is shown is what its children used, who live for a millisecond."""
    name = container("host/base", "sh", "-c", FORKS)
    kernel = json.loads(pycontain("kernel", "status", "--format", "json").stdout)["pid"]
    assert kernel
    before = pycontain("top", name, "-o", "ppid,cputime").stdout
    assert before.splitlines()[0].split() == ["PPID", "TIME"]
    assert percent(row(pycontain, name)["CPUPerc"]) > 5


def test_idle_all_and_columns(pycontain: CommandLine, container: Callable[..., str]) -> None:
    name = container("--name", "sleeper", "host/base", "sleep", "inf")
    pycontain("run", "--name", "over", "host/base", "true")
    lines = pycontain("stats", "--no-stream", "-a").stdout.splitlines()
    assert lines[0].split("  ")[0] == "CONTAINER ID"
    head = "CONTAINER ID|NAME|CPU %|MEM USAGE / LIMIT|MEM %|NET I/O|BLOCK I/O|PIDS"
    assert [part.strip() for part in lines[0].split("  ") if part.strip()] == head.split("|")
    shown = {line.split()[1]: line for line in lines[1:]}
    assert shown["sleeper"].split()[2] == "0.00%"
    assert shown["over"].split()[2:6] == ["0.00%", "0B", "/", "0B"]
    assert "over" not in pycontain("stats", "--no-stream").stdout
    assert row(pycontain, "--no-trunc", "sleeper")["ID"] == name
    text = pycontain("stats", "--no-stream", "--format", "table {{.Name}}\t{{.PIDs}}", "sleeper").stdout
    assert [line.split() for line in text.splitlines()] == [["NAME", "PIDS"], ["sleeper", "1"]]
    pycontain("rm", "over")
    pycontain("stats", "--no-stream", "nobody", code=125)


def test_live_view(pycontain: CommandLine, container: Callable[..., str]) -> None:
    """On a terminal it is drawn again every second, over the last one, until Ctrl-C."""
    container("--name", "watched", "host/base", "sleep", "inf")
    master, slave = pty.openpty()
    process = pycontain.spawn(
        "stats", "watched", stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    seen = b""
    deadline = time.monotonic() + 20
    while seen.count(b"watched") < 2 and time.monotonic() < deadline:
        if select.select([master], [], [], 1)[0]:
            seen += os.read(master, 65536)
    process.send_signal(2)
    assert process.wait(10) == 0
    os.close(master)
    assert seen.count(b"\033[H") >= 2
    assert seen.count(b"CONTAINER ID") >= 2


def test_top(pycontain: CommandLine, container: Callable[..., str]) -> None:
    name = container("host/base", "sh", "-c", "nice -n 5 sleep 1234 & exec sleep 4321")
    while "sleep 1234" not in pycontain("top", name).stdout:
        time.sleep(0.05)
    lines = [
        line.split(None, 3) for line in pycontain("top", name, "-eo", "pid,ppid,ni,args").stdout.splitlines()
    ]
    assert lines[0] == ["PID", "PPID", "NI", "COMMAND"]
    assert lines[1] == ["1", "0", "0", "sleep 4321"]
    assert lines[2][1:] == ["1", "5", "sleep 1234"]
    lines = [line.split() for line in pycontain("top", name, "aux").stdout.splitlines()]
    assert lines[0] == [
        "USER",
        "PID",
        "%CPU",
        "%MEM",
        "VSZ",
        "RSS",
        "TTY",
        "STAT",
        "START",
        "TIME",
        "COMMAND",
    ]
    host = json.loads(pycontain("inspect", name).stdout)[0]["State"]["Pid"]
    told = subprocess.run(
        ["ps", "-o", "vsz=,rss=", "-p", str(host)], capture_output=True, text=True
    ).stdout.split()
    assert lines[1][4] == told[0]
    assert int(lines[1][5]) == pytest.approx(int(told[1]), rel=0.2)
    started = time.strftime("%H:%M", time.localtime(time.time() - 30)), time.strftime("%H:%M")
    assert started[0] <= lines[1][8] <= started[1] or started[0] > started[1]
    assert "columns" in pycontain("top", name, "-o", code=125).stderr
