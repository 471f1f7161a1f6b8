"""Calls whose path, address or descriptor changes while they are in flight."""

from __future__ import annotations

import os
import secrets
import select
import socket
import threading

import pytest
from worlds import World

TRIES = 20_000
MANY = {"user": 1_000_000, "root": 1_000_000, "bare": 200_000}  # a million takes minutes
LONGEST = 2400  # seconds that a race may take
KINDS = ("sockets", "watched", "addresses", "paths", "reopened")


class Listeners:
    """Sockets of the host that everybody may connect and send to; heard: what came."""

    def __init__(self, world: World) -> None:
        self.abstract = f"pycontain-hostile-{secrets.token_hex(8)}"
        self.path = str(world.directory / "host.socket")
        self.heard: list[str] = []
        self._stop = threading.Event()
        self._sockets = []
        for address in (self.path, "\0" + self.abstract):
            stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            stream.bind(address)
            stream.listen(1000)
            self._sockets.append(stream)
        for address in (self.path + ".dgram", "\0" + self.abstract + ".dgram"):
            datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            datagram.bind(address)
            self._sockets.append(datagram)
        for name in (self.path, self.path + ".dgram"):
            os.chmod(name, 0o777)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            for ready in select.select(self._sockets, [], [], 0.05)[0]:
                if ready.type == socket.SOCK_STREAM:
                    ready.accept()[0].close()
                    self.heard.append("a connection")
                else:
                    self.heard.append(repr(ready.recv(100)))

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for one in self._sockets:
            one.close()
        os.unlink(self.path)
        os.unlink(self.path + ".dgram")


def race(world: World, kind: str, tries: int) -> None:
    program = world.compiled("race")
    with Listeners(world) as host:
        text = world.run(
            *(
                program,
                kind,
                str(tries),
                str(world.directory / "secret"),
                host.path,
                host.abstract,
                str(world.outside),
            ),
            timeout=LONGEST,
        )
        with open("/proc/net/unix") as file:
            names = file.read()
    print(text)
    assert kind in text
    # a race proves nothing if one side of it never wins: each must have gone through, and been refused, some times
    through = int(text.split(" went through")[0].split()[-1]) if "went through" in text else 0
    if kind in ("sockets", "watched"):
        assert "EISCONN" in text and "EAFNOSUPPORT" in text, "unix and internet sockets were not both met"
    elif kind in ("paths", "reopened"):
        assert 0 < through < tries, "only one side of the race was met"
    elif kind == "addresses":
        assert through > 0
    assert host.heard == []
    assert f"{host.abstract}-planted" not in names
    assert f"{world.outside}" not in names


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("kind", KINDS)
def test_what_changes_in_flight(world: World, kind: str) -> None:
    race(world, kind, TRIES)


@pytest.mark.usefixtures("compiler")
def test_exec_with_changing_descriptors(world: World) -> None:
    """A program may end by a signal; nothing else but the container's own programs may run, and the kernel lives."""
    race(world, "executions", 300)


@pytest.mark.usefixtures("compiler")
def test_exec_tells_nothing_of_the_host(world: World) -> None:
    """Another thread puts a path of the host where an exec names its stub: nothing tells whether it is there."""
    text = world.run(
        world.compiled("race"), "existence", "40", str(world.directory / "secret"), "", "", "", timeout=240
    )
    print(text)
    outcomes: dict[str, dict[str, set[str]]] = {"good": {}, "bad": {}}
    for line in text.splitlines():
        _, arguments, rest = line.split(", ")
        what, _, counts = rest.partition(":")
        outcomes[arguments.split()[0]][what] = set(counts.split()[::2])
    assert list(outcomes["good"].values()) == [{"ran", "killed"}] * 3, "the race was not met, or it tells something"
    assert list(outcomes["bad"].values()) == [{"EFAULT"}] * 3


@pytest.mark.hours
@pytest.mark.timeout(LONGEST + 60)
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("kind", KINDS)
def test_a_million_tries(world: World, kind: str) -> None:
    race(world, kind, MANY[world.name])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("compiler")
def test_many_execs_with_changing_descriptors(world: World) -> None:
    race(world, "executions", 5000)
