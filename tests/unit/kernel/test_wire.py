"""A client's socket: whole and partial frames, descriptors, a reader that is slow, one that goes, one that lies."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import msgpack
import pytest

from pycontain.kernel import protocol
from pycontain.kernel.wire import MOST_FDS, Wire


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    before = len(os.listdir("/proc/self/fd"))
    yield wire, theirs
    wire.close()
    theirs.close()
    assert len(os.listdir("/proc/self/fd")) <= before - 2  # no descriptor is left behind


def everything(wire: Wire, sock: socket.socket) -> tuple[list[object], list[int]]:
    """Read all that the wire has to send."""
    frames, values, descriptors = protocol.Frames(), [], []
    while True:
        assert wire.flush()
        try:
            data, fds = protocol.receive(sock, wait=False)
        except BlockingIOError:
            return values, descriptors
        descriptors += fds
        values += frames.feed(data)


def test_frames_in_pieces_and_together(ends: tuple[Wire, socket.socket]) -> None:
    wire, client = ends
    assert wire.read() == []  # nothing there
    values = [{"op": "one", "n": 1}, ["two", b"\0" * 300], None, "three"]
    data = b"".join(map(protocol.pack, values))
    found: list[object] = []
    for byte in data[:40]:
        client.sendall(bytes([byte]))
        found += wire.read() or []
    client.sendall(data[40:])
    found += wire.read() or []
    assert found == values
    client.close()
    assert wire.read() is None


def test_descriptors_come_with_their_frames(ends: tuple[Wire, socket.socket]) -> None:
    wire, client = ends
    pipes = [os.pipe() for _ in range(3)]
    protocol.send(client, "first", [pipes[0][0], pipes[1][0]])
    protocol.send(client, "second", [pipes[2][0]])
    found = (wire.read() or []) + (wire.read() or [])
    assert found == ["first", "second"]
    for number, (read, write) in enumerate(pipes):
        fd = wire.take_fd()
        assert fd is not None and os.fstat(fd).st_ino == os.fstat(read).st_ino, number
        for each in (fd, read, write):
            os.close(each)
    assert wire.take_fd() is None


def test_a_slow_reader_gets_everything_in_order(ends: tuple[Wire, socket.socket]) -> None:
    """Also the descriptors of a frame that had to wait, whose sender has closed them since."""
    wire, client = ends
    big = [bytes([number]) * 100_000 for number in range(20)]
    for value in big[:10]:
        assert wire.send(value)
    assert 500_000 < wire.waiting < 1_100_000
    read, write = os.pipe()
    os.write(write, b"kept")
    assert wire.send("with a descriptor", [read])
    os.close(read)
    for value in big[10:]:
        assert wire.send(value)
    values, fds = everything(wire, client)
    assert values == [*big[:10], "with a descriptor", *big[10:]]
    assert wire.waiting == 0
    (fd,) = fds
    assert os.read(fd, 10) == b"kept"
    os.close(fd)
    os.close(write)


def test_what_was_never_sent_is_let_go(ends: tuple[Wire, socket.socket]) -> None:
    """The fixture counts descriptors."""
    wire, client = ends
    read, write = os.pipe()
    assert wire.send(b"x" * 1_000_000) and wire.send("late", [read])
    protocol.send(client, "never taken", [write])
    assert wire.read() == ["never taken"]
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    "data",
    [
        (protocol.MAX_FRAME + 1).to_bytes(4, "little"),
        b"\xff\xff\xff\xff",
        b"\1\0\0\0\xc1",  # no msgpack at all
        b"\2\0\0\0\x01\x01",  # something behind the value
        b"\1\0\0\0\x92",  # an end in the middle
        b"\3\0\0\0\xa2\xff\xff",  # text that is none
        b"\3\0\0\0\x81\x90\x01",  # a map with a list as a key
        b"\x00\x02\0\0" + b"\x91" * 512,  # a list in a list in a list
        b"\0\0\0\0",
    ],
)
def test_no_frames(ends: tuple[Wire, socket.socket], data: bytes) -> None:
    wire, client = ends
    client.sendall(protocol.pack({"op": "good"}) + data)
    assert wire.read() is None


def test_more_descriptors_than_anybody_needs(ends: tuple[Wire, socket.socket]) -> None:
    wire, client = ends
    null = os.open(os.devnull, os.O_RDONLY)
    for _ in range(MOST_FDS // protocol.MAX_FDS):
        protocol.send(client, None, [null] * protocol.MAX_FDS)
        assert wire.read() == [None]
    protocol.send(client, None, [null])
    assert wire.read() is None
    os.close(null)


def test_a_reader_that_has_gone(ends: tuple[Wire, socket.socket]) -> None:
    wire, client = ends
    client.close()
    assert not wire.send(["output", 1, b"x"])
    wire.close()
    assert wire.closed and wire.waiting == 0


def test_frames_are_msgpack() -> None:
    assert protocol.pack({"a": b"b"}) == b"\x06\0\0\0" + msgpack.packb({"a": b"b"}, use_bin_type=True)


def test_why_a_client_has_to_go(ends: tuple[Wire, socket.socket]) -> None:
    wire, theirs = ends
    theirs.sendall(protocol.LENGTH.pack(1 << 31))
    assert wire.read() is None
    assert wire.fault == "it sent no frames: frame too large"
