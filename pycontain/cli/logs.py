"""pycontain logs: show what a container has printed."""

from __future__ import annotations

import os
import time

import click

from pycontain.cli.options import UsageError
from pycontain.engine.clock import parse_time, rfc3339
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.logs import read_log


@click.command()
@click.argument("container")
@click.option("--details", is_flag=True, hidden=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@click.option("--since", metavar="TIME", help="From a time (RFC 3339, seconds) or an age (10m).")
@click.option("-n", "--tail", metavar="LINES", default="all", help="Only the last lines.")
@click.option("-t", "--timestamps", is_flag=True, help="Show the time of each line.")
@click.option("--until", metavar="TIME", help="Up to a time or an age.")
def logs(
    container: str,
    details: bool,
    follow: bool,
    since: str | None,
    tail: str,
    timestamps: bool,
    until: str | None,
) -> None:
    """Show what a container has printed."""
    if details:
        raise UsageError("logs: --details is not there yet")
    engine = Engine()
    found = find(engine, container)
    for record in read_log(
        engine,
        found,
        follow=follow,
        tail=_count(tail),
        since=_moment("since", since),
        until=_moment("until", until),
        whole_lines=timestamps,
    ):
        data = record.data
        if timestamps:
            data = rfc3339(record.time).encode() + b" " + data
        _write(2 if record.stream == 2 else 1, data)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _count(text: str) -> int | None:
    if text == "all":
        return None
    try:
        count = int(text)
    except ValueError:
        raise UsageError(f"logs: --tail {text}: neither a number nor all") from None
    return None if count < 0 else count


def _moment(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text, time.time_ns())
    except ValueError:
        raise UsageError(
            f"logs: --{option} {text}: not a time", hint="for example 2026-01-31T12:00:00Z or 10m"
        ) from None
