"""Options and an image's config become a container."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from host_kernel import MakeContainer

from pycontain.engine import spec as specs
from pycontain.engine.card import Card
from pycontain.engine.engine import Engine
from pycontain.engine.options import ContainerOptions
from pycontain.errors import Conflict, ContainerError


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "option", "command", "args"),
    [
        (None, ["c"], None, [], ["c"]),
        (["e"], ["c"], None, [], ["e", "c"]),
        (["e"], ["c"], None, ["x", "y"], ["e", "x", "y"]),
        (["e", "f"], ["c"], "o", [], ["o"]),
        (["e"], ["c"], "o", ["x"], ["o", "x"]),
        (["e"], ["c"], "", ["x"], ["x"]),
    ],
)
def test_arguments_follow_docker_s_rules(
    engine: Engine,
    card: Card,
    entrypoint: list[str] | None,
    cmd: list[str],
    option: str | None,
    command: list[str],
    args: list[str],
) -> None:
    card.config = {"Entrypoint": entrypoint, "Cmd": cmd}
    options = ContainerOptions("empty", command)
    options.entrypoint = option
    assert specs.create(engine, card, options).spec["args"] == args


def test_no_command_is_an_error_and_leaves_nothing(engine: Engine, card: Card) -> None:
    card.config = {}
    with pytest.raises(ContainerError, match="names no command"):
        specs.create(engine, card, ContainerOptions("empty"))
    assert not os.path.exists(os.path.join(engine.root, "containers"))


def test_image_for_another_machine(engine: Engine, card: Card) -> None:
    card.architecture = "s390x"
    with pytest.raises(ContainerError, match="the image is for s390x"):
        specs.create(engine, card, ContainerOptions("empty"))


def test_record_is_docker_s(make: MakeContainer) -> None:
    container = make("echo", "hi", labels=["a=b"], user="me", working_dir="/w", env=["X=1"])
    record = json.loads(Path(container.directory, "config.json").read_text())
    assert record["Id"] == container.id
    assert (record["Path"], record["Args"]) == ("echo", ["hi"])
    assert record["Config"]["Labels"] == {"origin": "image", "a": "b"}
    assert record["Config"]["Cmd"] == ["echo", "hi"]
    assert record["Spec"]["user"] == "me"
    assert record["Spec"]["cwd"] == "/w"
    env = dict(item.split("=", 1) for item in record["Spec"]["env"])
    assert env == {"PATH": "/usr/bin:/bin", "HOSTNAME": container.id[:12], "FROM": "image", "X": "1"}


def test_kernel_gets_bytes_even_for_odd_names(make: MakeContainer) -> None:
    odd = os.fsdecode(b"caf\xe9")
    spec = specs.kernel_spec(make("echo", odd, env=[f"N={odd}"]))
    assert spec["args"] == [b"echo", b"caf\xe9"]
    assert b"N=caf\xe9" in spec["env"]
    assert (spec["cwd"], spec["journal"], spec["log"]) == (b"/", True, True)


def test_files_of_etc_are_mounted_unless_the_user_mounts_them(make: MakeContainer, tmp_path: Path) -> None:
    targets = [mount["target"] for mount in make("true").spec["mounts"]]
    assert targets == ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]
    mounts = make("true", volumes=[f"{tmp_path}:/etc/hosts"]).spec["mounts"]
    assert [mount["source"] for mount in mounts if mount["target"] == "/etc/hosts"] == [str(tmp_path)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"working_dir": "relative"}, "not an absolute path"),
        ({"volumes": ["/a:/b:strange"]}, "'strange'"),
        ({"volumes": ["name:/b"]}, "named volumes are not there yet"),
        ({"volumes": ["/b"]}, "anonymous volumes are not there yet"),
        ({"volumes": ["/:/"]}, "cannot be /"),
        ({"volumes": ["/:/x", "/:/x/"]}, "/x is mounted twice"),
        ({"mounts": ["type=volume,target=/x"]}, "volume is not there yet"),
        ({"mounts": ["type=bind,source=/nosuch-source,target=/x"]}, "there is no /nosuch-source"),
        ({"mounts": ["type=bind,source=/,target=/x,bind-propagation=shared"]}, "bind-propagation"),
        ({"tmpfs": ["relative"]}, "not an absolute path"),
        ({"tmpfs": ["/t:size=lots"]}, "not a size"),
        ({"labels": ["=x"]}, "no name"),
        ({"env": ["=x"]}, "no name"),
        ({"add_hosts": ["box"]}, "not HOST:IP"),
        ({"dns": ["box"]}, "not an address"),
        ({"env_files": ["/nosuch-file"]}, "/nosuch-file"),
        ({"name": "bad name"}, "not a name"),
    ],
)
def test_bad_options_are_errors_and_leave_nothing(
    make: MakeContainer, engine: Engine, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ContainerError, match=message):
        make("true", **options)
    assert os.listdir(os.path.join(engine.root, "containers")) == []
    assert os.listdir(os.path.join(engine.root, "tmp")) == []


def test_name_is_taken_once(make: MakeContainer, engine: Engine) -> None:
    first = make("true", name="only")
    with pytest.raises(Conflict, match=first.id[:12]):
        make("true", name="only")
    assert os.listdir(os.path.join(engine.root, "containers")) == [first.id]


def test_cidfile(make: MakeContainer, tmp_path: Path) -> None:
    container = make("true", cidfile=str(tmp_path / "cid"))
    assert (tmp_path / "cid").read_text() == container.id
    with pytest.raises(ContainerError, match="it is there already"):
        make("true", cidfile=str(tmp_path / "cid"))


def test_missing_source_of_a_volume_is_made(make: MakeContainer, tmp_path: Path) -> None:
    make("true", volumes=[f"{tmp_path}/new/dir:/x"])
    assert (tmp_path / "new/dir").is_dir()
