"""Create a container from options, and start it: what `run`, `create`, `start` and `restart` share."""

from __future__ import annotations

import os

from pycontain.engine import card as cards
from pycontain.engine import containers
from pycontain.engine import spec as specs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pycontain.engine.containers import Container
    from pycontain.engine.engine import Engine
    from pycontain.engine.options import ContainerOptions
    from pycontain.kernel.control import Session


def create(
    engine: Engine, options: ContainerOptions, progress: Callable[[Any], Any] | None = None
) -> Container:
    """A new container, not started. progress: as of images.obtain."""
    card = None
    if options.platform is None and options.pull != "always":
        card = cards.read(engine.root, options.image)
    if card is None:
        from pycontain.engine.images import obtain  # a warm run does without the store

        image = obtain(
            engine.store, options.image, platform=options.platform, pull=options.pull, progress=progress
        )
        card = cards.Card.of(image)
        if options.platform is None:
            cards.write(engine.root, options.image, card)
    return specs.create(engine, card, options)


def start(
    engine: Engine,
    container: Container,
    *,
    attach: bool,
    stdin: int | None = None,
    size: tuple[int, int] = (0, 0),
    remove_on_failure: bool = False,
) -> Session:
    """Start the container's program. stdin: the end of a pipe that it reads from; size: rows, columns.

    Raises ProgramNotFound, CannotRun, ContainerError or KernelError; then, with remove_on_failure,
    the container is gone.
    """
    spec = specs.kernel_spec(container)
    spec["attach"] = attach
    spec["size"] = list(size)
    try:
        os.unlink(os.path.join(container.directory, "state.json"))  # of the run before
    except FileNotFoundError:
        pass
    try:
        return engine.kernel(str(spec.get("runtime") or "")).start(spec, stdin=stdin)
    except BaseException:
        if remove_on_failure:
            containers.discard(engine, container)
        raise
