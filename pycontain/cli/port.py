"""pycontain port: a container's published ports."""

from __future__ import annotations

import click

from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.ports import published
from pycontain.errors import NotFound


@click.command()
@click.argument("container")
@click.argument("private_port", metavar="[PORT[/PROTO]]", required=False)
def port(container: str, private_port: str | None) -> None:
    """Show a container's published ports. Only machines have any: containers share the host's network."""
    found = find(Engine(), container)
    ports = published(found)
    if private_port is None:
        for each in ports:
            click.echo(f"{each.name} -> {each.host}")
        return
    wanted = private_port if "/" in private_port else f"{private_port}/tcp"
    matching = [each for each in ports if each.name == wanted]
    if not matching:
        machine = found.spec.get("runtime") == "vm"
        raise NotFound(
            f"port {private_port} of {found.name}: it is not published",
            hint=None if machine else "the container shares the host's network: connect to the port itself",
        )
    for each in matching:
        click.echo(each.host)
