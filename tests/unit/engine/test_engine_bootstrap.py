"""Programs of the host and what they need, compared with what the host's own tools say."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pycontain.engine.bootstrap import base, companions
from pycontain.engine.bootstrap.collection import Collection
from pycontain.engine.bootstrap.elf import read_elf
from pycontain.engine.bootstrap.libraries import Libraries, read_cache
from pycontain.engine.bootstrap.programs import Programs, find_program
from pycontain.engine.bootstrap.python import find_interpreter, is_python
from pycontain.errors import NotFound
from pycontain.image.reference import Reference
from pycontain.store import Store

LS = os.path.realpath(shutil.which("ls") or "/bin/ls")


def needs(path: str) -> set[str]:
    """Real paths of the libraries that the loader itself would load."""
    out = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    return {os.path.realpath(found) for found in re.findall(r"(/\S+) \(0x", out)}


@pytest.mark.parametrize("program", ["ls", "bash", "tar", "grep", sys.executable])
def test_libraries_are_those_of_the_loader(program: str) -> None:
    path = os.path.realpath(shutil.which(program) or program)
    collection = Collection()
    Programs(collection).file(path)
    files = {p for p, item in collection.items.items() if stat.S_ISREG(item.mode)}
    assert files == needs(path) | {path}


def test_elf_of_other_files(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("#!/bin/sh\n")
    (tmp_path / "cut").write_bytes(Path(LS).read_bytes()[:100])
    (tmp_path / "empty").touch()
    for name in ("text", "empty"):
        assert read_elf(str(tmp_path / name)) is None
    cut = read_elf(str(tmp_path / "cut"))
    assert cut is None or cut.needed == ()


def test_damaged_cache_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"glibc-ld.so.cache1.1\xff\xff\xff\x00" + b"x" * 100)
    assert read_cache(str(tmp_path / "cache")) == {}
    assert read_cache(str(tmp_path / "nosuch")) == {}


def test_library_that_is_not_there() -> None:
    elf = read_elf(LS)
    assert elf is not None
    assert Libraries().find("libnosuch.so.9", LS, elf, ()) is None


def test_links_on_the_way_are_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("x")
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "first").symlink_to(tmp_path / "alias/file")
    collection = Collection()
    assert collection.path(str(tmp_path / "first")) == str(tmp_path / "real/file")
    assert collection.items[str(tmp_path / "first")].target == str(tmp_path / "alias/file")
    assert collection.items[str(tmp_path / "alias")].target == "real"
    assert stat.S_ISDIR(collection.items[str(tmp_path / "real")].mode)


def test_tree_with_what_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "t/sub").mkdir(parents=True)
    (tmp_path / "t/sub/file").write_text("x")
    (tmp_path / "t/dangling").symlink_to("nosuch")
    (tmp_path / "t/skip").write_text("x")
    os.mkfifo(tmp_path / "t/fifo")
    collection = Collection()
    files = list(collection.tree(str(tmp_path / "t"), lambda path: not path.endswith("/skip")))
    assert files == [str(tmp_path / "t/sub/file")]
    assert collection.items[str(tmp_path / "t/dangling")].target == "nosuch"
    assert collection.skipped == [str(tmp_path / "t/fifo")]


def test_endless_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(Exception, match="too many symbolic links"):
        Collection().path(str(tmp_path / "a"))


def test_script_brings_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/usr/bin/env bash\necho hi\n")
    script.chmod(0o755)
    collection = Collection()
    Programs(collection).add(str(script))
    for program in ("env", "bash"):
        assert os.path.realpath(find_program(program) or "") in collection
    assert str(script) in collection


def test_missing_program() -> None:
    with pytest.raises(NotFound, match="no-such-program"):
        Programs(Collection()).add("no-such-program")


def test_python_names() -> None:
    assert all(map(is_python, ("python", "python3", "python3.11", "/usr/bin/python3")))
    assert not any(map(is_python, ("python2", "python3-config", "pythonw", "perl")))


def test_our_own_interpreter() -> None:
    found = find_interpreter(sys.executable)
    assert found.binary == os.path.realpath(sys.executable)
    with pytest.raises(NotFound):
        find_interpreter("python3.99")


def test_companions_of_compilers() -> None:
    for name in ("gcc", "cc", "x86_64-linux-gnu-gcc-12"):
        found = companions.of(name)
        assert "ld" in found.programs
        assert any("crt" in path for path in found.paths)
    assert companions.of("nosuch") == companions.Companions()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(str(tmp_path_factory.mktemp("bootstrap")))


def test_host_base_is_the_same_twice(store: Store) -> None:
    first = base.make(store, Reference.parse("host/base"))
    assert base.make(store, Reference.parse("host/base")).id == first.id
    entries = {entry.path: entry for entry in first.layers[0].entries()}
    assert entries[b"tmp"].mode == stat.S_IFDIR | 0o1777
    assert {b"etc/passwd", b"etc/group", b"proc", b"root"} <= entries.keys()
    assert all((entry.uid, entry.gid) == (0, 0) for entry in entries.values())
    assert first.config.config.cmd is not None


def test_only_what_was_asked_for(store: Store) -> None:
    image = base.bootstrap(store, Reference.parse("just-true"), ["true"], base=False)
    names = {os.path.basename(entry.path) for entry in image.layers[0].entries()}
    assert b"true" in names
    assert b"ls" not in names and b"python3" not in names


def test_images_that_cannot_be_made(store: Store) -> None:
    for name in ("host/no-such-program", "host/base:1.0", "host/base@sha256:" + "0" * 64):
        with pytest.raises(NotFound):
            base.make(store, Reference.parse(name))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_unreadable_files_are_left_out(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    for name in ("seen", "secret"):
        (tmp_path / "open" / name).write_text("x")
    (tmp_path / "open/secret").chmod(0)
    tmp_path.chmod(0o755)
    collection = Collection()
    pid = os.fork()
    if pid == 0:  # an ordinary user, who reads what others may
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        listed = list(collection.tree(str(tmp_path / "open"))) if os.access(tmp_path, os.X_OK) else ["hidden"]
        right = [os.path.basename(path) for path in listed] in (["seen"], ["hidden"])
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
