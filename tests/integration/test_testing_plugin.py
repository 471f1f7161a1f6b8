"""pycontain.testing, used as another project would."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Callable

from pycontain.store import Image
from pycontain.testing import RunningContainer, ThrowAwayStore
from registry import Server

Build = Callable[..., Image]
Start = Callable[..., RunningContainer]


def test_build_and_run(pycontain_image: Build, pycontain_container: Start) -> None:
    image = pycontain_image(
        'FROM host/base\nCOPY data /data\nRUN cat /data/a > /b\nCMD ["sleep", "60"]', {"data/a": "from a\n"}
    )
    container = pycontain_container(image)
    assert container.exec("cat", "/b") == (0, "from a\n", "")
    assert container.exec("sh", "-c", "echo $X >&2; exit 5", env={"X": "y"}) == (5, "", "y\n")


def test_logs_and_stop(pycontain_store: ThrowAwayStore, pycontain_container: Start) -> None:
    pycontain_store.image("host/base")
    container = pycontain_container(
        "host/base", "sh", "-c", "trap 'echo bye; exit 9' TERM; echo up; sleep 60 & wait"
    )
    while "up" not in container.logs():
        assert container.exec("true").code == 0
    assert container.stop() == 9
    assert container.logs() == "up\nbye\n"


def test_registry_answers(pycontain_registry: Server) -> None:
    with urllib.request.urlopen(f"{pycontain_registry.url}/v2/") as answer:
        assert answer.status == 200


def test_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys; import pycontain.testing; print([m for m in sys.modules if m.startswith('pycontain.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pycontain.testing']"
