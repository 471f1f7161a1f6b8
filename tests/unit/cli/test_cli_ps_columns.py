"""The columns of `top`, named by ps's options."""

from __future__ import annotations

import time

import pytest

from pycontain.cli.options import UsageError
from pycontain.cli.ps_columns import COLUMNS, columns
from pycontain.cli.units import binary_size

NOW = 1_700_000_000.0
ROW = {
    "pid": 7, "ppid": 1, "uid": 33, "user": "www-data", "state": "S", "threads": 3, "cpu": 3661.0, "tty": 34817,
    "rss": 2048 * 1024, "started": int((NOW - 7322) * 1e9), "command": "nginx: worker", "name": "nginx",
    "sid": 7, "pgid": 7, "foreground": 7, "nice": 5, "gid": 33, "vsz": 4096 * 1024, "memory_total": 8192 * 1024,
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "headers"),
    [
        ([], "UID PID PPID C STIME TTY TIME CMD"),
        (["-ef"], "UID PID PPID C STIME TTY TIME CMD"),
        (["aux"], "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        (["ax"], "PID TTY STAT TIME COMMAND"),
        (["-e"], "PID TTY TIME CMD"),
        (["-eo", "pid,comm"], "PID COMMAND"),
        (["-o", "pid", "-o", "args"], "PID COMMAND"),
        (["-opid"], "PID"),
        (["--format", "pid=NUMBER,ppid"], "NUMBER PPID"),
        (["--format=pid"], "PID"),
        (["axo", "user:20,pid"], "USER PID"),
    ],
)
def test_headers(words: list[str], headers: str) -> None:
    assert " ".join(column.header for column in columns(words)) == headers


@pytest.mark.parametrize("words", [["-Z"], ["--forest"], ["-eo", "nothing"], ["-o"], ["uf"], ["-"], ["-eL"]])
def test_unknown(words: list[str]) -> None:
    with pytest.raises(UsageError):
        columns(words)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pid", "7"), ("user", "www-data"), ("pcpu", "50.0"), ("c", "50"), ("pmem", "25.0"), ("rss", "2048"),
        ("vsz", "4096"), ("tty", "pts/1"), ("stat", "SNsl+"), ("time", "01:01:01"), ("etime", "02:02:02"),
        ("etimes", "7322"), ("nlwp", "3"), ("comm", "nginx"), ("args", "nginx: worker"),
        ("stime", time.strftime("%H:%M", time.localtime(NOW - 7322))),
    ],
)  # fmt: skip
def test_cell(name: str, text: str) -> None:
    assert COLUMNS[name].show(ROW, NOW) == text


def test_what_a_runtime_does_not_tell() -> None:
    least = {
        key: ROW[key] for key in ("pid", "uid", "user", "state", "threads", "cpu", "rss", "started", "tty")
    }
    assert [COLUMNS[name].show(least, NOW) for name in ("pgid", "vsz", "pmem", "comm")] == ["-"] * 4
    assert COLUMNS["stat"].show(least, NOW) == "Sl"


def test_old_processes() -> None:
    old = {**ROW, "started": int((NOW - 3 * 86400 - 5) * 1e9), "tty": 0}
    assert COLUMNS["etime"].show(old, NOW) == "3-00:00:05"
    assert COLUMNS["stime"].show(old, NOW) == time.strftime("%b%d", time.localtime(NOW - 3 * 86400))
    assert COLUMNS["tty"].show(old, NOW) == "?"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (1000, "1000B"), (1024, "1KiB"), (1293942, "1.234MiB"), (25278021632, "23.54GiB")],
)
def test_binary_sizes(count: int, text: str) -> None:
    assert binary_size(count) == text
