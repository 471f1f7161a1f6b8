"""pycontain rm: remove containers."""

from __future__ import annotations

import click

from pycontain.cli.each import each
from pycontain.cli.options import UsageError
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.prune import remove_container
from pycontain.errors import NotFound


@click.command()
@click.argument("containers", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Kill those that run.")
@click.option("-l", "--link", is_flag=True, hidden=True)
@click.option("-v", "--volumes", is_flag=True, help="Also their anonymous volumes (there are none yet).")
def rm(containers: tuple[str, ...], force: bool, link: bool, volumes: bool) -> int:
    """Remove containers."""
    if link:
        raise UsageError("rm: --link is not there yet")
    engine = Engine()

    def remove(name: str) -> None:
        try:
            remove_container(engine, find(engine, name), force=force)
        except NotFound:
            if not force:
                raise

    return each(containers, remove)
