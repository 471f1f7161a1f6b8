"""pycontain login: keep a user and password for a registry."""

from __future__ import annotations

import sys

import click


@click.command()
@click.argument("server", default="docker.io")
@click.option("--username", "-u", metavar="NAME", help="The user.")
@click.option("--password", "-p", metavar="TEXT", help="The password; others on this machine can see it.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def login(server: str, username: str | None, password: str | None, password_stdin: bool) -> None:
    """Try a user and password at a registry, and keep them in docker's configuration file."""
    from pycontain.client.credentials import HUB, Credential, DockerConfig  # needs http and ssl
    from pycontain.client.transport import Transport
    from pycontain.errors import RegistryError

    server = server.removeprefix("https://").removeprefix("http://").partition("/")[0] or HUB
    server = HUB if server == "index.docker.io" else server
    if password_stdin:
        if password is not None or username is None:
            raise click.UsageError("--password-stdin needs --username, and excludes --password")
        password = sys.stdin.read().rstrip("\r\n")
    elif password is not None:
        click.echo("warning: a password in --password can be seen by others; see --password-stdin", err=True)
    elif not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for a password; see --password-stdin")
    name = username or click.prompt("Username")
    secret = password if password is not None else click.prompt("Password", hide_input=True)
    if not name or not secret or ":" in name:
        raise click.UsageError("a user's name (without a colon) and a password are needed")
    config = DockerConfig()
    credential = Credential(name, secret)
    with Transport(server, config=config, credential=credential) as transport:
        response = transport.request("GET", "/v2/")
        if response.status == 401:
            response.finish()
            raise RegistryError(
                f"log in to {server}: the user or the password is wrong", code="UNAUTHORIZED", status=401
            )
        if response.status not in (200, 404):
            raise transport.error(f"log in to {server}", response)
        response.finish()
    config.store(server, credential)
    helper = config.helper(server)
    if helper:
        click.echo(f"warning: docker-credential-{helper} is not supported yet and was not used", err=True)
    click.echo(f"warning: the password is kept unencrypted in {config.path}", err=True)
    click.echo("Login Succeeded")
