"""`python -m registry [serve] [OPTIONS]`, `python -m registry gc`, `python -m registry htpasswd USER`."""

from __future__ import annotations

import sys

import click

from pycontain.errors import PycontainError
from registry.commands import gc, htpasswd, serve


class _Registry(click.Group):
    """A group whose options without a command belong to `serve`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "-h")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Registry, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A container registry. Without a command it serves."""


main.add_command(serve)
main.add_command(gc)
main.add_command(htpasswd)

if __name__ == "__main__":
    try:
        main(prog_name="python -m registry")
    except PycontainError as error:
        click.echo(f"registry: {error}", err=True)
        sys.exit(error.exit_code)
