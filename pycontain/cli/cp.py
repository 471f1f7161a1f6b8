"""pycontain cp: copy files between a container and the host."""

from __future__ import annotations

import os
import sys

import click

from pycontain.cli.options import UsageError
from pycontain.engine import copy
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine


@click.command()
@click.argument("source", metavar="CONTAINER:PATH|PATH|-")
@click.argument("destination", metavar="CONTAINER:PATH|PATH|-")
@click.option("-a", "--archive", is_flag=True, help="Keep owners.")
@click.option("-L", "--follow-link", is_flag=True, help="Follow a symbolic link at the source.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing about success.")
def cp(source: str, destination: str, archive: bool, follow_link: bool, quiet: bool) -> int:
    """Copy files between a container and the host; - is a tar on standard input or output."""
    engine = Engine()
    from_name, from_path = _split(source)
    to_name, to_path = _split(destination)
    if (from_name is None) == (to_name is None):
        raise UsageError("cp: one side, and only one, is CONTAINER:PATH")
    if from_name is not None:
        container = find(engine, from_name)
        if to_path == "-":
            copy.write_archive(engine, container, from_path, _write, follow=follow_link)
            return 0
        skipped = copy.copy_out(engine, container, from_path, to_path, follow=follow_link, archive=archive)
        for path in skipped:
            print(f"pycontain: cp: {path}: devices and sockets are not copied", file=sys.stderr)
        return 1 if skipped else 0
    assert to_name is not None
    container = find(engine, to_name)
    if from_path == "-":
        with engine.store.tmp_dir("cp") as scratch, open(os.path.join(scratch, "tar"), "w+b") as file:
            while data := sys.stdin.buffer.read(1 << 20):
                file.write(data)
            file.flush()
            file.seek(0)
            copy.put_archive(engine, container, to_path, file)
        return 0
    copy.copy_in(engine, container, from_path, to_path, follow=follow_link, archive=archive)
    if not quiet and sys.stderr.isatty():
        print(f"Successfully copied to {container.name}:{to_path}", file=sys.stderr)
    return 0


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)


def _split(text: str) -> tuple[str | None, str]:
    """The container and the path of an argument; None for one of the host."""
    name, colon, path = text.partition(":")
    if not colon or "/" in name or name.startswith("."):
        return None, text
    return name, path
