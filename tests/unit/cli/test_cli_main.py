"""The program as a whole: errors, start-up, lazily loaded verbs."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from command_line import CommandLine

from pycontain import cli
from pycontain.cli.group import VERBS, LazyGroup

SLOW = {
    "asyncio",
    "click",
    "concurrent",
    "dataclasses",
    "hashlib",
    "http",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "re",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "typing",
    "urllib",
    "zstandard",
}
"""What a `run` of a known image must not import: each of them takes milliseconds."""


def test_run_imports_nothing_slow() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import pycontain.cli.run, pycontain.cli.interact, pycontain.kernel.control\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    # -S: an editable installation's own hooks import much of that before we begin
    path = ":".join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {path.split(':')!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name for name in done.stdout.split() if name.partition(".")[0] != "msgpack"}
    assert not loaded & SLOW
    assert not {
        name for name in loaded if name.startswith(("pycontain.store", "pycontain.image", "pycontain.build"))
    }


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_there_and_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke([verb, "--help"]) == 0
    assert f"Usage: pycontain {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("group", ["container", "image", "system"])
def test_every_verb_of_a_group_is_there(group: str) -> None:
    command = LazyGroup("pycontain", VERBS, "").get_command(click.Context(click.Command("x")), group)
    assert isinstance(command, click.Group)
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert isinstance(found, click.Command)


def test_group_word_before_a_hot_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["container", "run"]) == 125
    assert "run: IMAGE is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "did you mean run?"),
        (["ps", "--nosuch"], "No such option"),
        (["logs"], "Missing argument"),
        (["rm", "nosuch"], "find container nosuch"),
        (["inspect", "nosuch"], "no such container or image"),
        (["ps", "--filter", "nosuch=1"], "filter nosuch"),
        (["ps", "--format", "{{.Nosuch}}"], ""),
        (["cp", "a", "b"], "one side"),
        (["kill", "-s", "NOSUCH", "x"], "no such signal"),
    ],
)
def test_errors_are_one_line(bare_cli: CommandLine, words: list[str], message: str) -> None:
    code = {"inspect": 1}.get(words[0], 125) if message else 0
    done = bare_cli(*words, code=code)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == (1 if message else 0)
    assert done.stderr == "" or done.stderr.startswith("pycontain: ")


def test_unexpected_exception_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(arguments: list[str]) -> int:
        raise ZeroDivisionError("no")

    monkeypatch.delenv("PYCONTAIN_DEBUG", raising=False)
    monkeypatch.setattr(cli, "_dispatch", broken)
    assert cli.invoke(["run"]) == 125
    assert (
        capsys.readouterr().err == "pycontain: run: ZeroDivisionError: no (PYCONTAIN_DEBUG=1 shows where)\n"
    )
    monkeypatch.setenv("PYCONTAIN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.invoke(["run"])


def test_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", interrupted)
    assert cli.invoke(["build"]) == 130


def test_closed_output_is_quiet(bare_cli: CommandLine) -> None:
    process = bare_cli.spawn("--help", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    process.wait(20)


def test_root_option(tmp_path: object, bare_cli: CommandLine) -> None:
    out = bare_cli("--root", f"{tmp_path}/other", "info", "--format", "{{.DockerRootDir}}").stdout
    assert out == f"{tmp_path}/other\n"


def test_version(bare_cli: CommandLine) -> None:
    assert bare_cli("--version").stdout.startswith("pycontain version ")
    assert bare_cli("version", "--format", "{{.Client.Version}}").stdout.count(".") == 2
