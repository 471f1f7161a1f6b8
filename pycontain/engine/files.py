"""A container's files as its tree has them: what cp, diff, export and commit work on."""

from __future__ import annotations

from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.tree import Tree


def container_tree(engine: Engine, container: Container, *, writable: bool = False) -> Tree:
    """The container's tree as it is now. A running container's kernel writes its journal out first.

    writable: changes to the tree are journaled; only for a container that does not run.
    """
    kernel = engine.running_kernel()
    if kernel is not None and is_running(engine, container):
        kernel.sync(container.id)
    layers = [engine.store.layers.get(diff_id) for diff_id in container.spec["layers"]]
    return Tree.load(ImageTree.merge(layers), container.directory, journal=writable)


def is_running(engine: Engine, container: Container) -> bool:
    """Whether the kernel runs it."""
    return state_of(container, live_containers(engine)).is_running
