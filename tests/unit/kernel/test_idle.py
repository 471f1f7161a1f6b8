"""The kernel ends when nobody needs it: not under the hands of who comes at that moment, and not after a long sleep."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_world import KernelWorld

from pycontain.kernel import protocol
from pycontain.kernel import server as server_module
from pycontain.kernel.server import Server

IDLE = 0.05


@pytest.fixture
def server(world: KernelWorld, tmp_path: Path) -> Iterator[Server]:
    made = Server(world.kernel, str(tmp_path / "kernel.sock"), IDLE)
    yield made
    for connection in list(made._connections):
        connection.close()
    made.close()


def client(tmp_path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(str(tmp_path / "kernel.sock"))
    except BaseException:
        made.close()
        raise
    return made


def answered(sock: socket.socket) -> bool:
    protocol.send(sock, {"op": "containers"})
    try:
        data, _ = protocol.receive(sock, wait=False)
    except BlockingIOError:
        return False
    return protocol.Frames().feed(data) == [{"ok": []}]


def test_it_ends(server: Server, world: KernelWorld) -> None:
    start = time.monotonic()
    world.kernel.loop.run()
    assert IDLE / 2 <= time.monotonic() - start < 10


def test_who_comes_at_that_moment_is_served(server: Server, world: KernelWorld, tmp_path: Path) -> None:
    """Two are in the queue when the kernel decides to end, and it hears of them only then."""
    time.sleep(2 * IDLE)
    with client(tmp_path) as first, client(tmp_path) as second:
        server._look_idle()
        with client(tmp_path) as third:  # and so is who comes later
            clients = (first, second, third)
            assert not any(answered(sock) for sock in clients)
            world.kernel.loop.later(0.1, world.kernel.loop.stop)
            world.kernel.loop.run()
            assert all(answered(sock) for sock in clients)


def test_who_comes_too_late_finds_none(server: Server, world: KernelWorld, tmp_path: Path) -> None:
    world.kernel.loop.run()
    with pytest.raises(ConnectionRefusedError):
        client(tmp_path)


def test_a_machine_that_has_slept(world: KernelWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock says that nobody has come for an hour, but for most of it the kernel did not run either."""
    monkeypatch.setattr(server_module, "LOOK_IDLE", 0.01)
    made = Server(world.kernel, str(tmp_path / "kernel.sock"), IDLE)
    try:
        clock = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 3600)
        made._look_idle()
        client(tmp_path).close()
    finally:
        made.close()
