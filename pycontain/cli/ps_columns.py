"""What `top CONTAINER [ps OPTIONS]` shows: the columns of ps(1), out of what a runtime tells of a process.

A runtime's row has at least pid, ppid, uid, user, state, threads, cpu (seconds), rss (bytes), started (ns since the
epoch), tty (0: none), command; a column of something else shows "-" where it is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pycontain.cli.options import UsageError

Row = dict[str, Any]


class Column(NamedTuple):
    """show(row, now): its cell, at a time in seconds since the epoch."""

    header: str
    show: Callable[[Row, float], str]


def _field(name: str) -> Callable[[Row, float], str]:
    return lambda row, now: str(row[name]) if row.get(name) is not None else "-"


def _kib(name: str) -> Callable[[Row, float], str]:
    return lambda row, now: str(row[name] // 1024) if row.get(name) is not None else "-"


def _age(row: Row, now: float) -> float:
    return max(now - int(row["started"]) / 1e9, 0.0)


def _percent(row: Row, now: float) -> str:
    return f"{100 * row['cpu'] / max(_age(row, now), 0.01):.1f}"


def _clock(seconds: int) -> str:
    """[DD-]HH:MM:SS."""
    days, rest = divmod(seconds, 86400)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def _elapsed(row: Row, now: float) -> str:
    """[[DD-]HH:]MM:SS."""
    text = _clock(int(_age(row, now)))
    return text[3:] if text.startswith("00:") else text


def _start(row: Row, now: float) -> str:
    return time.strftime("%H:%M" if _age(row, now) < 86400 else "%b%d", time.localtime(row["started"] / 1e9))


def _terminal(row: Row, now: float) -> str:
    number = row["tty"]
    return f"pts/{number & 0xFF | number >> 12 & 0xFFF00}" if number else "?"


def _state(row: Row, now: float) -> str:
    nice = int(row.get("nice") or 0)
    leader = "s" if row.get("sid") == row["pid"] else ""
    mark = "N" if nice > 0 else "<" if nice < 0 else ""
    front = "+" if row.get("foreground") and row.get("foreground") == row.get("pgid") else ""
    return str(row["state"]) + mark + leader + ("l" if row["threads"] > 1 else "") + front


def _memory_percent(row: Row, now: float) -> str:
    total = row.get("memory_total")
    return f"{100 * row['rss'] / total:.1f}" if total else "-"


_COMMAND = _field("command")
_ALL: tuple[tuple[str, Column], ...] = (
    ("pid tgid", Column("PID", _field("pid"))),
    ("ppid", Column("PPID", _field("ppid"))),
    ("pgid pgrp", Column("PGID", _field("pgid"))),
    ("sid sess session", Column("SID", _field("sid"))),
    ("user euser uname", Column("USER", _field("user"))),
    ("uid euid", Column("UID", _field("uid"))),
    ("gid egid", Column("GID", _field("gid"))),
    ("c", Column("C", lambda row, now: _percent(row, now).partition(".")[0])),
    ("pcpu %cpu", Column("%CPU", _percent)),
    ("pmem %mem", Column("%MEM", _memory_percent)),
    ("rss rssize rsz", Column("RSS", _kib("rss"))),
    ("vsz vsize", Column("VSZ", _kib("vsz"))),
    ("tty tt tname", Column("TTY", _terminal)),
    ("stat", Column("STAT", _state)),
    ("s state", Column("S", _field("state"))),
    ("ni nice", Column("NI", _field("nice"))),
    ("nlwp thcount", Column("NLWP", _field("threads"))),
    ("stime start_time", Column("STIME", _start)),
    ("start", Column("STARTED", lambda row, now: time.strftime("%H:%M:%S", time.localtime(row["started"] / 1e9)))),
    ("lstart", Column("STARTED", lambda row, now: time.strftime("%c", time.localtime(row["started"] / 1e9)))),
    ("etime", Column("ELAPSED", _elapsed)),
    ("etimes", Column("ELAPSED", lambda row, now: str(int(_age(row, now))))),
    ("time cputime", Column("TIME", lambda row, now: _clock(int(row["cpu"])))),
    ("comm ucmd ucomm", Column("COMMAND", _field("name"))),
    ("args cmd command", Column("COMMAND", _COMMAND)),
)  # fmt: skip
COLUMNS: dict[str, Column] = {name: column for names, column in _ALL for name in names.split()}
COLUMNS["cmd"] = COLUMNS["cmd"]._replace(header="CMD")
_FULL = ("user:UID", "pid", "ppid", "c", "stime", "tty", "time", "cmd")
_EXTRA_FULL = ("user:UID", "pid", "ppid", "c", "vsz", "rss", "stime", "tty", "time", "cmd")
_LONG = ("s", "uid", "pid", "ppid", "c", "ni", "vsz", "tty", "time", "comm:CMD")
_BSD_USER = ("user", "pid", "%cpu", "%mem", "vsz", "rss", "tty", "stat", "stime:START", "time", "command")
_BSD = ("pid", "tty", "stat", "time", "command")
_PRESETS = {("f", True): _FULL, ("F", True): _EXTRA_FULL, ("l", True): _LONG, ("u", False): _BSD_USER}
_SHORT = ("pid", "tty", "time", "comm:CMD")


def columns(words: Sequence[str]) -> list[Column]:
    """The columns that ps's options ask for. Which processes are shown is not theirs: always the container's.

    Understood: -e -A -a -d -x and a x, which choose processes; -f -F -l u, -o LIST and --format LIST; -w and ww.
    Raises UsageError for others.
    """
    if not words:
        return _named(_FULL)
    chosen: list[Column] = []
    preset: tuple[str, ...] | None = None
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--format"):
            value = word.removeprefix("--format").removeprefix("=") or (rest.pop(0) if rest else "")
            chosen += _listed(value)
            continue
        dash = word.startswith("-")
        letters = word.lstrip("-")
        if word.startswith("--") or not letters:
            raise _unknown(word)
        for position, letter in enumerate(letters):
            if letter == "o":
                chosen += _listed(letters[position + 1 :] or (rest.pop(0) if rest else ""))
                break
            if (letter, dash) in _PRESETS:
                preset = _PRESETS[letter, dash]
            elif letter not in ("eAadxw" if dash else "axw"):
                raise _unknown(word)
        if preset is None and not dash and not chosen:
            preset = _BSD
    return chosen or _named(preset or _SHORT)


def _unknown(word: str) -> UsageError:
    return UsageError(
        f"top: ps option {word} is not there", hint="there are -ef, -eF, -el, aux and -eo COLUMNS"
    )


def _listed(text: str) -> list[Column]:
    """pid,ppid,comm or pid=NUMBER,…: a header of one's own takes the rest of the word, as in ps."""
    found = []
    if not text:
        raise UsageError("top: ps option -o needs columns", hint="for example -eo pid,comm")
    for item in text.replace(" ", ",").split(","):
        name, equals, header = item.partition("=")
        name = name.partition(":")[0]
        if name not in COLUMNS:
            raise UsageError(
                f"top: ps has no column {name!r} here", hint="there are " + " ".join(sorted(COLUMNS))
            )
        found.append(COLUMNS[name]._replace(header=header) if equals else COLUMNS[name])
    return found


def _named(names: Sequence[str]) -> list[Column]:
    """COLUMN or COLUMN:HEADER."""
    found = []
    for item in names:
        name, _, header = item.partition(":")
        found.append(COLUMNS[name]._replace(header=header) if header else COLUMNS[name])
    return found
