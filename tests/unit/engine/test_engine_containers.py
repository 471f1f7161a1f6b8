"""Containers by name and ID; their states; removal."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from host_kernel import HostKernel, MakeContainer

from pycontain.engine import containers, names
from pycontain.engine.engine import Engine
from pycontain.engine.prune import prune_containers, remove_container
from pycontain.engine.start import start
from pycontain.engine.state import LOST, live_containers, state_of
from pycontain.engine.stop import kill, signal_number, stop, wait
from pycontain.errors import Conflict, ContainerError, NotFound, ProgramNotFound


def test_found_by_name_id_and_prefix(make: MakeContainer, engine: Engine) -> None:
    made = make("true", name="box")
    for name in ("box", "/box", made.id, made.id[:12], made.id[:5]):
        assert containers.find(engine, name).id == made.id
    for name in ("", "bo", "nosuch", "../box", "0" * 64):
        with pytest.raises(NotFound):
            containers.find(engine, name)


def test_prefix_of_two_is_a_conflict(make: MakeContainer, engine: Engine) -> None:
    made = [make("true") for _ in range(17)]  # two of them begin with the same digit
    digits = [c.id[0] for c in made]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(Conflict, match="begin so"):
        containers.find(engine, twice)


def test_names_are_made_up_and_freed(make: MakeContainer, engine: Engine) -> None:
    made = make("true")
    assert names.lookup(engine.root, made.name) == made.id
    containers.discard(engine, made)
    assert names.lookup(engine.root, made.name) is None
    assert not os.path.exists(made.directory)
    make("true", name=made.name)


def test_name_of_a_container_that_the_kernel_removed_is_free(make: MakeContainer, engine: Engine) -> None:
    made = make("true", name="box")
    shutil.rmtree(made.directory)
    assert make("true", name="box").id != made.id


def test_rename(make: MakeContainer, engine: Engine) -> None:
    made, other = make("true", name="old"), make("true", name="other")
    containers.rename(engine, made, "new")
    assert containers.find(engine, "new").name == "new"
    with pytest.raises(NotFound):
        containers.find(engine, "old")
    with pytest.raises(Conflict):
        containers.rename(engine, other, "new")


def test_list_is_newest_first(make: MakeContainer, engine: Engine) -> None:
    made = [make("true").id for _ in range(3)]
    assert [c.id for c in containers.all_containers(engine)] == made[::-1]


def test_states(make: MakeContainer, engine: Engine, host_kernel: HostKernel) -> None:
    made = make("sleep", "100")
    assert state_of(made, live_containers(engine)).status == "created"
    start(engine, made, attach=False)
    state = state_of(made, live_containers(engine))
    assert (state.status, state.is_running) == ("running", True)
    host_kernel.paused.add(made.id)
    assert state_of(made, live_containers(engine)).status == "paused"
    kill(engine, made, 9)
    assert wait(engine, made) == 137
    state = state_of(made, live_containers(engine))
    assert (state.status, state.exit_code, state.pid) == ("exited", 137, 0)
    assert state.started <= state.finished


def test_container_that_died_with_its_kernel(make: MakeContainer, engine: Engine) -> None:
    made = make("true")
    Path(made.directory, "state.json").write_text(
        '{"status": "running", "pid": 1, "exit_code": 0, "started": 5, "finished": 0}'
    )
    state = state_of(made, {})
    assert (state.status, state.exit_code, state.started) == ("exited", LOST, 5)


def test_stop_is_polite_first(make: MakeContainer, engine: Engine) -> None:
    made = make("bash", "-c", "trap 'exit 4' TERM; echo up; while :; do sleep 0.02; done")
    start(engine, made, attach=False)
    while not os.path.exists(os.path.join(made.directory, "log")):
        assert state_of(made, live_containers(engine)).is_running
    stop(engine, made)
    assert wait(engine, made) == 4
    stop(engine, made)  # nothing happens


def test_stop_kills_in_the_end(make: MakeContainer, engine: Engine) -> None:
    made = make("sh", "-c", "trap '' TERM; echo up; while :; do sleep 60; done", stop_timeout=0)
    start(engine, made, attach=False)
    while not os.path.exists(os.path.join(made.directory, "log")):
        assert state_of(made, live_containers(engine)).is_running
    stop(engine, made)
    assert wait(engine, made) == 137


def test_running_container_is_removed_only_by_force(make: MakeContainer, engine: Engine) -> None:
    made = make("sleep", "100")
    start(engine, made, attach=False)
    with pytest.raises(Conflict, match="it is running"):
        remove_container(engine, made)
    assert prune_containers(engine) == ([], 0)
    remove_container(engine, made, force=True)
    assert containers.all_containers(engine) == []


def test_start_that_fails(make: MakeContainer, engine: Engine) -> None:
    made = make("/nosuch-program")
    with pytest.raises(ProgramNotFound):
        start(engine, made, attach=False)
    assert containers.find(engine, made.id).id == made.id
    with pytest.raises(ProgramNotFound):
        start(engine, made, attach=False, remove_on_failure=True)
    assert not os.path.exists(made.directory)


def test_kill_of_what_does_not_run(make: MakeContainer, engine: Engine) -> None:
    with pytest.raises(ContainerError, match="not running"):
        kill(engine, make("true"), 9)


@pytest.mark.parametrize(
    ("text", "number"),
    [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigint", 2), ("RTMIN+3", 37), ("RTMAX-1", 63)],
)
def test_signal_numbers(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "NOSUCH", "-9", "RTMIN+x"])
def test_no_such_signal(text: str) -> None:
    with pytest.raises(ContainerError):
        signal_number(text)
