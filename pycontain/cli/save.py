"""pycontain save: write images as a tar that docker, podman and skopeo read."""

from __future__ import annotations

import sys

import click

from pycontain.cli.archives import output_file
from pycontain.engine.engine import Engine
from pycontain.store.archive import save as save_images


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", help="Write to a file instead of standard output.")
def save(images: tuple[str, ...], output: str | None) -> None:
    """Write images as a tar that docker, podman and skopeo read."""
    store = Engine().store
    for name in images:
        store.image(name)  # before anything is written
    with output_file("save", output, sys.stdout) as file:
        save_images(store, images, file.write)
