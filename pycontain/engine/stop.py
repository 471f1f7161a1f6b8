"""Stop, kill and wait."""

from __future__ import annotations

import signal

from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of
from pycontain.errors import ContainerError

DEFAULT_TIMEOUT = 10
"""Seconds between the polite signal and SIGKILL, as Docker's."""


def signal_number(text: str) -> int:
    """15 of "15", "TERM", "SIGTERM", "sigterm", "RTMIN+3". ContainerError where there is no such signal."""
    plain = text.strip().upper().removeprefix("SIG")
    if plain.isascii() and plain.isdigit() and 0 < int(plain) < 65:
        return int(plain)
    base, sign, offset = plain.partition("+") if "+" in plain else plain.partition("-")
    try:
        number = int(signal.Signals["SIG" + base])
        return number + (int(sign + offset) if sign else 0)
    except (KeyError, ValueError):
        raise ContainerError(f"read signal {text!r}: there is no such signal") from None


def kill(engine: Engine, container: Container, number: int) -> None:
    """Send a signal to the container's first process. ContainerError where it does not run."""
    kernel = engine.running_kernel()
    if kernel is None or not state_of(container, live_containers(engine)).is_running:
        raise ContainerError(f"kill {container.name}: the container is not running")
    kernel.kill(container.id, number)


def stop(
    engine: Engine, container: Container, *, timeout: float | None = None, number: int | None = None
) -> None:
    """Ask the program to end, and end it after `timeout` seconds (None: the container's own; < 0: never).

    A container that does not run is left as it is.
    """
    kernel = engine.running_kernel()
    if kernel is None or not state_of(container, live_containers(engine)).is_running:
        return
    config = container.record["Config"]
    if number is None:
        number = signal_number(config.get("StopSignal") or "TERM")
    if timeout is None:
        own = config.get("StopTimeout")
        timeout = DEFAULT_TIMEOUT if own is None else own
    try:
        kernel.kill(container.id, number)
        if kernel.wait(container.id, None if timeout < 0 else timeout) is None:
            kernel.kill(container.id, signal.SIGKILL)
            kernel.wait(container.id)
    except ContainerError:
        if state_of(container, live_containers(engine)).is_running:
            raise
        # it ended by itself between two of our questions


def wait(engine: Engine, container: Container) -> int:
    """The exit code, once the container has ended."""
    if state_of(container, live_containers(engine)).is_running:
        kernel = engine.running_kernel()
        try:
            code = kernel.wait(container.id) if kernel is not None else None
        except ContainerError:  # it has ended meanwhile
            code = None
        if code is not None:
            return code
    return state_of(container, live_containers(engine)).exit_code
