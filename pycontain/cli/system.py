"""pycontain system: the verbs that work on everything."""

from __future__ import annotations

import click

from pycontain.cli.group import VERBS, LazyGroup
from pycontain.cli.units import size
from pycontain.engine.engine import Engine
from pycontain.engine.prune import prune_containers, prune_images


@click.command()
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Also images that have a name but no container."
)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
def prune(everything: bool, force: bool) -> None:
    """Remove containers that have ended, images without a use, and the build cache."""
    if not force:
        click.echo("WARNING! This will remove stopped containers, unused images and the build cache.")
        click.confirm("Are you sure you want to continue?", abort=True)
    engine = Engine()
    containers, freed = prune_containers(engine)
    images, more = prune_images(engine, everything=everything, cache=True)
    if containers:
        print("Deleted Containers:\n" + "\n".join(containers) + "\n")
    if images:
        print("Deleted Images:\n" + "\n".join(images) + "\n")
    print(f"Total reclaimed space: {size(freed + more)}")


system = LazyGroup(
    "system",
    {"info": VERBS["info"], "prune": ("system:prune", "Remove what is not used")},
    "The verbs that work on everything.",
)
