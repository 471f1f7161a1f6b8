"""pycontain rmi: remove images."""

from __future__ import annotations

import click

from pycontain.cli.each import each
from pycontain.engine.engine import Engine
from pycontain.errors import NotFound


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Also images with several names, or that containers use.")
@click.option("--no-prune", is_flag=True, help="There are no untagged parents that could go too.")
def rmi(images: tuple[str, ...], force: bool, no_prune: bool) -> int:
    """Remove images: the name, and with its last name the image."""
    store = Engine().store

    def remove(name: str) -> None:
        try:
            done = store.remove(name, force=force)
        except NotFound:
            if not force:
                raise
            return
        for what, which in done:
            print(f"{what}: {which}")

    return each(images, remove, show=False)
