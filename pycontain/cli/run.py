"""pycontain run: create a container from an image and run its program."""

from __future__ import annotations

import sys

from pycontain.cli.container_options import CONTAINER_OPTIONS, container_options
from pycontain.cli.options import FLAG, VALUE, Option, Table, parse
from pycontain.engine.attach import DETACH_KEYS
from pycontain.engine.engine import Engine
from pycontain.engine.start import create, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TABLE = Table(
    "run",
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    1,
    "Create a container from an image and run its program.",
    (
        Option("detach", "d", FLAG, "Run in the background and print the container's ID"),
        Option("detach-keys", "", VALUE, "The keys that leave a container running", "KEYS"),
        Option("sig-proxy", "", FLAG, "Pass signals on to the program (default true)"),
        *CONTAINER_OPTIONS,
    ),
)


def main(arguments: list[str]) -> int:
    """Carry out the verb; the exit code."""
    values, words = parse(TABLE, arguments)
    options = container_options("run", values, words)
    engine = Engine()
    if values.flag("detach"):
        container = create(engine, options, pull_progress(options.quiet))
        session = start(engine, container, attach=False, remove_on_failure=options.remove)
        session.close()
        print(container.id)
        return 0
    from pycontain.cli.interact import interact  # not for -d

    container = create(engine, options, pull_progress(options.quiet))
    keys = values.text("detach_keys")
    if keys is not None:
        from pycontain.cli.terminal import parse_detach_keys

        detach_keys = parse_detach_keys(keys)
    else:
        detach_keys = DETACH_KEYS
    return interact(
        "run",
        lambda stdin, size: start(
            engine, container, attach=True, stdin=stdin, size=size, remove_on_failure=options.remove
        ),
        interactive=options.interactive,
        terminal=options.tty,
        proxy=values.get("sig_proxy") is not False,
        detach_keys=detach_keys,
    )


def pull_progress(quiet: bool) -> Callable[[Any], Any] | None:
    """Who is told how a pull goes, once it begins: a function of the reference."""
    if quiet:
        return None

    def begin(reference: Any) -> Any:
        from pycontain.cli.layer_display import LayerDisplay  # only where something is pulled

        print(f"Unable to find image '{reference.familiar}' locally", file=sys.stderr)
        return LayerDisplay(sys.stderr)

    return begin
