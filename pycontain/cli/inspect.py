"""pycontain inspect: everything about containers or images, as JSON."""

from __future__ import annotations

import sys
from typing import Any

import click

from pycontain.cli.options import UsageError
from pycontain.cli.output import print_objects
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.inspect import describe_container, describe_image
from pycontain.engine.prune import disk_use
from pycontain.errors import ImageError, NotFound


@click.command()
@click.argument("names", metavar="NAME|ID...", nargs=-1, required=True)
@click.option("-f", "--format", "form", metavar="FORMAT", help="json, or a template.")
@click.option("-s", "--size", "sizes", is_flag=True, help="Show the sizes of containers.")
@click.option("--type", "kind", type=click.Choice(["container", "image"]), help="Look only for these.")
def inspect(names: tuple[str, ...], form: str | None, sizes: bool, kind: str | None) -> int:
    """Show everything about containers or images, as JSON."""
    return run_inspect(names, form, kind, sizes=sizes)


@click.command("inspect")
@click.argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-f", "--format", "form", metavar="FORMAT", help="json, or a template.")
@click.option("-s", "--size", "sizes", is_flag=True, help="Show sizes.")
def inspect_container(names: tuple[str, ...], form: str | None, sizes: bool) -> int:
    """Show everything about containers, as JSON."""
    return run_inspect(names, form, "container", sizes=sizes)


@click.command("inspect")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-f", "--format", "form", metavar="FORMAT", help="json, or a template.")
@click.option("--platform", hidden=True)
def inspect_image(names: tuple[str, ...], form: str | None, platform: str | None) -> int:
    """Show everything about images, as JSON."""
    if platform is not None:
        raise UsageError("image inspect: --platform is not there yet")
    return run_inspect(names, form, "image")


def run_inspect(names: tuple[str, ...], form: str | None, kind: str | None, *, sizes: bool = False) -> int:
    """Print what there is; 1 if a name was not found, as docker does."""
    engine = Engine()
    objects, code = [], 0
    missing = []
    for name in names:
        try:
            objects.append(_describe(engine, name, kind, sizes))
        except NotFound as error:
            missing.append(str(error))
            code = 1
    print_objects(objects, form)
    sys.stdout.flush()
    for text in missing:
        print(f"pycontain: {text}", file=sys.stderr)
    return code


def _describe(engine: Engine, name: str, kind: str | None, sizes: bool) -> dict[str, Any]:
    if kind != "image":
        try:
            container = find(engine, name)
            described = describe_container(engine, container)
            if sizes:
                described["SizeRw"] = disk_use(container)
            return described
        except NotFound:
            if kind == "container":
                raise
    try:
        return describe_image(engine, engine.store.image(name))
    except (NotFound, ImageError):
        if kind == "image":
            raise
        raise NotFound(f"inspect {name}: there is no such container or image") from None
