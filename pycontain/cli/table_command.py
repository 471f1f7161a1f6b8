"""A hot verb's table of options as a click command: for --help, completion, and the group.

The parser stays ours (options.py), so that both ways to call a verb understand the same words.
"""

from __future__ import annotations

from collections.abc import Callable

import click

from pycontain.cli.options import FLAG, LATER, LATER_FLAG, LIST, Table


class TableCommand(click.Command):
    """Shows itself like any click command; hands the words on to the verb's main()."""

    def __init__(self, table: Table, main: Callable[[list[str]], int]) -> None:
        def carry_out() -> int:
            context = click.get_current_context()
            return main(context.meta["words"])

        super().__init__(
            table.verb,
            callback=carry_out,
            help=table.help,
            options_metavar=table.usage,
            params=[
                click.Option(
                    [f"--{option.name}", *([f"-{option.short}"] if option.short else [])],
                    is_flag=option.kind == FLAG,
                    multiple=option.kind == LIST,
                    metavar=option.metavar or None,
                    help=option.help,
                )
                for option in table.options
                if option.kind not in (LATER, LATER_FLAG)
            ],
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """--help as the first word shows the help; everything else is for our own parser."""
        if args[:1] in (["--help"], ["-h"]):
            return super().parse_args(ctx, ["--help"])
        ctx.meta["words"] = list(args)
        ctx.args = []
        ctx.params = {}
        return []
