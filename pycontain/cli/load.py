"""pycontain load: take in images from a tar that save, docker, podman or skopeo wrote."""

from __future__ import annotations

import click

from pycontain.cli.archives import input_file
from pycontain.engine.engine import Engine
from pycontain.store.archive import load as load_images


@click.command()
@click.option("-i", "--input", "path", metavar="FILE", help="Read a file instead of standard input.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def load(path: str | None, quiet: bool) -> None:
    """Take in images from a tar that save, docker, podman or skopeo wrote."""
    with input_file("load", path) as file:
        images = load_images(Engine().store, file)
    if quiet:
        return
    for image in images:
        if image.reference is not None:
            print(f"Loaded image: {image.reference.familiar}")
        else:
            print(f"Loaded image ID: {image.id}")
