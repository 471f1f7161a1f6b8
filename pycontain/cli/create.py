"""pycontain create: create a container, and do not start it."""

from __future__ import annotations

from pycontain.cli.container_options import CONTAINER_OPTIONS, container_options
from pycontain.cli.options import Table, parse
from pycontain.cli.run import pull_progress
from pycontain.engine.engine import Engine
from pycontain.engine.start import create

TABLE = Table(
    "create",
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    1,
    "Create a container, and do not start it.",
    CONTAINER_OPTIONS,
)


def main(arguments: list[str]) -> int:
    """Carry out the verb; the exit code."""
    values, words = parse(TABLE, arguments)
    options = container_options("create", values, words)
    print(create(Engine(), options, pull_progress(options.quiet)).id)
    return 0
