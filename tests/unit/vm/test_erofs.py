"""The EROFS writer, read back by Debian's tools."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from pycontain.errors import MachineError
from pycontain.store import Store
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.tarwriter import TarWriter
from pycontain.unionfs.tree import Tree
from pycontain.vm.erofs import write_image

needs_tools = pytest.mark.skipif(shutil.which("fsck.erofs") is None, reason="erofs-utils is not installed")
TIME = 1_700_000_000_123_456_789


def layer_of(store: Store, fill: object) -> object:
    with store.layers.sink("none") as sink:
        tar = TarWriter(sink.write)
        fill(tar)  # type: ignore[operator]
        tar.close()
        return sink.finish()[1]


def add(tar: TarWriter, path: bytes, mode: int, **more: object) -> None:
    content = more.pop("content", None)
    values: dict[str, object] = {
        "uid": 0, "gid": 0, "mtime_ns": TIME, "size": 0, "rdev": 0, "link": None, "hardlink": False,
        "xattrs": None, "content": None, **more,
    }  # fmt: skip
    if content is not None:
        values["size"], values["content"] = len(content), iter([content])  # type: ignore[arg-type]
    tar.add(path, mode=mode, **values)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def extract(image: Path, target: Path) -> None:
    subprocess.run(
        ["fsck.erofs", f"--extract={target}", str(image)], check=True, capture_output=True, timeout=60
    )


def dump(image: Path, path: str) -> str:
    done = subprocess.run(
        ["dump.erofs", f"--path={path}", str(image)], check=True, capture_output=True, timeout=60
    )
    return done.stdout.decode()


@needs_tools
def test_everything_a_layer_can_hold(store: Store, tmp_path: Path) -> None:
    sizes = [0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 70000, (1 << 20) + 5]
    data = {size: os.urandom(size) for size in sizes}

    def fill(tar: TarWriter) -> None:
        add(tar, b"etc", stat.S_IFDIR | 0o755)
        for size in sizes:
            add(tar, b"etc/f%d" % size, stat.S_IFREG | 0o4755, uid=70000, gid=5, content=data[size])
        add(tar, b"etc/link", stat.S_IFLNK | 0o777, link=b"../somewhere/" + b"x" * 200)
        add(tar, b"etc/hard", stat.S_IFREG | 0o4755, link=b"etc/f1", hardlink=True)
        add(tar, b"null", stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3))
        add(tar, b"big", stat.S_IFBLK | 0o600, rdev=os.makedev(259, 70000))
        add(tar, b"pipe", stat.S_IFIFO | 0o600)
        add(
            tar,
            b"cap",
            stat.S_IFREG | 0o755,
            content=b"x",
            xattrs={b"user.note": b"hello", b"security.capability": b"\1" * 20},
        )

    layer = layer_of(store, fill)
    image = tmp_path / "image"
    tree = Tree(ImageTree.merge([layer]))  # type: ignore[list-item]
    assert write_image(tree, str(image)) == image.stat().st_size
    out = tmp_path / "out"
    extract(image, out)
    for size in sizes:
        assert (out / f"etc/f{size}").read_bytes() == data[size]
    assert os.readlink(out / "etc/link").endswith("x" * 200)
    assert (out / "etc/hard").read_bytes() == data[1]
    shown = dump(image, "/etc/f1")
    assert "Uid: 70000   Gid: 5" in shown
    assert "Links: 2" in shown
    assert ".123456789" in shown
    if os.geteuid() == 0:
        assert os.stat(out / "big").st_rdev == os.makedev(259, 70000)
        assert os.stat(out / "null").st_rdev == os.makedev(1, 3)
        assert stat.S_ISFIFO(os.stat(out / "pipe").st_mode)
    assert "Xattr size" in dump(image, "/cap")


@needs_tools
def test_directories_longer_than_a_block(store: Store, tmp_path: Path) -> None:
    names = sorted({b"d/" + b"n" * (number % 200) + b"%d" % number for number in range(3000)})

    def fill(tar: TarWriter) -> None:
        add(tar, b"d", stat.S_IFDIR | 0o755)
        for name in names:
            add(tar, name, stat.S_IFREG | 0o644, content=name)

    image = tmp_path / "image"
    write_image(Tree(ImageTree.merge([layer_of(store, fill)])), str(image))  # type: ignore[list-item]
    out = tmp_path / "out"
    extract(image, out)
    assert sorted(b"d/" + os.fsencode(name) for name in os.listdir(out / "d")) == names
    assert all((out / os.fsdecode(name)).read_bytes() == name for name in names)


@needs_tools
def test_a_containers_changes_are_in_it(store: Store, tmp_path: Path) -> None:
    def fill(tar: TarWriter) -> None:
        add(tar, b"old", stat.S_IFREG | 0o644, content=b"old")
        add(tar, b"gone", stat.S_IFREG | 0o644, content=b"gone")

    tree = Tree(ImageTree.merge([layer_of(store, fill)]), str(tmp_path / "c"))  # type: ignore[list-item]
    tree.unlink(tree.root, b"gone")
    tree.write_bytes(tree.root, b"new", b"n" * 9000)
    tree.write_bytes(tree.root, b"old", b"changed")
    image = tmp_path / "image"
    write_image(tree, str(image))
    extract(image, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["new", "old"]
    assert (tmp_path / "out/new").read_bytes() == b"n" * 9000
    assert (tmp_path / "out/old").read_bytes() == b"changed"


def test_an_attribute_without_a_place_is_an_error(store: Store, tmp_path: Path) -> None:
    tree = Tree(ImageTree.merge([]), str(tmp_path / "c"))
    node = tree.write_bytes(tree.root, b"f", b"x")
    tree.set_xattr(node, b"strange.name", b"x")
    with pytest.raises(MachineError, match=r"strange\.name"):
        write_image(tree, str(tmp_path / "image"))
