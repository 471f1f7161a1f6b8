"""pycontain rename: give a container another name."""

from __future__ import annotations

import click

from pycontain.engine.containers import find
from pycontain.engine.containers import rename as rename_container
from pycontain.engine.engine import Engine


@click.command()
@click.argument("container")
@click.argument("name")
def rename(container: str, name: str) -> None:
    """Give a container another name."""
    engine = Engine()
    rename_container(engine, find(engine, container), name)
