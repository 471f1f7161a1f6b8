"""pycontain pause and unpause: stop all programs of containers for a while."""

from __future__ import annotations

import click

from pycontain.cli.each import each
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of
from pycontain.errors import ContainerError
from pycontain.kernel.control import KernelClient


@click.command()
@click.argument("containers", metavar="CONTAINER...", nargs=-1, required=True)
def pause(containers: tuple[str, ...]) -> int:
    """Stop all programs of containers for a while."""
    engine = Engine()

    def stop(name: str) -> None:
        kernel, container_id = _running(engine, name, "pause")
        kernel.pause(container_id)

    return each(containers, stop)


@click.command()
@click.argument("containers", metavar="CONTAINER...", nargs=-1, required=True)
def unpause(containers: tuple[str, ...]) -> int:
    """Let the programs of paused containers go on."""
    engine = Engine()

    def go_on(name: str) -> None:
        kernel, container_id = _running(engine, name, "unpause")
        kernel.unpause(container_id)

    return each(containers, go_on)


def _running(engine: Engine, name: str, verb: str) -> tuple[KernelClient, str]:
    container = find(engine, name)
    kernel = engine.running_kernel()
    if kernel is None or not state_of(container, live_containers(engine)).is_running:
        raise ContainerError(f"{verb} {container.name}: the container is not running")
    return kernel, container.id
