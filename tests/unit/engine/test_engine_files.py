"""cp, diff, export and commit on stopped containers, over a real store."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from pycontain.engine import copy
from pycontain.engine import spec as specs
from pycontain.engine.card import Card
from pycontain.engine.commit import commit
from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.files import container_tree
from pycontain.engine.options import ContainerOptions
from pycontain.errors import ContainerError, NotFound
from pycontain.image.config import ImageConfig, RunConfig
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference
from pycontain.unionfs.diff import changes, write_tree
from pycontain.unionfs.tarwriter import TarWriter

DIRECTORY, FILE, LINK = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
TIME = 1_700_000_000 * 10**9


@pytest.fixture
def container(engine: Engine) -> Container:
    """A stopped container of an image with /etc/name, /etc/link -> name, /bin/tool, /out -> /etc, /dev0."""
    with engine.store.layers.sink() as sink:
        tar = TarWriter(sink.write)
        tar.add(b"bin", mode=DIRECTORY, mtime_ns=TIME)
        tar.add(b"bin/tool", mode=stat.S_IFREG | 0o755, mtime_ns=TIME, size=2, content=[b"#!"])
        tar.add(b"dev0", mode=stat.S_IFCHR | 0o600, rdev=os.makedev(1, 3))
        tar.add(b"etc", mode=DIRECTORY, mtime_ns=TIME)
        tar.add(b"etc/name", mode=FILE, uid=3, gid=4, mtime_ns=TIME, size=5, content=[b"image"])
        tar.add(b"etc/link", mode=LINK, link=b"name")
        tar.add(b"out", mode=LINK, link=b"/etc")
        tar.close()
        descriptor, layer = sink.finish()
    config = ImageConfig(
        Platform.host().architecture, config=RunConfig(cmd=("x",)), diff_ids=(layer.diff_id,)
    )
    image = engine.store.add_image(config, [descriptor], Reference.parse("files"))
    return specs.create(engine, Card.of(image), ContainerOptions("files"))


def contents(engine: Engine, container: Container, path: str) -> bytes:
    tree = container_tree(engine, container)
    return tree.read_bytes(tree.walk(os.fsencode(path)))


def diff(engine: Engine, container: Container) -> list[str]:
    return [f"{c.kind} {os.fsdecode(c.path)}" for c in changes(container_tree(engine, container))]


def test_out_to_a_file_and_into_a_directory(engine: Engine, container: Container, tmp_path: Path) -> None:
    assert copy.copy_out(engine, container, "/etc/name", str(tmp_path / "new")) == []
    assert (tmp_path / "new").read_text() == "image"
    assert (tmp_path / "new").stat().st_mtime_ns == TIME
    copy.copy_out(engine, container, "etc/name", str(tmp_path))
    assert (tmp_path / "name").read_text() == "image"


def test_out_of_a_directory(engine: Engine, container: Container, tmp_path: Path) -> None:
    copy.copy_out(engine, container, "/etc", str(tmp_path))
    assert sorted(os.listdir(tmp_path / "etc")) == [
        "hostname",
        "hosts",
        "link",
        "name",
        "resolv.conf",
    ] or sorted(os.listdir(tmp_path / "etc")) == ["link", "name"]
    assert os.readlink(tmp_path / "etc/link") == "name"
    copy.copy_out(engine, container, "/etc/.", str(tmp_path))
    assert (tmp_path / "name").read_text() == "image"
    copy.copy_out(engine, container, "/etc", str(tmp_path / "renamed"))
    assert (tmp_path / "renamed/name").exists()


def test_out_follows_links_only_on_demand(engine: Engine, container: Container, tmp_path: Path) -> None:
    copy.copy_out(engine, container, "/etc/link", str(tmp_path))
    assert os.readlink(tmp_path / "link") == "name"
    copy.copy_out(engine, container, "/etc/link", str(tmp_path / "file"), follow=True)
    assert (tmp_path / "file").read_text() == "image"


def test_out_never_writes_through_a_link_of_the_host(
    engine: Engine, container: Container, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    (tmp_path / "name").symlink_to(victim)
    copy.copy_out(engine, container, "/etc/name", str(tmp_path))
    assert victim.read_text() == "safe"
    assert not (tmp_path / "name").is_symlink()


def test_devices_are_told_of(engine: Engine, container: Container, tmp_path: Path) -> None:
    assert copy.copy_out(engine, container, "/", str(tmp_path / "all")) == ["/dev0"]


@pytest.mark.parametrize(
    ("path", "destination", "message"),
    [
        ("/nosuch", ".", "No such file"),
        ("/etc/name", "nosuch/", "no directory"),
        ("/etc", "no/such", "no directory"),
    ],
)
def test_out_failures(
    engine: Engine, container: Container, tmp_path: Path, path: str, destination: str, message: str
) -> None:
    with pytest.raises(ContainerError, match=message):
        copy.copy_out(engine, container, path, f"{tmp_path}/{destination}")


def test_archive_out(engine: Engine, container: Container) -> None:
    out = io.BytesIO()
    copy.write_archive(engine, container, "/etc", out.write)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        found = {member.name: member for member in tar}
    assert (found["etc/name"].uid, found["etc/name"].gid) == (3, 4)
    assert found["etc/link"].linkname == "name"


def test_in(engine: Engine, container: Container, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from host")
    copy.copy_in(engine, container, str(tmp_path / "file"), "/etc")
    copy.copy_in(engine, container, str(tmp_path / "file"), "/etc/renamed")
    copy.copy_in(engine, container, str(tmp_path / "file"), "/etc/name")
    for name in ("file", "renamed", "name"):
        assert contents(engine, container, f"/etc/{name}") == b"from host"
    tree = container_tree(engine, container)
    assert tree.walk(b"/etc/file").uid == 0
    assert diff(engine, container) == ["C /etc", "A /etc/file", "C /etc/name", "A /etc/renamed"]


def test_in_of_directories(engine: Engine, container: Container, tmp_path: Path) -> None:
    (tmp_path / "d/sub").mkdir(parents=True)
    (tmp_path / "d/sub/f").write_text("x")
    copy.copy_in(engine, container, str(tmp_path / "d"), "/new")
    copy.copy_in(engine, container, str(tmp_path / "d"), "/bin")
    copy.copy_in(engine, container, str(tmp_path / "d") + "/.", "/etc")
    for path in ("/new/sub/f", "/bin/d/sub/f", "/etc/sub/f"):
        assert contents(engine, container, path) == b"x"
    assert contents(engine, container, "/bin/tool") == b"#!"


def test_in_through_the_container_s_own_link(engine: Engine, container: Container, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    copy.copy_in(engine, container, str(tmp_path / "f"), "/out/f")
    assert contents(engine, container, "/etc/f") == b"x"


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        ("nosuch", "/etc", "No such file"),
        ("d", "/etc/name", "that is a file"),
        ("f", "/no/such", "No such file"),
        ("f", "/nosuch/", "no such directory"),
    ],
)
def test_in_failures(
    engine: Engine, container: Container, tmp_path: Path, source: str, path: str, message: str
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").touch()
    with pytest.raises(ContainerError, match=message):
        copy.copy_in(engine, container, str(tmp_path / source), path)
    assert diff(engine, container) == []


def test_export(engine: Engine, container: Container) -> None:
    out = io.BytesIO()
    write_tree(container_tree(engine, container), out.write)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        assert {"bin/tool", "etc/name", "etc/link", "out", "dev0"} <= set(tar.getnames())


def test_commit(engine: Engine, container: Container, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    copy.copy_in(engine, container, str(tmp_path / "f"), "/f")
    image = commit(engine, container, Reference.parse("made"), author="me", message="why")
    assert engine.store.image("made").id == image.id
    assert len(image.config.diff_ids) == 2
    assert (image.config.history[-1].author, image.config.history[-1].comment) == ("me", "why")
    assert image.config.config.cmd == ("x",)
    again = specs.create(engine, Card.of(image), ContainerOptions("made"))
    assert contents(engine, again, "/f") == b"x"
    assert diff(engine, again) == []


def test_commit_without_the_image(engine: Engine, container: Container) -> None:
    container.record["Image"] = "sha256:" + "0" * 64
    with pytest.raises(NotFound, match="was removed"):
        commit(engine, container, None)
