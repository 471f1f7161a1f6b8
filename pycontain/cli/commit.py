"""pycontain commit: make an image of a container's changes."""

from __future__ import annotations

import click

from pycontain.cli.changes import apply_changes
from pycontain.engine.commit import commit as commit_container
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.files import is_running
from pycontain.image.reference import Reference


@click.command()
@click.argument("container")
@click.argument("repository", metavar="[REPOSITORY[:TAG]]", required=False)
@click.option("-a", "--author", default="", help="Who made it.")
@click.option(
    "-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="Apply a Dockerfile line."
)
@click.option("-m", "--message", default="", help="What it is.")
@click.option("-p", "--pause/--no-pause", default=True, help="Pause the container meanwhile.")
def commit(
    container: str, repository: str | None, author: str, changes: tuple[str, ...], message: str, pause: bool
) -> None:
    """Make an image of a container's changes."""
    engine = Engine()
    found = find(engine, container)
    reference = Reference.parse(repository) if repository else None
    kernel = engine.running_kernel()
    # a machine that stands still could not tell what has changed in it
    pause = pause and not found.spec.get("runtime")
    paused = kernel if pause and kernel is not None and is_running(engine, found) else None
    if paused is not None:
        paused.pause(found.id)
    try:
        image = commit_container(
            engine,
            found,
            reference,
            author=author,
            message=message,
            change=(lambda config: apply_changes(config, changes)) if changes else None,
        )
    finally:
        if paused is not None:
            paused.unpause(found.id)
    print(image.id)
