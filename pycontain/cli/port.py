"""pycontain port: a container's published ports."""

from __future__ import annotations

import click

from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.errors import NotFound


@click.command()
@click.argument("container")
@click.argument("private_port", metavar="[PORT[/PROTO]]", required=False)
def port(container: str, private_port: str | None) -> None:
    """Show a container's published ports: none, while containers share the host's network."""
    found = find(Engine(), container)
    if private_port is not None:
        raise NotFound(
            f"port {private_port} of {found.name}: it is not published",
            hint="the container shares the host's network: connect to the port itself",
        )
