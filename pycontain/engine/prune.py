"""Remove what is not used: containers that have ended, images without a name."""

from __future__ import annotations

import os

from pycontain.engine.containers import Container, all_containers, discard
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of
from pycontain.errors import Conflict


def prune_containers(engine: Engine) -> tuple[list[str], int]:
    """Remove all containers that do not run: their IDs, and the bytes that their files took."""
    found = all_containers(engine)
    live = live_containers(engine)
    removed, freed = [], 0
    for container in found:
        if not state_of(container, live).is_running:
            freed += disk_use(container)
            discard(engine, container)
            removed.append(container.id)
    return removed, freed


def disk_use(container: Container) -> int:
    """Bytes of the container's own files: its writable layer's content."""
    try:
        with os.scandir(os.path.join(container.directory, "files")) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except FileNotFoundError:
        return 0


def remove_container(engine: Engine, container: Container, *, force: bool = False) -> None:
    """Remove a container. Conflict where it runs, unless force, which kills it first."""
    from pycontain.engine.stop import stop

    if state_of(container, live_containers(engine)).is_running:
        if not force:
            raise Conflict(
                f"remove container {container.name}: it is running", hint="stop it first, or use --force"
            )
        stop(engine, container, timeout=0, number=9)
    discard(engine, container)


def users_of(engine: Engine, image_id: str) -> list[Container]:
    """The containers that were made of the image."""
    return [c for c in all_containers(engine) if c.record["Image"] == image_id]
