"""pycontain top: list a container's processes."""

from __future__ import annotations

import time

import click

from pycontain.cli.options import UsageError
from pycontain.cli.output import align
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of
from pycontain.errors import ContainerError

HEADER = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")


@click.command()
@click.argument("container")
@click.argument("ps_options", metavar="[ps OPTIONS]", nargs=-1)
def top(container: str, ps_options: tuple[str, ...]) -> None:
    """List a container's processes, with the numbers that it knows them by."""
    if ps_options:
        raise UsageError("top: ps's options are not there yet")
    engine = Engine()
    found = find(engine, container)
    kernel = engine.running_kernel()
    if kernel is None or not state_of(found, live_containers(engine)).is_running:
        raise ContainerError(f"top {found.name}: the container is not running")
    rows: list[tuple[str, ...]] = [HEADER]
    for process in kernel.processes(found.id):
        cpu = int(process["cpu"])
        started = time.time() - (time.monotonic_ns() - process["started"]) / 1e9
        rows.append(
            (
                str(process["user"]),
                str(process["pid"]),
                str(process["ppid"]),
                "0",
                time.strftime("%H:%M", time.localtime(started)),
                "pts/0" if process["tty"] else "?",
                f"{cpu // 3600:02}:{cpu // 60 % 60:02}:{cpu % 60:02}",
                str(process["command"]),
            )
        )
    for line in align(rows):
        print(line)
