"""pycontain image: the verbs that work on images, as docker groups them."""

from __future__ import annotations

import click

from pycontain.cli.group import VERBS, LazyGroup

_NAMES = "build history import load pull push save tag"


@click.command()
@click.option(
    "-a", "--all", "everything", is_flag=True, help="All that no container uses, not only nameless ones."
)
@click.option("--filter", "filters", multiple=True, hidden=True)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
def prune(everything: bool, filters: tuple[str, ...], force: bool) -> None:
    """Remove images that are not used."""
    from pycontain.cli.options import UsageError
    from pycontain.cli.units import size
    from pycontain.engine.engine import Engine
    from pycontain.engine.prune import prune_images

    if filters:
        raise UsageError("image prune: --filter is not there yet")
    if not force:
        what = "all images without a container" if everything else "all dangling images"
        click.echo(f"WARNING! This will remove {what}.")
        click.confirm("Are you sure you want to continue?", abort=True)
    removed, freed = prune_images(Engine(), everything=everything)
    if removed:
        print("Deleted Images:\n" + "\n".join(removed) + "\n")
    print(f"Total reclaimed space: {size(freed)}")


image = LazyGroup(
    "image",
    {
        **{name: VERBS[name] for name in _NAMES.split()},
        "inspect": ("inspect:inspect_image", "Show everything about images"),
        "list": VERBS["images"],
        "ls": VERBS["images"],
        "prune": ("image:prune", "Remove images that are not used"),
        "rm": VERBS["rmi"],
    },
    "The verbs that work on images.",
)
