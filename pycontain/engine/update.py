"""Other limits for a container, at once where it runs, and for all its later starts."""

from __future__ import annotations

from typing import Any

from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.spec import limits_of_host_config
from pycontain.engine.state import live_containers, state_of
from pycontain.errors import ContainerError


def update(engine: Engine, container: Container, limits: dict[str, Any]) -> None:
    """Change the limits that are given (as kernel/limits.py has them); the others stay.

    Raises ContainerError where the kernel refuses, and then nothing has changed.
    """
    if container.spec.get("runtime"):
        raise ContainerError(
            f"update {container.name}: a machine gets its memory and processors when it is made",
            hint="run another one with --memory and --cpus",
        )
    merged = {**(container.spec.get("limits") or {}), **limits}
    live = live_containers(engine)
    if state_of(container, live).is_running:
        kernel = engine.running_kernel()
        if kernel is not None:
            kernel.update(container.id, merged)
    container.record["Spec"]["limits"] = merged
    container.record["HostConfig"].update(limits_of_host_config(merged))
    container.save()
