"""pycontain diff: show what a container changed in its files."""

from __future__ import annotations

import os
import sys

import click

from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.files import container_tree
from pycontain.unionfs.diff import changes


@click.command()
@click.argument("container")
def diff(container: str) -> None:
    """Show what a container changed in its files: A added, C changed, D deleted."""
    engine = Engine()
    tree = container_tree(engine, find(engine, container))
    out = sys.stdout.buffer
    for change in changes(tree):
        out.write(change.kind.encode() + b" " + os.fsencode(change.path) + b"\n")
    out.flush()
