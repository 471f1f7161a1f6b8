"""Images through the command line: list, name, describe, save and load, import and export, remove."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine

BASE = "host/base"


@pytest.fixture
def named(pycontain: CommandLine) -> Iterator[str]:
    """A small image of our own, removed after the test."""
    pycontain("run", "--name", "for-image", BASE, "sh", "-c", "echo content > /file; rm /etc/services")
    pycontain("commit", "-a", "me", "-m", "why", "-c", 'CMD ["cat", "/file"]', "for-image", "small:1")
    pycontain("rm", "for-image")
    yield "small:1"
    pycontain("rmi", "-f", "small:1", "small:2")


def test_list(pycontain: CommandLine, named: str) -> None:
    lines = pycontain("images").stdout.splitlines()
    assert lines[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert any(line.split()[:2] == ["small", "1"] for line in lines)
    (row,) = [json.loads(x) for x in pycontain("images", "--format", "json", "small").stdout.splitlines()]
    assert (row["Repository"], row["Tag"]) == ("small", "1")
    assert pycontain("images", "-q", "small:1").stdout.strip() == row["ID"]
    assert pycontain("images", "-q", "--no-trunc", "small:1").stdout.startswith("sha256:" + row["ID"])
    assert pycontain("image", "ls", "-q", "-f", "reference=sm*:1").stdout.strip() == row["ID"]
    assert pycontain("images", "-q", "small:2").stdout == ""


def test_tag_and_remove(pycontain: CommandLine, named: str) -> None:
    pycontain("tag", named, "small:2")
    assert pycontain("rmi", "small:2").stdout == "Untagged: small:2\n"
    pycontain("run", "--name", "user", named)
    try:
        assert "user" in pycontain("ps", "-a").stdout
        assert "--force" in pycontain("rmi", named, code=125).stderr
    finally:
        pycontain("rm", "user")
    assert "small:9" in pycontain("rmi", "small:9", code=125).stderr


def test_inspect_and_history(pycontain: CommandLine, named: str) -> None:
    (found,) = json.loads(pycontain("inspect", named).stdout)
    assert found["Config"]["Cmd"] == ["cat", "/file"]
    assert (found["Author"], found["Comment"]) == ("me", "why")
    assert len(found["RootFS"]["Layers"]) == 2
    steps = pycontain("history", "--no-trunc", named).stdout.splitlines()
    assert len(steps) == 3
    assert "why" in steps[1]
    assert pycontain("history", "-q", named).stdout.splitlines()[1] == "<missing>"


def test_save_and_load(pycontain: CommandLine, named: str, tmp_path: Path) -> None:
    file = tmp_path / "saved.tar"
    pycontain("save", "-o", file, named)
    with tarfile.open(file) as tar:
        assert {"manifest.json", "index.json", "oci-layout"} <= set(tar.getnames())
    before = pycontain("images", "-q", "--no-trunc", named).stdout
    pycontain("rmi", named)
    assert pycontain("load", "-i", file).stdout == "Loaded image: small:1\n"
    assert pycontain("images", "-q", "--no-trunc", named).stdout == before
    assert pycontain("run", "--rm", named).stdout == "content\n"


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="no skopeo here")
def test_skopeo_reads_what_we_save(pycontain: CommandLine, named: str, tmp_path: Path) -> None:
    file = tmp_path / "saved.tar"
    pycontain("save", "-o", file, named)
    config = subprocess.run(
        ["skopeo", "inspect", "--config", "--raw", f"docker-archive:{file}"], capture_output=True, check=True
    ).stdout
    assert json.loads(config)["config"]["Cmd"] == ["cat", "/file"]


def test_export_and_import(pycontain: CommandLine, named: str, tmp_path: Path) -> None:
    pycontain("create", "--name", "exported", named)
    file = tmp_path / "root.tar"
    try:
        pycontain("export", "-o", file, "exported")
    finally:
        pycontain("rm", "exported")
    with tarfile.open(file) as tar:
        assert "etc/passwd" in tar.getnames()
        assert "etc/services" not in tar.getnames()
    pycontain("import", "-c", "ENTRYPOINT cat", file, "small:2")
    assert pycontain("run", "--rm", "--entrypoint", "cat", "small:2", "/file").stdout == "content\n"
    with file.open("rb") as stream:
        done = subprocess.run(
            [*pycontain.program, "import", "-", "small:2"],
            stdin=stream,
            env=pycontain.environment,
            capture_output=True,
        )
    assert done.returncode == 0 and done.stdout.startswith(b"sha256:")


def test_life_of_a_container(pycontain: CommandLine) -> None:
    pycontain("create", "--name", "life", BASE, "sh", "-c", "echo up; touch /made; exec sleep 60")
    assert json.loads(pycontain("inspect", "life").stdout)[0]["State"]["Status"] == "created"
    try:
        pycontain("start", "life")
        (row,) = [
            json.loads(x) for x in pycontain("ps", "-f", "name=life", "--format", "json").stdout.splitlines()
        ]
        assert (row["State"], row["Image"]) == ("running", BASE)
        while "up" not in pycontain("logs", "life").stdout:
            pass
        assert pycontain("exec", "life", "sh", "-c", "test -e /made && echo yes").stdout == "yes\n"
        assert pycontain("diff", "life").stdout == "A /made\n"
        top = pycontain("top", "life").stdout.splitlines()
        assert top[0].split()[:3] == ["UID", "PID", "PPID"] and top[1].split()[1] == "1"
        pycontain("pause", "life")
        assert "(Paused)" in pycontain("ps", "-f", "name=life").stdout
        pycontain("unpause", "life")
        assert "it is running" in pycontain("rm", "life", code=125).stderr
        pycontain("restart", "-t", "0", "life")
        pycontain("stop", "-t", "0", "life")
        assert pycontain("wait", "life").stdout in ("137\n", "143\n")
        assert "Exited (1" in pycontain("ps", "-a", "-f", "name=life").stdout
        pycontain("rename", "life", "after")
        assert pycontain("logs", "--tail", "1", "after").stdout == "up\n"
    finally:
        pycontain("rm", "-f", "life", "after")
    assert "there is none" in pycontain("logs", "after", code=125).stderr


def test_cp(pycontain: CommandLine, container: Callable[..., str], tmp_path: Path) -> None:
    name = container(BASE, "sleep", "60")
    (tmp_path / "in").write_text("hello\n")
    pycontain("cp", tmp_path / "in", f"{name}:/tmp/")
    assert pycontain("exec", name, "cat", "/tmp/in").stdout == "hello\n"
    pycontain("exec", name, "sh", "-c", "echo answer > /tmp/out")
    pycontain("cp", f"{name}:/tmp/out", tmp_path)
    assert (tmp_path / "out").read_text() == "answer\n"
    pycontain("cp", f"{name}:/tmp/.", tmp_path / "all")
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["in", "out"]


def test_prune(pycontain: CommandLine) -> None:
    pycontain("run", "--name", "ended", BASE, "true")
    assert "Deleted Containers:" in pycontain("container", "prune", "-f").stdout
    assert "ended" not in pycontain("ps", "-a").stdout
    assert "Total reclaimed space" in pycontain("image", "prune", "-f").stdout
    assert pycontain("run", "--rm", BASE, "echo", "still there").stdout == "still there\n"
