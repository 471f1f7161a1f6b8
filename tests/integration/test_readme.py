"""The README is true: its commands are run as they stand, and what else it states is looked up."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def shell(pycontain: CommandLine, tmp_path: Path) -> Callable[[str], str]:
    """Runs a script as a user would who stands in a checkout: `pycontain` is in PATH."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/pycontain"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pycontain "$@"\n')
    program.chmod(0o755)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/Dockerfile.examples").symlink_to(ROOT / "Dockerfile.examples")
    environment = {
        **pycontain.environment,
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }

    def run(script: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-m", "-c", script],
            env=environment,
            cwd=tmp_path / "work",
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def block(word: str) -> str:
    """The one block that has this word."""
    (found,) = [text for text in BLOCKS if word in text]
    return str(found)


def test_every_block_is_run_below() -> None:
    words = ["wordcount", "bootstrap", "server.py", "registry serve", "import"]
    assert sorted(map(block, words)) == sorted(BLOCKS)


def test_first_command(shell: Callable[[str], str]) -> None:
    (line,) = re.findall(r"^    pip install \. && (.*)$", README, re.MULTILINE)
    assert shell(line).startswith("Hello from pycontain!\n")


def test_second_command_is_what_ci_runs() -> None:
    assert "    pip install '.[test]' && python -m pytest\n" in README
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_python_application(shell: Callable[[str], str]) -> None:
    assert "to" in shell(block("wordcount"))


@pytest.mark.skipif(not os.path.exists("/usr/include/stdio.h"), reason="no C library to compile with here")
def test_compiler(shell: Callable[[str], str]) -> None:
    shell(block("bootstrap"))


def test_server(shell: Callable[[str], str]) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8080)) == 0:
            pytest.skip("port 8080 is in use")
    shell(block("server.py"))


def test_registry(shell: Callable[[str], str]) -> None:
    shell("pycontain build -q -t hello Dockerfile.examples/hello")
    assert "Digest: sha256:" in shell(block("registry serve").replace("5000", str(free_port())))


def test_archives(shell: Callable[[str], str]) -> None:
    shell(block("import"))


def test_python_block_is_the_plugin_s_own_example() -> None:
    from pycontain import testing

    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert textwrap.indent(example, "    ") in (testing.__doc__ or "")


def test_numbers_are_those_of_the_table() -> None:
    """Each line of the README's table is a line of the benchmarks'."""
    source = "".join(path.read_text() for path in (ROOT / "tests/benchmarks").glob("*.py"))
    for phrase in (
        "kernel warm",
        "trapped stat",
        "within 3 % of the host",
        "400 MB in 12,000 files",
        "fully cached",
    ):
        assert phrase in source
