"""Fixtures for tests that need images, containers or a registry: a pytest plugin, there with pycontain.

    def test_greeting(pycontain_image, pycontain_container):
        image = pycontain_image('FROM host/base\\nRUN echo hello > /greeting\\nCMD ["sleep", "inf"]')
        container = pycontain_container(image)
        assert container.exec("cat", "/greeting").stdout == "hello\\n"

| fixture | scope | gives |
|---|---|---|
| pycontain_store | session | a throw-away store with a kernel of its own (ThrowAwayStore) |
| pycontain_registry | session | a registry on a free port of localhost (registry.Server: .url, .port) |
| pycontain_image | function | a function: Dockerfile text, context files -> Image |
| pycontain_container | function | a function: image, command, options -> RunningContainer; removed after the test |

The plugin is loaded by every pytest of an environment, so nothing but pytest is imported until a fixture is used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from pycontain.engine.containers import Container
    from pycontain.engine.engine import Engine
    from pycontain.store import Image, Store
    from registry import Server

    Context = Mapping[str, str | bytes] | str | os.PathLike[str] | None
    """What a build copies from: path -> content, or a directory, or nothing."""


class Outcome(NamedTuple):
    """How a program ended: exit code (128+n by a signal), and what it printed."""

    code: int
    stdout: str
    stderr: str


class ThrowAwayStore:
    """A store in a temporary directory. root: the directory, for PYCONTAIN_ROOT of programs that a test starts."""

    def __init__(self, root: str) -> None:
        from pycontain.engine.engine import Engine

        self.root = root
        self.engine: Engine = Engine(root)

    @property
    def store(self) -> Store:
        """The store itself."""
        return self.engine.store

    def image(self, name: str) -> Image:
        """The image of this name; host/base and the like are made, others pulled, where they are missing."""
        from pycontain.engine.images import obtain

        return obtain(self.store, name)

    def close(self) -> None:
        """End the store's kernel, and with it every container."""
        from shutil import rmtree

        kernel = self.engine.running_kernel()
        if kernel is not None:
            kernel.shutdown()
            rmtree(kernel.directory, ignore_errors=True)


class RunningContainer:
    """A container that a test has started."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self._engine = engine
        self._container = container

    @property
    def id(self) -> str:
        """Its ID, 64 hexadecimal digits."""
        return self._container.id

    @property
    def name(self) -> str:
        """Its name."""
        return self._container.name

    def exec(self, *command: str, env: Mapping[str, str] | None = None, user: str | None = None) -> Outcome:
        """Run a program in the container to its end."""
        from pycontain.engine.execute import ExecOptions, execute

        options = ExecOptions(list(command))
        options.env = [f"{name}={value}" for name, value in (env or {}).items()]
        options.user = user
        session = execute(self._engine, self._container, options, attach=True)
        output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        try:
            code = session.run(lambda stream, data: output[stream].extend(data))
        finally:
            session.close()
        return Outcome(code, output[1].decode("utf-8", "replace"), output[2].decode("utf-8", "replace"))

    def logs(self) -> str:
        """What its program has printed until now, both streams in order."""
        from pycontain.engine.logs import read_log

        records = read_log(self._engine, self._container)
        return b"".join(record.data for record in records).decode("utf-8", "replace")

    def stop(self, timeout: float | None = None) -> int:
        """Ask it to end, kill it after `timeout` seconds; the exit code."""
        from pycontain.engine.stop import stop

        stop(self._engine, self._container, timeout=timeout)
        return self.wait()

    def wait(self) -> int:
        """The exit code, once it has ended."""
        from pycontain.engine.stop import wait

        return wait(self._engine, self._container)


@pytest.fixture(scope="session")
def pycontain_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThrowAwayStore]:
    """A throw-away store with a kernel of its own; both are gone after the session."""
    store = ThrowAwayStore(str(tmp_path_factory.mktemp("pycontain-store")))
    yield store
    store.close()


@pytest.fixture(scope="session")
def pycontain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A registry on a free port of localhost."""
    from registry import serve

    server = serve(str(tmp_path_factory.mktemp("pycontain-registry")), "127.0.0.1", 0)
    yield server
    server.close()


@pytest.fixture
def pycontain_image(
    pycontain_store: ThrowAwayStore, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Image]:
    """Build images: pycontain_image(dockerfile, context={"app.py": "…"}, **options of pycontain.build.build).

    dockerfile: its text. context: path -> text or bytes, or the path of a directory.
    """

    def build(dockerfile: str, context: Context = None, **options: Any) -> Image:
        from pycontain.build.builder import build as build_image
        from pycontain.engine.images import obtain

        if isinstance(context, (str, os.PathLike)):
            directory = os.fspath(context)
        else:
            directory = str(tmp_path_factory.mktemp("context"))
            _write_context(directory, context or {})
        file = os.path.join(str(tmp_path_factory.mktemp("dockerfile")), "Dockerfile")
        with open(file, "w", encoding="utf-8") as text:
            text.write(dockerfile)
        store = pycontain_store.store
        options.setdefault(
            "find_image", lambda name, platform: obtain(store, str(name), platform=str(platform))
        )
        return build_image(store, directory, file, **options)

    return build


@pytest.fixture
def pycontain_container(pycontain_store: ThrowAwayStore) -> Iterator[Callable[..., RunningContainer]]:
    """Start containers: pycontain_container(image, "sleep", "inf", env=["A=1"], …).

    image: an Image or a name. Further keywords are the attributes of pycontain.engine.options.ContainerOptions.
    """
    engine = pycontain_store.engine
    started: list[Container] = []

    def start(image: Image | str, *command: str, **options: Any) -> RunningContainer:
        from pycontain.engine.options import ContainerOptions
        from pycontain.engine.start import create, start

        wanted = ContainerOptions(image if isinstance(image, str) else image.id, list(command))
        for name, value in options.items():
            setattr(wanted, name, value)
        container = create(engine, wanted)
        started.append(container)
        start(engine, container, attach=False).close()
        return RunningContainer(engine, container)

    yield start
    if started:
        from pycontain.engine.prune import remove_container

        for container in started:
            remove_container(engine, container, force=True)


def _write_context(directory: str, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
