"""pycontain stats: show what containers use."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import click

from pycontain.cli.output import print_rows
from pycontain.cli.units import binary_size, size
from pycontain.engine.containers import Container, all_containers, find
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of
from pycontain.engine.stats import Figures, Row, figures, take

COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
)
INTERVAL = 1.0
"""Seconds between two looks, as docker's daemon has it."""
HOME, CLEAR_LINE, CLEAR_BELOW = "\033[H", "\033[K", "\033[J"


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that do not run.")
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@click.option("--no-stream", is_flag=True, help="Show the figures once.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten IDs.")
@click.argument("containers", nargs=-1, metavar="[CONTAINER...]")
def stats(
    everything: bool, form: str | None, no_stream: bool, no_trunc: bool, containers: tuple[str, ...]
) -> None:
    """Show what containers use: a live view, until it is interrupted."""
    engine = Engine()
    for name in containers:
        find(engine, name)
    before: dict[str, Row] = {}
    first = True
    try:
        while True:
            chosen = _choose(engine, containers, everything)
            if first:  # a rate needs two looks
                before = take(engine, [container for _, container, running in chosen if running])
                if any(running for _, _, running in chosen):
                    time.sleep(INTERVAL)
                    chosen = _choose(engine, containers, everything)
            now = take(engine, [container for _, container, running in chosen if running])
            rows = [
                _row(
                    figures(container, before.get(container.id), now.get(container.id), running),
                    name,
                    no_trunc,
                )
                for name, container, running in chosen
            ]
            _show(rows, form, live=not no_stream and sys.stdout.isatty(), first=first)
            if no_stream:
                return
            before, first = now, False
            time.sleep(INTERVAL)
    except KeyboardInterrupt:
        return


def _choose(engine: Engine, names: tuple[str, ...], everything: bool) -> list[tuple[str, Container, bool]]:
    """(name as asked for, container, does it run) of those to show."""
    live = live_containers(engine)
    if names:
        found = [(name, find(engine, name)) for name in names]
    else:
        found = [("", container) for container in all_containers(engine)]
    chosen = [(name, container, state_of(container, live).is_running) for name, container in found]
    return [entry for entry in chosen if entry[2] or names or everything]


def _row(taken: Figures, name: str, full: bool) -> dict[str, Any]:
    """With the fields that docker's templates know."""
    container = taken.container
    shown = container.id if full else container.id[:12]
    if not taken.known:
        values = ("--", "-- / --", "--", "--", "--", "--")
    else:
        values = (
            f"{taken.cpu:.2f}%",
            f"{binary_size(taken.memory)} / {binary_size(taken.memory_limit)}",
            f"{taken.memory_percent:.2f}%",
            f"{size(taken.received)} / {size(taken.sent)}",
            f"{size(taken.read)} / {size(taken.written)}",
            str(taken.pids),
        )
    cpu, memory, percent, net, block, pids = values
    return {
        "BlockIO": block,
        "CPUPerc": cpu,
        "Container": name or shown,
        "ID": shown,
        "MemPerc": percent,
        "MemUsage": memory,
        "Name": container.name,
        "NetIO": net,
        "PIDs": pids,
    }


def _show(rows: list[dict[str, Any]], form: str | None, *, live: bool, first: bool) -> None:
    text = io.StringIO()
    headers = {"Container": "CONTAINER"}
    print_rows(rows, COLUMNS, form=form, headers=headers, write=text.write)
    shown = text.getvalue()
    if live and form != "json":
        # drawn over the last one, line by line: clearing the screen first would flicker
        start = HOME + CLEAR_BELOW if first else HOME
        shown = start + shown.replace("\n", CLEAR_LINE + "\n") + CLEAR_BELOW
    sys.stdout.write(shown)
    sys.stdout.flush()
