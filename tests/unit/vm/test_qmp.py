"""The QMP client against a peer on a socket pair."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from pycontain.errors import MachineError
from pycontain.vm.qmp import Qmp

GREETING = b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}, "capabilities": []}}\n'


@pytest.fixture
def peer() -> Iterator[Callable[[list[bytes]], socket.socket]]:
    """Answers each command with the next of the given answers, after the greeting and qmp_capabilities."""
    threads: list[threading.Thread] = []
    socks: list[socket.socket] = []

    def start(answers: list[bytes]) -> socket.socket:
        ours, theirs = socket.socketpair()
        socks.extend((ours, theirs))

        def talk() -> None:
            theirs.sendall(GREETING)
            with theirs, theirs.makefile("rb") as lines:
                for answer, line in zip([b'{"return": {}}\n', *answers], lines, strict=False):
                    json.loads(line)
                    theirs.sendall(answer)

        threads.append(threading.Thread(target=talk))
        threads[-1].start()
        return ours

    yield start
    for sock in socks:
        sock.close()
    for thread in threads:
        thread.join()


def test_commands_events_and_version(peer: Callable[[list[bytes]], socket.socket]) -> None:
    qmp = Qmp(peer([b'{"event": "STOP"}\n{"return": {"status": "running"}}\n']), timeout=5)
    assert qmp.version == "7.2.22"
    assert qmp.execute("query-status") == {"status": "running"}
    assert [event["event"] for event in qmp.events] == ["STOP"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"error": {"class": "GenericError", "desc": "it is not so"}}\n', "it is not so"),
        (b"no json at all\n", "no JSON"),
        (b"[1]\n", "no object"),
        (b"", "no answer in time|has gone"),
    ],
)
def test_failures_are_one_sentence(
    peer: Callable[[list[bytes]], socket.socket], answer: bytes, words: str
) -> None:
    qmp = Qmp(peer([answer]), timeout=5)
    with pytest.raises(MachineError, match=words):
        qmp.execute("stop", 0.3)


def test_a_failed_migration_tells_why(peer: Callable[[list[bytes]], socket.socket]) -> None:
    qmp = Qmp(
        peer(
            [
                b'{"return": {"status": "active"}}\n',
                b'{"return": {"status": "failed", "error-desc": "disk full"}}\n',
            ]
        ),
        timeout=5,
    )
    with pytest.raises(MachineError, match="disk full"):
        qmp.wait_migrated(5)
