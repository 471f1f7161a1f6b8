"""pycontain tag: give an image another name."""

from __future__ import annotations

import click

from pycontain.engine.engine import Engine
from pycontain.errors import ImageError
from pycontain.image.reference import Reference


@click.command()
@click.argument("source", metavar="IMAGE")
@click.argument("target", metavar="NAME[:TAG]")
def tag(source: str, target: str) -> None:
    """Give an image another name."""
    store = Engine().store
    image = store.image(source)
    reference = Reference.parse(target)
    if reference.digest is not None:
        raise ImageError(f"tag {source} as {target}: a name with a digest cannot be given")
    store.tags.set(reference, image.target)
