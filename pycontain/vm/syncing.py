"""A container's tree, brought up to date from its machine: at its end, and when somebody asks meanwhile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.tree import Tree
from pycontain.vm.upper import bring_home

if TYPE_CHECKING:
    from pycontain.store import Store
    from pycontain.vm.machine import Machine


class Changes:
    """The guest's changes lie above what the container had changed before this start (the journal's beginning).
    Each time, the journal is cut back to that, and all changes since then are written anew."""

    def __init__(self, store: Store, layers: Sequence[str], directory: str) -> None:
        self._store = store
        self._layers = layers
        self._directory = directory
        self._journal = os.path.join(directory, "journal")
        try:
            self.length = os.path.getsize(self._journal)
        except FileNotFoundError:
            self.length = 0

    async def bring_home(self, machine: Machine) -> None:
        """Write the tree's journal and files. MachineError, OSError."""
        if self.length:
            os.truncate(self._journal, self.length)
        elif os.path.exists(self._journal):
            os.unlink(self._journal)
        layers = [self._store.layers.get(diff_id) for diff_id in self._layers]
        tree = Tree.load(ImageTree.merge(layers), self._directory, journal=True)
        try:
            await bring_home(machine.exchange, tree, frozenset(machine.stubs))
            tree.sync()
        finally:
            tree.close()
