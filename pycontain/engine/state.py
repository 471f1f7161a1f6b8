"""Whether a container runs, and how it ended.

state.json is the kernel's: {"status": "running"|"exited", "pid", "exit_code", "started", "finished"} (ns).
Where it says running and no kernel knows the container, the container died with its kernel.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine

LOST = 137
"""The exit code of a container whose kernel died (128 + SIGKILL)."""


class State(NamedTuple):
    """status: created, running, paused or exited. started and finished: ns since the epoch, 0 if not yet."""

    status: str = "created"
    pid: int = 0
    exit_code: int = 0
    started: int = 0
    finished: int = 0
    oom_killed: bool = False

    @property
    def is_running(self) -> bool:
        """Also when paused."""
        return self.status in ("running", "paused")


def live_containers(engine: Engine) -> dict[str, dict[str, Any]]:
    """What the kernel says of the containers it runs, by ID; empty where no kernel runs."""
    kernel = engine.running_kernel()
    return {str(row["id"]): row for row in kernel.containers()} if kernel is not None else {}


def state_of(container: Container, live: Mapping[str, dict[str, Any]]) -> State:
    """The container's state; live: live_containers, asked before this."""
    try:
        with open(os.path.join(container.directory, "state.json"), "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return State()
    state = State(
        str(value.get("status", "created")),
        int(value.get("pid") or 0),
        int(value.get("exit_code") or 0),
        int(value.get("started") or 0),
        int(value.get("finished") or 0),
        bool(value.get("oom_killed")),
    )
    if state.status == "running":
        row = live.get(container.id)
        if row is None:
            return _settled(container, state)
        if row.get("paused"):
            return state._replace(status="paused")
    return state if state.is_running else state._replace(pid=0)


def _settled(container: Container, state: State) -> State:
    """It ended between our two questions (then state.json says so now), or it died with its kernel."""
    try:
        with open(os.path.join(container.directory, "state.json"), "rb") as file:
            value = json.loads(file.read())
            if value.get("status") == "exited":
                killed = bool(value.get("oom_killed"))
                return State("exited", 0, value["exit_code"], value["started"], value["finished"], killed)
            finished = os.fstat(file.fileno()).st_mtime_ns
    except (FileNotFoundError, ValueError, KeyError):
        finished = state.started
    return State("exited", 0, LOST, state.started, finished)
