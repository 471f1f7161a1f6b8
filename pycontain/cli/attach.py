"""pycontain attach: connect this terminal to a running container."""

from __future__ import annotations

import click

from pycontain.cli.interact import interact
from pycontain.cli.terminal import parse_detach_keys
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of
from pycontain.errors import ContainerError
from pycontain.kernel.control import Session


@click.command()
@click.argument("container")
@click.option(
    "--detach-keys", metavar="KEYS", default="ctrl-p,ctrl-q", help="The keys that leave it running."
)
@click.option("--no-stdin", is_flag=True, help="Do not attach standard input.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to the program.")
def attach(container: str, detach_keys: str, no_stdin: bool, sig_proxy: bool) -> int:
    """Connect this terminal to a running container."""
    engine = Engine()
    found = find(engine, container)
    kernel = engine.running_kernel()
    if kernel is None or not state_of(found, live_containers(engine)).is_running:
        raise ContainerError(f"attach to {found.name}: the container is not running")
    terminal = bool(found.spec["terminal"])

    def begin(stdin: int | None, size: tuple[int, int]) -> Session:
        return kernel.attach(found.id, stdin)

    return interact(
        "attach",
        begin,
        interactive=bool(found.spec["stdin"]) and not no_stdin,
        terminal=terminal,
        proxy=sig_proxy,
        detach_keys=parse_detach_keys(detach_keys),
    )
