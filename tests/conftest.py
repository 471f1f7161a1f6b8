"""What all tests share: the command line on a throw-away store."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine

from pycontain.testing import ThrowAwayStore


def pytest_configure(config: pytest.Config) -> None:
    """Started in the background or by nohup(1), we would ignore what tests send to programs that they start."""
    for signum, usual in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGQUIT, signal.SIG_DFL),
    ):
        if signal.getsignal(signum) == signal.SIG_IGN:
            signal.signal(signum, usual)


@pytest.fixture(scope="session")
def pycontain(pycontain_store: ThrowAwayStore) -> CommandLine:
    """The command line, with host/base there already."""
    pycontain_store.image("host/base")
    return CommandLine(pycontain_store.root)


@pytest.fixture
def bare_cli(tmp_path: Path) -> CommandLine:
    """The command line on an empty store; for what needs no kernel."""
    return CommandLine(str(tmp_path / "root"))


@pytest.fixture
def container(pycontain: CommandLine) -> Iterator[Callable[..., str]]:
    """A function: run a container in the background; it is removed after the test."""
    started: list[str] = []

    def run(*words: str) -> str:
        name = pycontain("run", "-d", *words).stdout.strip()
        started.append(name)
        return name

    yield run
    if started:
        pycontain("rm", "-f", *started)
