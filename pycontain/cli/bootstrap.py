"""pycontain bootstrap: make an image out of the host's own programs."""

from __future__ import annotations

import click

from pycontain.engine.bootstrap import bootstrap as make_image
from pycontain.engine.engine import Engine
from pycontain.image.reference import Reference


@click.command()
@click.argument("name", metavar="NAME[:TAG]")
@click.argument("programs", metavar="[PROGRAM...]", nargs=-1)
@click.option("--include", multiple=True, metavar="PATH", help="A file or directory of the host to add.")
@click.option("--no-base", is_flag=True, help="Only these programs, without a shell and coreutils.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the image's ID.")
def bootstrap(
    name: str, programs: tuple[str, ...], include: tuple[str, ...], no_base: bool, quiet: bool
) -> None:
    """Make an image out of the host's own programs and the libraries they need.

    A shell, coreutils and python3 are always in it; PROGRAMs are names or paths of more, such as gcc make.
    """
    reference = Reference.parse(name)
    image = make_image(Engine().store, reference, programs, include=include, base=not no_base)
    print(image.id if quiet else f"{reference.familiar}: {image.id}")
