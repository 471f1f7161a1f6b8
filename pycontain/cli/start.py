"""pycontain start: start containers that were created or have ended."""

from __future__ import annotations

import click

from pycontain.cli.each import each
from pycontain.cli.interact import interact
from pycontain.cli.options import UsageError
from pycontain.cli.terminal import parse_detach_keys
from pycontain.engine.containers import Container, find
from pycontain.engine.engine import Engine
from pycontain.engine.start import start as start_container
from pycontain.engine.state import live_containers, state_of


@click.command()
@click.argument("containers", metavar="CONTAINER...", nargs=-1, required=True)
@click.option(
    "-a", "--attach", is_flag=True, help="Show the output, pass signals on, end with its exit code."
)
@click.option("-i", "--interactive", is_flag=True, help="Attach standard input too.")
@click.option(
    "--detach-keys", metavar="KEYS", default="ctrl-p,ctrl-q", help="The keys that leave it running."
)
def start(containers: tuple[str, ...], attach: bool, interactive: bool, detach_keys: str) -> int:
    """Start containers that were created or have ended."""
    engine = Engine()
    if not (attach or interactive):
        return each(containers, lambda name: _start(engine, name))
    if len(containers) > 1:
        raise UsageError("start: only one container can be attached")
    container = find(engine, containers[0])
    return start_attached(engine, container, interactive=interactive, detach_keys=detach_keys)


def _start(engine: Engine, name: str) -> None:
    container = find(engine, name)
    if not state_of(container, live_containers(engine)).is_running:
        start_container(engine, container, attach=False).close()


def start_attached(engine: Engine, container: Container, *, interactive: bool, detach_keys: str) -> int:
    """Start it and stay with it; the program's exit code."""
    spec = container.spec
    return interact(
        "start",
        lambda stdin, size: start_container(engine, container, attach=True, stdin=stdin, size=size),
        interactive=interactive and spec["stdin"],
        terminal=spec["terminal"],
        detach_keys=parse_detach_keys(detach_keys),
    )
