"""Every case prints the same in a container as on the host, where root's kernel runs it and where a user's does.

What is known to differ is in differences.py; such a case must differ, or the list is out of date.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import probe
import pytest
import world
from differences import DIFFERENCES, OF_USERS

for _name in world.case_files():
    importlib.import_module(f"cases.{_name[:-3]}")

CASES = sorted(probe.registry)


def compare(syscall_world: Any, name: str, way: str, known: dict[str, str]) -> None:
    if name not in syscall_world.names:
        pytest.skip(f"needs a C compiler for programs/{probe.registry[name].program}.c")
    found = syscall_world.outcomes(way)
    if found is None:
        pytest.skip("needs root, who becomes another user, and an interpreter that this user may run")
    expected = syscall_world.outcomes("host").get(name)
    if expected is None:
        pytest.skip("the case is newer than expected.json")
    driver = found.get("", {}).get("output", "")
    assert name in found, f"the driver ended early: {driver}"
    same = (found[name]["output"], found[name]["status"]) == (expected["output"], expected["status"])
    if name in known:
        assert not same, "this case does not differ any more: take it out of differences.py"
        pytest.xfail(known[name])
    assert found[name]["output"] == expected["output"]
    assert found[name]["status"] == expected["status"]


@pytest.mark.parametrize("name", CASES)
def test_as_on_the_host(syscall_world: Any, name: str) -> None:
    compare(syscall_world, name, "container", DIFFERENCES if os.geteuid() == 0 else DIFFERENCES | OF_USERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_without_the_fast_path(syscall_world: Any, name: str) -> None:
    compare(syscall_world, name, "slowly", DIFFERENCES if os.geteuid() == 0 else DIFFERENCES | OF_USERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_under_the_kernel_of_a_user(syscall_world: Any, name: str) -> None:
    compare(syscall_world, name, "user", DIFFERENCES | OF_USERS)


def test_differences_name_cases() -> None:
    assert set(DIFFERENCES) | set(OF_USERS) <= set(CASES)
