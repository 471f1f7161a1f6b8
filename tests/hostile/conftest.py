"""What the attacks share: worlds, one with a kernel run by root, one by an ordinary user."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import World, python_for_user


@pytest.fixture(scope="session", params=["root", "user", "bare"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A store with a kernel, and things on the host to look for."""
    if shutil.which("prlimit") is None:
        pytest.skip("no prlimit, which keeps attacks from taking the machine along")
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("we are not root")
    if request.param != "root" and os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("no setpriv")
        if python_for_user() is None:
            pytest.skip("no Python that an ordinary user may run")
    # not pytest's directory, which other users cannot enter
    directory = Path(tempfile.mkdtemp(prefix="pycontain-hostile-", dir="/tmp"))
    directory.chmod(0o755)
    made = World(request.param, directory)
    yield made
    made.close()


@pytest.fixture
def compiler() -> None:
    """For tests that need one."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler")
