"""Root file systems of images, written once and kept by the image's layers: vm/rootfs/KEY.erofs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.tree import Tree
from pycontain.vm.erofs import write_image
from pycontain.vm.home import directory

if TYPE_CHECKING:
    from pycontain.store import Store

VERSION = 1
"""Of the writer: another one makes the images again."""


def path_of(root: str, layers: Sequence[str]) -> str:
    """Where the image of these layers (diff ids, bottom first) is, or would be."""
    key = hashlib.sha256("\n".join([str(VERSION), *layers]).encode()).hexdigest()[:32]
    return os.path.join(directory(root, "rootfs"), f"{key}.erofs")


def ensure(store: Store, layers: Sequence[str]) -> str:
    """The path of the layers' image; written now where it is not there."""
    path = path_of(store.root, layers)
    if not os.path.exists(path):
        tree = Tree(ImageTree.merge([store.layers.get(diff_id) for diff_id in layers]))
        _write(tree, path)
    return path


def of_container(store: Store, layers: Sequence[str], container: str) -> str:
    """The image for a container's start: the layers' own, or one with what the container has changed before."""
    journal = os.path.join(container, "journal")
    if not os.path.exists(journal) or not os.path.getsize(journal):
        return ensure(store, layers)
    path = os.path.join(container, "rootfs.erofs")
    tree = Tree.load(ImageTree.merge([store.layers.get(diff_id) for diff_id in layers]), container)
    _write(tree, path)
    return path


def _write(tree: Tree, path: str) -> None:
    temporary = f"{path}.{os.getpid()}~"
    try:
        write_image(tree, temporary)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
