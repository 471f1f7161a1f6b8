"""The world of the syscall cases, made once for a test run, and the outcomes of the selected cases."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import probe
import pytest
import world

from pycontain.store import Store

EXPECTED = os.path.join(world.HERE, "expected.json")


class World:
    """Where the cases run. Each of the ways is taken once, for all the cases that the run has selected."""

    def __init__(self, directory: str, names: list[str]) -> None:
        self.directory = directory
        self.store = Store.open(f"{directory}/store")
        compiled = world.build_image(self.store, f"{directory}/programs")
        self.names = [n for n in names if probe.registry[n].program in (None, *compiled)]
        self._found: dict[str, dict[str, Any] | None] = {}

    def outcomes(self, way: str) -> dict[str, Any] | None:
        """way: host, container, slowly or user; None where this machine cannot go it."""
        if way not in self._found:
            self._found[way] = getattr(self, f"_{way}")()
        return self._found[way]

    def _host(self) -> dict[str, Any]:
        """As this host does it, now, if we are root; else as the host did on which expected.json was made."""
        if os.geteuid() != 0:
            with open(EXPECTED) as file:
                recorded: dict[str, Any] = json.load(file)
            return recorded
        world.unpack(self.store, f"{self.directory}/root")
        return world.run_on_host(f"{self.directory}/root", self.names)

    def _container(self) -> dict[str, Any]:
        return world.run_in_container(self.store.root, self.names)

    def _slowly(self) -> dict[str, Any]:
        """By Python alone."""
        return world.run_in_container(self.store.root, self.names, slowly=True)

    def _user(self) -> dict[str, Any] | None:
        """Under a kernel of an ordinary user. Where we are one, that is the container as it is."""
        if os.geteuid() != 0:
            return None
        python = world.as_user(self.store.root, f"{self.directory}/user")
        return world.run_in_container(f"{self.directory}/user", self.names, python) if python else None


@pytest.fixture(scope="session")
def syscall_world(request: pytest.FixtureRequest) -> Iterator[World]:
    names = {item.callspec.params["name"] for item in request.session.items if is_case(item)}
    directory = tempfile.mkdtemp(prefix="syscalls-")  # not pytest's: another user must be able to enter it
    os.chmod(directory, 0o755)
    try:
        yield World(directory, sorted(names))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def is_case(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("name") in probe.registry
