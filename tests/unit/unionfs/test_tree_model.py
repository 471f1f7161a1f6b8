"""Random operations on a union tree, compared with a plain model; replayed; committed and merged again."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from union_world import Model, ModelNode, base_image, layer_of, snapshot

from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.inode import Inode
from pycontain.unionfs.tree import RENAME_EXCHANGE, Tree

OPERATIONS = 250
NAMES = [b"a", b"b", b"c", b"sub", b"data", b"d"]


def outcome(function: Callable[[], object]) -> int:
    try:
        function()
    except OSError as error:
        return error.errno or -1
    return 0


class Both:
    """The same operation on the tree and on the model."""

    def __init__(self, tree: Tree, seed: int) -> None:
        self.tree = tree
        self.model = Model(tree)
        self.random = random.Random(seed)
        self.done: list[str] = []

    def path(self) -> bytes:
        """A path that exists, or a name in a directory that does, now and then nonsense."""
        paths = self.model.snapshot()
        chosen = self.random.choice(list(paths))
        if self.random.random() < 0.5 and not stat.S_ISLNK(paths[chosen][0]):
            chosen += b"/" + self.random.choice(NAMES)
        return chosen or b"/" + self.random.choice(NAMES)

    def place(self, path: bytes) -> tuple[Inode, bytes]:
        head, _, name = path.rpartition(b"/")
        node = self.tree.walk(head, follow=False)
        if node.children is None:
            raise NotADirectoryError(20, "")
        return node, name

    def step(self) -> None:
        choose = self.random.choice
        path, other = self.path(), self.path()
        number = self.random.randrange(1 << 30)
        mode, uid, gid = choose((0o644, 0o755, 0o4711, 0o1777)), choose((0, 1000)), choose((0, 50))
        tree, model = self.tree, self.model

        def found(p: bytes) -> Inode:
            return tree.walk(p, follow=False)

        def node(kind: int, **values: object) -> ModelNode:
            new = ModelNode(kind | mode, uid, gid)
            for key, value in values.items():
                setattr(new, key, value)
            return new

        def write_tree() -> None:
            inode = found(path)
            if not inode.is_regular:
                raise OSError(22, "")
            fd = tree.open(inode, os.O_WRONLY)
            os.pwrite(fd, b"%d" % number, number % 10)
            os.close(fd)

        def write_model() -> None:
            target = model.walk(path)
            if not stat.S_ISREG(target.mode):
                raise OSError(22, "")
            data = b"%d" % number
            at = number % 10
            target.content = target.content.ljust(at, b"\0")[:at] + data + target.content[at + len(data) :]

        def truncate_model() -> None:
            target = model.walk(path)
            if not stat.S_ISREG(target.mode):
                raise OSError(22, "")
            target.content = target.content[: number % 20].ljust(number % 20, b"\0")

        def truncate_tree() -> None:
            if not found(path).is_regular:
                raise OSError(22, "")
            tree.truncate(found(path), number % 20)

        def describe_model() -> None:
            target = model.walk(path)
            target.mode = stat.S_IFMT(target.mode) | mode
            target.uid, target.gid = uid, gid

        operations: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "create": (
                lambda: tree.create(*self.place(path), mode, uid, gid),
                lambda: model.make(path, node(stat.S_IFREG)),
            ),
            "mkdir": (
                lambda: tree.mkdir(*self.place(path), mode, uid, gid),
                lambda: model.make(path, node(stat.S_IFDIR)),
            ),
            "symlink": (
                lambda: tree.symlink(*self.place(path), b"t%d" % number, uid, gid),
                lambda: model.make(
                    path, node(stat.S_IFLNK, target=b"t%d" % number, mode=stat.S_IFLNK | 0o777)
                ),
            ),
            "mknod": (
                lambda: tree.mknod(*self.place(path), stat.S_IFCHR | mode, number % 1000, uid, gid),
                lambda: model.make(path, node(stat.S_IFCHR, rdev=number % 1000)),
            ),
            "unlink": (lambda: tree.unlink(*self.place(path)), lambda: model.unlink(path)),
            "rmdir": (lambda: tree.rmdir(*self.place(path)), lambda: model.rmdir(path)),
            "link": (lambda: tree.link(found(path), *self.place(other)), lambda: model.link(path, other)),
            "rename": (
                lambda: tree.rename(*self.place(path), *self.place(other)),
                lambda: model.rename(path, other),
            ),
            "exchange": (
                lambda: tree.rename(*self.place(path), *self.place(other), RENAME_EXCHANGE),
                lambda: model.rename(path, other, True),
            ),
            "write": (write_tree, write_model),
            "truncate": (truncate_tree, truncate_model),
            "describe": (lambda: tree.set_attr(found(path), mode=mode, uid=uid, gid=gid), describe_model),
            "xattr": (
                lambda: tree.set_xattr(found(path), b"user.n", b"%d" % number),
                lambda: model.walk(path).xattrs.__setitem__(b"user.n", b"%d" % number),
            ),
        }
        name = choose(list(operations))
        for_tree, for_model = operations[name]
        self.done.append(f"{name} {path!r} {other!r} {number}")
        assert outcome(for_tree) == outcome(for_model), "\n".join(self.done[-20:])


@pytest.mark.parametrize("seed", range(12))
def test_random_operations(tmp_path: Path, seed: int) -> None:
    image = base_image(str(tmp_path))
    layer = image.walk(b"etc/passwd").content[0]  # type: ignore[union-attr]
    directory = str(tmp_path / "container")
    both = Both(Tree(image, directory, journal=True), seed)
    for _ in range(OPERATIONS):
        both.step()
    expected = both.model.snapshot()
    assert snapshot(both.tree) == expected, "\n".join(both.done)
    both.tree.sync()
    assert snapshot(Tree.load(image, directory), times=True) == snapshot(both.tree, times=True)
    merged = ImageTree.merge([layer, layer_of(both.tree, str(tmp_path / "layer"))])
    assert snapshot(Tree(merged, str(tmp_path / "merged"))) == expected, "\n".join(both.done)
    both.tree.close()
