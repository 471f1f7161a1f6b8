"""A further program in a running container."""

from __future__ import annotations

import os

from pycontain.engine import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.containers import Container
    from pycontain.engine.engine import Engine
    from pycontain.kernel.control import Session


class ExecOptions:
    """exec's options as plain data; the defaults are the container's own."""

    __slots__ = ("command", "env", "env_files", "interactive", "tty", "user", "working_dir")

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.env: list[str] = []
        self.env_files: list[str] = []
        self.interactive = False
        self.tty = False
        self.user: str | None = None
        self.working_dir: str | None = None


def execute(
    engine: Engine,
    container: Container,
    options: ExecOptions,
    *,
    attach: bool,
    stdin: int | None = None,
    size: tuple[int, int] = (0, 0),
) -> Session:
    """Start the program. ContainerError where the container does not run, ProgramNotFound, CannotRun."""
    from pycontain.errors import ContainerError

    kernel = engine.running_kernel()
    if kernel is None:
        raise ContainerError(
            f"exec in {container.name}: the container is not running",
            hint=f"pycontain start {container.name}",
        )
    own = container.spec
    values = dict(item.partition("=")[::2] for item in own["env"])
    if options.tty:
        values.setdefault("TERM", "xterm")
    env = environment.merge(values, options.env_files, options.env)
    spec: dict[str, Any] = {
        "args": [os.fsencode(arg) for arg in options.command],
        "env": [os.fsencode(item) for item in env],
        "cwd": os.fsencode(options.working_dir or own["cwd"]),
        "user": options.user if options.user is not None else own["user"],
        "groups": own["groups"],
        "terminal": options.tty,
        "size": list(size),
        "stdin": options.interactive,
        "attach": attach,
    }
    return kernel.exec(container.id, spec, stdin)
