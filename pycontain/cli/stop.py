"""pycontain stop: ask containers to end, and end them if they do not."""

from __future__ import annotations

import click

from pycontain.cli.each import each
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.stop import signal_number
from pycontain.engine.stop import stop as stop_container


@click.command()
@click.argument("containers", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-s", "--signal", metavar="SIGNAL", help="The signal to send (default: the container's own).")
@click.option(
    "-t", "--timeout", "--time", type=int, metavar="SECONDS", help="Wait so long before killing it."
)
def stop(containers: tuple[str, ...], signal: str | None, timeout: int | None) -> int:
    """Ask containers to end, and end them if they do not."""
    engine = Engine()
    number = signal_number(signal) if signal is not None else None
    return each(
        containers, lambda name: stop_container(engine, find(engine, name), timeout=timeout, number=number)
    )
