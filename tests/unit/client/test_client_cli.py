"""pull, push, login and logout as a user sees them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from client_world import World, make_image

from pycontain.cli import invoke
from pycontain.cli.layer_display import LayerDisplay
from pycontain.image.reference import Reference
from pycontain.store import Store
from registry.http.body import Body
from registry.http.request import Request
from registry.http.response import Response


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAIN_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def test_the_lines_of_push_and_pull(
    world: World,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"{world.address}/team/app"
    image = make_image(store, name, {"a": b"1"})
    layer = image.manifest.layers[0].digest[7:19]
    assert invoke(["push", name]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"The push refers to repository [{name}]",
        f"{layer}: Preparing",
        f"{layer}: Pushed",
        f"latest: digest: {image.descriptor.digest} size: {image.descriptor.size}",
    ]
    monkeypatch.setenv("PYCONTAIN_ROOT", str(tmp_path / "other"))
    first = ["Using default tag: latest", "latest: Pulling from team/app"]
    assert invoke(["pull", name]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *first,
        f"{layer}: Pulling fs layer",
        f"{layer}: Pull complete",
        f"Digest: {image.descriptor.digest}",
        f"Status: Downloaded newer image for {name}:latest",
        f"{name}:latest",
    ]
    assert invoke(["pull", name]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *first,
        f"Digest: {image.descriptor.digest}",
        f"Status: Image is up to date for {name}:latest",
        f"{name}:latest",
    ]
    assert invoke(["pull", "-q", f"{name}:latest"]) == 0
    assert capsys.readouterr().out == f"{name}:latest\n"


def test_all_tags(world: World, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{world.address}/app"
    for tag in ("1", "2"):
        make_image(store, f"{name}:{tag}", {"tag": tag.encode()})
    assert invoke(["push", "-aq", name]) == 0
    assert invoke(["pull", "-aq", name]) == 0
    assert capsys.readouterr().out == f"{name}:1\n{name}:2\n" * 2
    assert invoke(["push", "-a", f"{name}:1"]) == 125
    assert invoke(["push", "-a", f"{world.address}/none"]) == 125


def test_login_and_logout(
    world: World,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def guard(request: Request, body: Body) -> Response | None:
        if request.header("authorization") == "Basic YW5uOnNlY3JldA==":
            return None
        return Response(401, [("WWW-Authenticate", "Basic realm=x")])

    world.intercept = guard
    make_image(store, f"{world.address}/app:1", {"a": b"1"})
    assert invoke(["push", "-q", f"{world.address}/app:1"]) == 125
    assert f"pycontain login {world.address}" in capsys.readouterr().err

    monkeypatch.setattr(sys, "stdin", io.StringIO("wrong\n"))
    assert invoke(["login", "-u", "ann", "--password-stdin", world.address]) == 125
    assert "the user or the password is wrong" in capsys.readouterr().err
    assert not (tmp_path / "docker" / "config.json").exists()

    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    assert invoke(["login", "-u", "ann", "--password-stdin", world.address]) == 0
    assert capsys.readouterr().out == "Login Succeeded\n"
    assert list(json.loads((tmp_path / "docker" / "config.json").read_text())["auths"]) == [world.address]
    assert invoke(["push", "-q", f"{world.address}/app:1"]) == 0
    assert invoke(["logout", world.address]) == 0
    assert invoke(["logout", world.address]) == 0
    assert "Removing login credentials" in capsys.readouterr().out
    assert invoke(["push", "-q", f"{world.address}/app:1"]) == 125


@pytest.mark.parametrize(
    "arguments", [["login", "-p", "x", "--password-stdin", "h"], ["login", "--password-stdin", "h"]]
)
def test_logins_that_make_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(arguments) == 125
    assert "--password-stdin needs --username" in capsys.readouterr().err


class Terminal(io.StringIO):
    """A terminal of 80 by 6."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 99


def test_live_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((80, 6)))
    out = Terminal()
    digests = [f"sha256:{n:012x}{'0' * 52}" for n in range(9)]
    with LayerDisplay(out) as display:
        for digest in digests:
            display.layer(digest, "Pulling fs layer", 0, 100)
        display.layer(digests[0], "Downloading", 50, 100)
        shown = out.getvalue().rpartition("\r")[2]
        assert shown.count("\n") == 4  # as many as there is room for
        assert "000000000000: Downloading [===============>                ]  50B/100B" in shown
        display.layer(digests[0], "Pull complete", 100, 100)
        for digest in digests:
            display.layer(digest, "Pull complete", 100, 100)
    lines = [line for line in out.getvalue().replace("\x1b[K", "").splitlines() if "Pull complete" in line]
    assert {line.strip()[:12] for line in lines} >= {digest[7:19] for digest in digests}
    plain = re.sub(r"\x1b\[[0-9]*[AJK]|\r", "", out.getvalue())
    assert max(len(line) for line in plain.splitlines()) < 80


def test_ctrl_c_ends_a_pull_at_once(world: World, store: Store, tmp_path: Path) -> None:
    ref = Reference.parse(f"{world.address}/app:1")
    image = make_image(store, str(ref), {"big": os.urandom(500_000)})
    assert invoke(["push", "-q", str(ref)]) == 0
    layer = image.manifest.layers[0]
    begun = []

    def stall(request: Request, body: Body) -> Response | None:
        if layer.digest not in request.path:
            return None
        begun.append(1)
        return Response(200, [], b"x" * 100, length=layer.size)

    world.intercept = stall
    program = (
        "import signal; signal.signal(2, signal.default_int_handler); from pycontain.cli import main; main()"
    )
    root = tmp_path / "other"
    with subprocess.Popen(
        [sys.executable, "-c", program, "pull", "-q", str(ref)],
        env={**os.environ, "PYCONTAIN_ROOT": str(root)},
        stderr=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 20
        while not begun and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr and process.stderr.read().strip() == b""
    assert os.listdir(root / "tmp") == [] and Store.open(str(root)).tags.items() == []
