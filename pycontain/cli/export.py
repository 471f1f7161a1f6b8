"""pycontain export: write a container's files as a tar."""

from __future__ import annotations

import sys

import click

from pycontain.cli.archives import output_file
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.files import container_tree
from pycontain.unionfs.diff import write_tree


@click.command()
@click.argument("container")
@click.option("-o", "--output", metavar="FILE", help="Write to a file instead of standard output.")
def export(container: str, output: str | None) -> None:
    """Write a container's files as a tar."""
    engine = Engine()
    tree = container_tree(engine, find(engine, container))
    with output_file("export", output, sys.stdout) as file:
        write_tree(tree, file.write)
