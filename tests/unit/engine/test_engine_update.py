"""Limits of containers that exist: of those that run at once, of all at their next start."""

from __future__ import annotations

import pytest
from host_kernel import HostKernel, MakeContainer

from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.start import start
from pycontain.engine.update import update
from pycontain.errors import ContainerError


def test_one_that_does_not_run(engine: Engine, host_kernel: HostKernel, make: MakeContainer) -> None:
    container = make("true", limits={"memory": 64 << 20, "pids": 5})
    update(engine, container, {"memory": 128 << 20, "cpuset": [0, 1]})
    again = find(engine, container.id)
    assert again.spec["limits"] == {"memory": 128 << 20, "pids": 5, "cpuset": [0, 1]}
    config = again.record["HostConfig"]
    assert (config["Memory"], config["PidsLimit"], config["CpusetCpus"]) == (128 << 20, 5, "0,1")
    assert host_kernel.updates == []


def test_one_that_runs(engine: Engine, host_kernel: HostKernel, make: MakeContainer) -> None:
    container = make("sleep", "100")
    start(engine, container, attach=False)
    update(engine, container, {"nano_cpus": 500_000_000})
    assert host_kernel.updates == [(container.id, {"nano_cpus": 500_000_000})]
    with pytest.raises(ContainerError, match="refused"):
        update(engine, container, {"pids": 13})
    assert find(engine, container.id).spec["limits"] == {"nano_cpus": 500_000_000}


def test_a_machine_is_refused(engine: Engine, make: MakeContainer) -> None:
    container = make("true", runtime="vm")
    with pytest.raises(ContainerError, match="a machine gets its memory"):
        update(engine, container, {"memory": 1 << 30})
