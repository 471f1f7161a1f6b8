from __future__ import annotations

import json
from typing import Any

import pytest

from pycontain.errors import ImageError
from pycontain.image import Healthcheck, History, ImageConfig, RunConfig

DIFF = "sha256:" + "b" * 64


def _bytes(**more: Any) -> bytes:
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}, **more}).encode()


def test_a_config_with_everything_survives() -> None:
    config = ImageConfig(
        "arm",
        "linux",
        "v7",
        "2024-01-02T03:04:05Z",
        "me <me@example.invalid>",
        RunConfig(
            "1000:1000",
            ("80/tcp", "53/udp"),
            ("PATH=/bin", "A=b=c"),
            ("/entry",),
            ("arg", "\u00fc"),
            ("/data",),
            "/work",
            {"a": "b"},
            "SIGINT",
            ("/bin/bash", "-c"),
            Healthcheck(("CMD-SHELL", "true"), 10**9, 2 * 10**9, 3, 4, 5),
            ("RUN true",),
            {"ArgsEscaped": True, "StopTimeout": 7},
        ),
        (DIFF,),
        (
            History("2024-01-02T03:04:05Z", "COPY . .", "me", "note"),
            History(created_by="CMD", empty_layer=True),
        ),
        {"os.version": "1", "moby.buildkit.buildinfo.v1": "x"},
    )
    data = config.to_bytes()
    assert ImageConfig.from_bytes(data) == config
    assert ImageConfig.from_bytes(data).to_bytes() == data


def test_absent_and_cleared_differ() -> None:
    config = ImageConfig.from_bytes(
        _bytes(config={"Cmd": [], "Entrypoint": None, "Env": None, "Labels": None})
    )
    assert config.config.cmd == ()
    assert config.config.entrypoint is None
    assert json.loads(config.to_bytes())["config"] == {"Cmd": []}


def test_what_docker_s_builder_left_behind_goes() -> None:
    config = ImageConfig.from_bytes(
        _bytes(container_config={"Cmd": ["x"]}, container="abc", docker_version="1", z=1)
    )
    assert json.loads(config.to_bytes())["z"] == 1
    assert b"container" not in config.to_bytes()


def test_steps() -> None:
    base = ImageConfig("amd64")
    config = base.with_layer(DIFF, History(created_by="RUN")).with_step(History(created_by="ENV"))
    assert config.diff_ids == (DIFF,)
    assert [step.empty_layer for step in config.history] == [False, True]
    assert base.diff_ids == ()
    assert str(config.platform) == "linux/amd64"


def test_environment() -> None:
    run = RunConfig(env=("A=1", "B", "A=2=3"))
    assert run.environment() == {"A": "2=3"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "no rootfs"),
        (_bytes(rootfs={"type": "other"}), "rootfs.type"),
        (_bytes(rootfs={"diff_ids": ["x"]}), "parse digest"),
        (_bytes(rootfs={"diff_ids": "x"}), "not an array"),
        (_bytes(rootfs=[]), "not an object"),
        (_bytes(config=[]), "config is not an object"),
        (_bytes(config={"Env": "A=b"}), "Env is not an array"),
        (_bytes(config={"Env": [1]}), "Env holds something"),
        (_bytes(config={"Env": ["A=\0"]}), "Env holds something"),
        (_bytes(config={"Cmd": {"a": "b"}}), "Cmd is not an array"),
        (_bytes(config={"WorkingDir": "a\0b"}), "NUL"),
        (_bytes(config={"Labels": {"a": None}}), "not a string"),
        (_bytes(config={"User": 0}), "User is not a string"),
        (_bytes(config={"ExposedPorts": ["80"]}), "not an object"),
        (_bytes(config={"Healthcheck": {"Retries": "3"}}), "not a whole number"),
        (_bytes(config={"Healthcheck": []}), "not an object"),
        (_bytes(history={}), "history is not an array"),
        (_bytes(history=[1]), "not an object"),
        (_bytes(history=[{"created_by": 1}]), "not a string"),
        (_bytes(os=1), "os is not a string"),
        (b"[]", "not a JSON object"),
        (b"{" * 100, "not valid JSON"),
    ],
)
def test_what_is_no_config_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        ImageConfig.from_bytes(data)
