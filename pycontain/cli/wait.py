"""pycontain wait: wait until containers end; print their exit codes."""

from __future__ import annotations

import click

from pycontain.cli.each import each
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.stop import wait as wait_for


@click.command()
@click.argument("containers", metavar="CONTAINER...", nargs=-1, required=True)
def wait(containers: tuple[str, ...]) -> int:
    """Wait until containers end; print their exit codes."""
    engine = Engine()
    return each(containers, lambda name: print(wait_for(engine, find(engine, name))), show=False)
