"""Environment, mounts, sizes, times: texts that become values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pycontain.engine import card as cards
from pycontain.engine import clock, jsontext
from pycontain.engine.environment import environment, read_env_file
from pycontain.engine.mounts import parse_mount, parse_size, parse_tmpfs, parse_volume
from pycontain.errors import ContainerError


def test_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "o")
    monkeypatch.delenv("NOT_OURS", raising=False)
    file = tmp_path / "env"
    file.write_bytes(b'\xef\xbb\xbfA=1\r\n  B= two \n#C=3\n\nOURS\nNOT_OURS\nQ="x"\nE=\n')
    assert read_env_file(str(file)) == ["A=1", "B= two ", "OURS=o", 'Q="x"', "E="]


@pytest.mark.parametrize("line", ["=x", "A B=x", "A =x"])
def test_env_file_with_a_bad_name(tmp_path: Path, line: str) -> None:
    file = tmp_path / "env"
    file.write_text(f"OK=1\n{line}\n")
    with pytest.raises(ContainerError, match=":2:"):
        read_env_file(str(file))


def test_environment_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNSET", raising=False)
    found = environment(["PATH=/p", "A=image"], [], ["A=option", "UNSET"], hostname="h", terminal=True)
    assert found == ["PATH=/p", "HOSTNAME=h", "TERM=xterm", "A=option"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("64m", 64 << 20),
        ("1G", 1 << 30),
        ("10kb", 10240),
        ("1.5KiB", 1536),
        ("7b", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_mounts(tmp_path: Path) -> None:
    source = str(tmp_path)
    bind = {"type": "bind", "source": source, "target": "/x", "read_only": True}
    assert parse_volume(f"{source}:/x/:ro,z") == bind
    assert parse_mount(f"type=bind,source={source},dst=/x,readonly") == bind
    assert parse_mount(f'type=bind,"source={source}",target=/x,ro=true') == bind
    tmpfs = {"type": "tmpfs", "target": "/t", "read_only": False, "size": 1 << 20, "mode": 0o700}
    assert parse_tmpfs("/t:size=1m,mode=700,noexec") == tmpfs
    assert parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700") == tmpfs


def test_rfc3339() -> None:
    assert clock.rfc3339(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456789Z"


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1700000000", 1_700_000_000 * 10**9),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000 * 10**9),
        ("10m", 10**18 - 600 * 10**9),
        ("1h30m5s", 10**18 - 5405 * 10**9),
        ("1.5s", 10**18 - 1_500_000_000),
        ("20ms", 10**18 - 20_000_000),
    ],
)
def test_moments(text: str, ns: int) -> None:
    assert clock.parse_time(text, 10**18) == ns


@pytest.mark.parametrize("text", ["", "soon", "10x", "2023-99-99"])
def test_no_moments(text: str) -> None:
    with pytest.raises(ValueError):
        clock.parse_time(text, 0)


def test_json_writer_agrees_with_json() -> None:
    value = {"a": [1, True, None, 'é\n"\udce9'], "b": {}, "c": ("x",)}
    assert json.loads(jsontext.dumps(value)) == {**value, "c": ["x"]}
    with pytest.raises(TypeError):
        jsontext.dumps({"a": 1.5})


def test_card_is_good_until_the_index_changes(tmp_path: Path) -> None:
    root = str(tmp_path)
    index = tmp_path / "index.json"
    index.write_text("{}")
    card = cards.Card("id", "manifest", "name", "amd64", ["layer"], {"Env": ["A=b"]})
    assert cards.read(root, "docker.io/x/y:z") is None
    cards.write(root, "docker.io/x/y:z", card)
    found = cards.read(root, "docker.io/x/y:z")
    assert found is not None and found.config == {"Env": ["A=b"]}
    index.write_text("{ }")
    assert cards.read(root, "docker.io/x/y:z") is None


def test_damaged_card_is_no_card(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{}")
    cards.write(str(tmp_path), "x", cards.Card("i", "m", "n", "a", [], {}))
    (file,) = (tmp_path / "cards").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    assert cards.read(str(tmp_path), "x") is None
    assert cards.read(str(tmp_path), "y" * 500) is None
