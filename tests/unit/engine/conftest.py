"""An engine on a throw-away root, whose kernel is the host's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from host_kernel import HostKernel, MakeContainer

from pycontain.engine import spec as specs
from pycontain.engine.card import Card
from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.options import ContainerOptions
from pycontain.image.platform import Platform


@pytest.fixture
def host_kernel() -> Iterator[HostKernel]:
    kernel = HostKernel()
    yield kernel
    kernel.close()


@pytest.fixture
def engine(tmp_path: Path, host_kernel: HostKernel) -> Engine:
    return Engine(str(tmp_path / "root"), host_kernel.connect)


@pytest.fixture
def card() -> Card:
    """An image with nothing in it, for this machine."""
    return Card(
        "sha256:" + "1" * 64,
        "sha256:" + "2" * 64,
        "docker.io/library/empty:latest",
        Platform.host().architecture,
        ["sha256:" + "3" * 64],
        {
            "Env": ["PATH=/usr/bin:/bin", "FROM=image"],
            "Cmd": ["sh", "-c", "echo from image"],
            "Labels": {"origin": "image"},
        },
    )


@pytest.fixture
def make(engine: Engine, card: Card) -> MakeContainer:
    """make("sh", "-c", "…", tty=True): a container, not started."""

    def create(*command: str, **options: object) -> Container:
        wanted = ContainerOptions("empty", list(command))
        for name, value in options.items():
            setattr(wanted, name, value)
        return specs.create(engine, card, wanted)

    return create
