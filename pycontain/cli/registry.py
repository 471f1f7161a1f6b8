"""pycontain registry: the registry server's own commands."""

from __future__ import annotations

import click

from registry.commands import gc, htpasswd, serve

registry = click.Group("registry", help="Serve images to pycontain, docker, podman and others.")
registry.add_command(serve)
registry.add_command(gc)
registry.add_command(htpasswd)
