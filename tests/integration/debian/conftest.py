"""One Debian root for a session, imported into a store of root's and into one of nobody's."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from debian_root import NoDebian, obtain
from debian_user import NOBODY, DebianUser


@pytest.fixture(scope="session")
def debian_tar() -> Path:
    """The root file system as a tar file."""
    try:
        return obtain()
    except NoDebian as missing:
        pytest.skip(str(missing))


def _user(name: str, debian_tar: Path, root: Path) -> Iterator[DebianUser]:
    try:
        user = DebianUser(root, name)
    except LookupError as missing:
        pytest.skip(str(missing))
    with open(debian_tar, "rb") as tar:
        done = subprocess.run(
            [*user.program, "import", "-", user.IMAGE],
            env=user.environment,
            stdin=tar,
            capture_output=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    yield user
    subprocess.run(
        [*user.program, "kernel", "stop"], env=user.environment, capture_output=True, check=False, timeout=60
    )


@pytest.fixture(scope="session")
def debian(debian_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianUser]:
    """Debian as the user has it who runs the tests."""
    yield from _user("self", debian_tar, tmp_path_factory.mktemp("debian"))


@pytest.fixture(scope="session")
def debian_of_nobody(debian_tar: Path) -> Iterator[DebianUser]:
    """Debian as a user has it who may nothing."""
    if os.geteuid():
        pytest.skip("the tests are run by an ordinary user already")
    # not below pytest's directory: every pytest that starts closes it to others
    with tempfile.TemporaryDirectory(prefix="pycontain-nobody-") as root:
        os.chown(root, NOBODY, NOBODY)
        yield from _user("nobody", debian_tar, Path(root))


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """A directory whose files all users of the host may read."""
    with tempfile.TemporaryDirectory(prefix="pycontain-shared-") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.fixture(params=["self", "nobody"])
def either(request: pytest.FixtureRequest) -> DebianUser:
    """Both users, one after the other."""
    user: DebianUser = request.getfixturevalue("debian" if request.param == "self" else "debian_of_nobody")
    return user


@pytest.fixture
def started(either: DebianUser) -> Iterator[Callable[..., str]]:
    """A function: run a container in the background; it is removed after the test."""
    names: list[str] = []

    def start(*words: str) -> str:
        name = either("run", "-d", *words).stdout.strip()
        names.append(name)
        return name

    yield start
    if names:
        either("rm", "-f", *names)
