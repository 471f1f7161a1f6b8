"""`--user` and USER: names and numbers, resolved in the image's own passwd and group."""

from __future__ import annotations

import pytest

from pycontain.errors import ContainerError
from pycontain.kernel.accounts import Account, resolve

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
alice:x:1000:100:Alice:/home/alice:/bin/bash
1234:x:42:42:a name of digits:/digits:/bin/sh
broken:x:not a number:0::/:
short:x:1
"""
GROUP = b"""root:x:0:
users:x:100:
staff:x:50:alice,bob
wheel:x:10:bob
audio:x:29:alice
777:x:43:
broken:x:none:alice
"""


def read(path: bytes) -> bytes:
    return {b"/etc/passwd": PASSWD, b"/etc/group": GROUP}.get(path, b"")


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Account(0, 0, frozenset({0}), b"/root")),
        ("root", Account(0, 0, frozenset({0}), b"/root")),
        ("alice", Account(1000, 100, frozenset({100, 50, 29}), b"/home/alice")),
        ("1000", Account(1000, 100, frozenset({100, 50, 29}), b"/home/alice")),
        ("alice:staff", Account(1000, 50, frozenset({50}), b"/home/alice")),
        ("alice:12", Account(1000, 12, frozenset({12}), b"/home/alice")),
        ("5555", Account(5555, 0, frozenset({0}), b"/")),
        ("5555:wheel", Account(5555, 10, frozenset({10}), b"/")),
        ("1234", Account(42, 42, frozenset({42}), b"/digits")),
        ("0:777", Account(0, 43, frozenset({43}), b"/root")),
    ],
)
def test_accounts(user: str, expected: Account) -> None:
    assert resolve(user, [], read) == expected


@pytest.mark.parametrize(
    "user", ["nobody", "broken", "short", "alice:none", "alice:broken", "4294967295", "-1", "1000 "]
)
def test_unknown_ones_are_refused(user: str) -> None:
    with pytest.raises(ContainerError):
        resolve(user, [], read)


def test_more_groups() -> None:
    assert resolve("alice", ["wheel", "99"], read).groups == {100, 50, 29, 10, 99}
    with pytest.raises(ContainerError):
        resolve("alice", ["none"], read)


def test_an_image_without_accounts() -> None:
    def nothing(path: bytes) -> bytes:
        return b""

    assert resolve("", [], nothing) == Account(0, 0, frozenset({0}), b"/root")
    assert resolve("7:8", [], nothing) == Account(7, 8, frozenset({8}), b"/")
    with pytest.raises(ContainerError):
        resolve("root", [], nothing)
