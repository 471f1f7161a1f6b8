"""Remove what is not used: containers that have ended, images without a name."""

from __future__ import annotations

import os

from pycontain.engine.containers import Container, all_containers, discard
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of
from pycontain.errors import Conflict, NotFound


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


def prune_images(engine: Engine, *, everything: bool = False, cache: bool = False) -> tuple[list[str], int]:
    """Remove nameless images, with `everything` also named ones, that no container was made of; then every
    blob that nothing refers to. cache: the build cache goes first. What was removed, and the bytes freed."""
    from shutil import rmtree

    from pycontain.store.gc import collect

    if cache:
        rmtree(os.path.join(engine.root, "cache"), ignore_errors=True)
        os.makedirs(os.path.join(engine.root, "cache"), exist_ok=True)
    used = {container.record["Image"] for container in all_containers(engine)}
    removed: list[str] = []
    for image in engine.store.images([]):
        if image.id in used or (image.reference is not None and not everything):
            continue
        name = str(image.reference) if image.reference is not None else image.id
        try:
            removed += [f"{what.lower()}: {which}" for what, which in engine.store.remove(name)]
        except (Conflict, NotFound):
            continue  # somebody else uses it, or was quicker
    return removed, collect(engine.store, grace=0.0 if everything or cache else 600.0).bytes
