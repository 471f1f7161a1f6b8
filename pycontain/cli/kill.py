"""pycontain kill: send a signal to containers."""

from __future__ import annotations

import click

from pycontain.cli.each import each
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.stop import kill as kill_container
from pycontain.engine.stop import signal_number


@click.command()
@click.argument("containers", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-s", "--signal", metavar="SIGNAL", default="KILL", help="The signal (default KILL).")
def kill(containers: tuple[str, ...], signal: str) -> int:
    """Send a signal to containers."""
    engine = Engine()
    number = signal_number(signal)
    return each(containers, lambda name: kill_container(engine, find(engine, name), number))
