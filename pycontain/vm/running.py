"""A container that runs in a machine."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from pycontain.kernel.streams import Log
from pycontain.vm.machine import Machine
from pycontain.vm.session import Session
from pycontain.vm.syncing import Changes

if TYPE_CHECKING:
    from pycontain.vm.connection import Connection


class Running:
    """changes: None where they are thrown away (--rm); waiters: clients that are told of the container's end."""

    def __init__(
        self, machine: Machine, spec: dict[str, Any], changes: Changes | None, log: Log | None
    ) -> None:
        self.machine = machine
        self.spec = spec
        self.changes = changes
        self.log = log
        self.waiters: list[Connection] = []
        self.last_usage: dict[str, int] = {}
        """What the guest told of itself when it was asked last (usage.py)."""

    @property
    def init(self) -> Session:
        assert self.machine.init is not None
        return self.machine.init

    def write_state(self) -> None:
        """What `ps` and `inspect` read of a container whose machine may have gone."""
        session = self.init
        ended = session.exit_code is not None
        state = {
            "status": "exited" if ended else "running",
            "pid": 0 if ended else self.machine.process.pid,
            "exit_code": session.exit_code if ended else 0,
            "started": session.started,
            "finished": time.time_ns() if ended else 0,
        }
        path = os.path.join(self.spec["directory"], "state.json")
        try:
            with open(path + "~", "w", encoding="ascii") as file:
                json.dump(state, file)
            os.rename(path + "~", path)
        except FileNotFoundError:
            pass  # removed with force
