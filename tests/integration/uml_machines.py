"""What the tests of User-Mode Linux share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from machines import BUSYBOX, Pycontain

from pycontain.errors import PycontainError
from pycontain.vm.uml import program


def missing() -> str | None:
    """Why it cannot be tested here."""
    try:
        program.find().load_modules()
    except PycontainError as error:
        return str(error)
    return None if os.path.exists(BUSYBOX) else "busybox-static is not installed"


def skip_without_uml() -> None:
    """For a module's fixtures."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)


class UmlPycontain(Pycontain):
    """The command line, with a store of its own."""

    def uml(self, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
        return self("run", "--runtime", "uml", *words, **more)  # type: ignore[arg-type]

    def machines(self) -> list[int]:
        """All processes of this store's User-Mode Linuxes, those that watch over them, too: each has the machine's
        directory open."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    place = os.readlink(f"/proc/{name}/fd/{program.DIRECTORY_FD}")
                except OSError:
                    continue
                if place.startswith(self.env["PYCONTAIN_RUNTIME_DIR"]):
                    found.append(int(name))
        return sorted(found)

    def tree(self) -> dict[str, int]:
        """The processes of this store's only machine by what they are: reaper, guard, kernel (vm/uml/warden.py). By
        who is whose child: process ids tell nothing of age once they have started again from the beginning."""
        found = self.machines()
        parents = {
            pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in found
        }
        (reaper,) = (pid for pid, parent in parents.items() if parent not in parents)
        (guard,) = (pid for pid, parent in parents.items() if parent == reaper)
        (kernel,) = (pid for pid, parent in parents.items() if parent == guard)
        return {"reaper": reaper, "guard": guard, "kernel": kernel}
