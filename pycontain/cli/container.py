"""pycontain container: the verbs that work on containers, as docker groups them."""

from __future__ import annotations

import click

from pycontain.cli.group import VERBS, LazyGroup
from pycontain.engine.engine import Engine

_NAMES = (
    "attach commit cp create diff exec export kill logs pause port rename restart rm run start stats stop top "
    "unpause update wait"
)


@click.command()
@click.option("--filter", "filters", multiple=True, hidden=True)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
def prune(filters: tuple[str, ...], force: bool) -> None:
    """Remove all containers that do not run."""
    from pycontain.cli.options import UsageError
    from pycontain.cli.units import size
    from pycontain.engine.prune import prune_containers

    if filters:
        raise UsageError("container prune: --filter is not there yet")
    if not force:
        click.echo("WARNING! This will remove all stopped containers.")
        click.confirm("Are you sure you want to continue?", abort=True)
    removed, freed = prune_containers(Engine())
    if removed:
        print("Deleted Containers:\n" + "\n".join(removed) + "\n")
    print(f"Total reclaimed space: {size(freed)}")


container = LazyGroup(
    "container",
    {
        **{name: VERBS[name] for name in _NAMES.split()},
        "inspect": ("inspect:inspect_container", "Show everything about containers"),
        "list": VERBS["ps"],
        "ls": VERBS["ps"],
        "ps": VERBS["ps"],
        "prune": ("container:prune", "Remove all containers that do not run"),
    },
    "The verbs that work on containers.",
)
