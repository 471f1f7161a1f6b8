"""Interleaved runs, and medians: a figure is a ratio of two programs that ran in turns on the same machine."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table. ratio: ours / peer's; bar: what is promised; holds: None where it was not measured."""

    work: str
    ours: str
    peer: str
    ratio: float | None
    bar: str
    holds: bool | None


def interleaved(rounds: int, *actions: Callable[[], object]) -> list[float]:
    """The median seconds of each action, after one run of each that does not count."""
    times: list[list[float]] = [[] for _ in actions]
    for number in range(rounds + 1):
        for action, found in zip(actions, times, strict=True):
            seconds = timed(action)
            if number:
                found.append(seconds)
    return [statistics.median(found) for found in times]


def timed(action: Callable[[], object]) -> float:
    """How many seconds it takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def command(words: Sequence[str], environment: dict[str, str] | None = None) -> Callable[[], str]:
    """An action: run a program to its end, and give its output. It must succeed."""

    def run() -> str:
        done = subprocess.run(
            words,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.returncode}\n{done.stderr}")
        return done.stdout

    return run


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 2 else f"{seconds:.1f} s"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| work | ours | peer | ratio | bar | holds |", "|---|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else "-"
        holds = {True: "yes", False: "NO", None: "-"}[row.holds]
        lines.append(f"| {row.work} | {row.ours} | {row.peer} | {ratio} | {row.bar} | {holds} |")
    return "\n".join(lines)
