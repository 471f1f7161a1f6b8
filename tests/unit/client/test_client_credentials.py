"""~/.docker/config.json."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from pycontain.client.credentials import Credential, DockerConfig
from pycontain.errors import RegistryError


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def config(tmp_path: Path, value: object) -> DockerConfig:
    (tmp_path / "config.json").write_text(json.dumps(value))
    return DockerConfig(environment={"DOCKER_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    "key",
    ["r.example:5000", "https://r.example:5000", "https://r.example:5000/v1/", "http://r.example:5000/"],
)
def test_keys_as_docker_has_written_them(tmp_path: Path, key: str) -> None:
    found = config(tmp_path, {"auths": {key: auth("ann", "a:b")}}).find("r.example:5000")
    assert found == Credential("ann", "a:b")


def test_docker_hub(tmp_path: Path) -> None:
    value = {"auths": {"https://index.docker.io/v1/": auth("ann", "x")}}
    assert config(tmp_path, value).find("docker.io") == Credential("ann", "x")


def test_the_most_specific_entry_wins(tmp_path: Path) -> None:
    value = {"auths": {"r.example": auth("all", "x"), "r.example/team": auth("team", "y")}}
    found = config(tmp_path, value)
    assert found.find("r.example", "team/app") == Credential("team", "y")
    assert found.find("r.example", "teams/app") == Credential("all", "x")
    assert found.find("other.example", "team") is None


def test_other_forms(tmp_path: Path) -> None:
    value = {"auths": {"a": {"username": "u", "password": "p"}, "b": {}, "c": {"identitytoken": "t"},
                       "d": {"auth": ""}, "e": None}}  # fmt: skip
    found = config(tmp_path, value)
    assert found.find("a") == Credential("u", "p")
    assert found.find("c") == Credential("", "", "t")
    assert [found.find(name) for name in "bde"] == [None, None, None]


def test_helpers_are_told(tmp_path: Path) -> None:
    found = config(tmp_path, {"credsStore": "desktop", "credHelpers": {"r.example": "ecr-login"}})
    assert found.helper("r.example") == "ecr-login" and found.helper("x") == "desktop"


@pytest.mark.parametrize("text", ["{", '{"auths": {"a": {"auth": "!"}}}'])
def test_a_broken_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RegistryError, match=r"config\.json"):
        DockerConfig(environment={"DOCKER_CONFIG": str(tmp_path)}).find("a")


@pytest.mark.parametrize("text", ["[]", '{"auths": []}', '{"auths": {"a": []}}', '{"credHelpers": 1}'])
def test_an_odd_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    found = DockerConfig(environment={"DOCKER_CONFIG": str(tmp_path)})
    assert found.find("a") is None and found.helper("a") is None


def test_store_and_erase_keep_the_rest(tmp_path: Path) -> None:
    value = {
        "auths": {"https://r.example/v1/": auth("old", "x"), "o": auth("o", "o")},
        "detachKeys": "ctrl-q",
    }
    found = config(tmp_path, value)
    found.store("r.example", Credential("ann", "pässword"))
    again = DockerConfig(environment={"DOCKER_CONFIG": str(tmp_path)})
    assert again.find("r.example") == Credential("ann", "pässword") and again.find("o")
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["detachKeys"] == "ctrl-q" and list(written["auths"]) == ["o", "r.example"]
    assert os.stat(tmp_path / "config.json").st_mode & 0o777 == 0o600
    assert again.erase("r.example") and not again.erase("r.example")
    assert again.find("r.example") is None


def test_a_new_file(tmp_path: Path) -> None:
    fresh = DockerConfig(environment={"DOCKER_CONFIG": str(tmp_path / "new")})
    fresh.store("docker.io", Credential("ann", "x"))
    assert (
        "https://index.docker.io/v1/" in json.loads((tmp_path / "new" / "config.json").read_text())["auths"]
    )
