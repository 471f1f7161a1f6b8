"""Two stores and a registry between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from client_world import World

from pycontain.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "other"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "registry")
    yield world
    world.close()
