"""pycontain logout: forget the password for a registry."""

from __future__ import annotations

import click


@click.command()
@click.argument("server", default="docker.io")
def logout(server: str) -> None:
    """Remove a registry's user and password from docker's configuration file."""
    from pycontain.client.credentials import HUB, DockerConfig  # the package loads http and ssl

    server = server.removeprefix("https://").removeprefix("http://").partition("/")[0] or HUB
    server = HUB if server == "index.docker.io" else server
    if DockerConfig().erase(server):
        click.echo(f"Removing login credentials for {server}")
    else:
        click.echo(f"Not logged in to {server}")
