"""pycontain top: list a container's processes."""

from __future__ import annotations

import time

import click

from pycontain.cli.output import align
from pycontain.cli.ps_columns import columns
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of
from pycontain.errors import ContainerError


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("container")
@click.argument("ps_options", metavar="[ps OPTIONS]", nargs=-1, type=click.UNPROCESSED)
def top(container: str, ps_options: tuple[str, ...]) -> None:
    """List a container's processes, with the numbers that it knows them by.

    ps OPTIONS choose the columns: -ef (the default), -eF, -el, aux, -eo pid,ppid,pcpu,rss,args.
    """
    engine = Engine()
    chosen = columns(ps_options)
    found = find(engine, container)
    kernel = engine.running_kernel()
    if kernel is None or not state_of(found, live_containers(engine)).is_running:
        raise ContainerError(f"top {found.name}: the container is not running")
    now = time.time()
    rows: list[tuple[str, ...]] = [tuple(column.header for column in chosen)]
    for process in kernel.processes(found.id):
        rows.append(tuple(column.show(process, now) for column in chosen))
    for line in align(rows):
        print(line)
