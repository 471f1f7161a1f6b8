"""pycontain restart: stop containers and start them again."""

from __future__ import annotations

import click

from pycontain.cli.each import each
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.start import start
from pycontain.engine.stop import signal_number, stop


@click.command()
@click.argument("containers", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-s", "--signal", metavar="SIGNAL", help="The signal to send (default: the container's own).")
@click.option(
    "-t", "--timeout", "--time", type=int, metavar="SECONDS", help="Wait so long before killing it."
)
def restart(containers: tuple[str, ...], signal: str | None, timeout: int | None) -> int:
    """Stop containers and start them again."""
    engine = Engine()
    number = signal_number(signal) if signal is not None else None

    def again(name: str) -> None:
        container = find(engine, name)
        stop(engine, container, timeout=timeout, number=number)
        start(engine, container, attach=False).close()

    return each(containers, again)
