"""The virtio-console in this process, spoken to as a guest's driver would, rings and all."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pycontain.errors import MachineError
from pycontain.vm.uml import vhost_user as vu
from pycontain.vm.uml.console import MULTIPORT, Console

SIZE = 16
START, ROOM = 0x100000, 1 << 20
"""The guest's memory: where it begins for the guest, and its bytes; in the file it begins at OFFSET."""
OFFSET = 8192
QUEUES = 6


class Ring:
    """A queue as the driver sees it: descriptors, available, used, and a page per buffer."""

    def __init__(self, driver: Driver, number: int) -> None:
        self.driver, self.number = driver, number
        self.base = START + number * 0x20000
        self.available, self.used = self.base + 0x1000, self.base + 0x2000
        self.offered = self.seen = 0
        self.kick, self.call = os.eventfd(0), -1

    def buffer(self, index: int) -> int:
        return self.base + 0x3000 + index * 0x1000

    def offer(
        self, data: bytes | int, *, index: int | None = None, flags: int | None = None, at: int = 0
    ) -> None:
        """data: to the device; or room for so many bytes from it."""
        index = self.offered % SIZE if index is None else index
        address = at or self.buffer(index)
        if isinstance(data, bytes):
            self.driver.write(address, data)
        length = len(data) if isinstance(data, bytes) else data
        writable = 0 if isinstance(data, bytes) else 2
        descriptor = struct.pack("<QIHH", address, length, writable if flags is None else flags, index)
        self.driver.write(self.base + 16 * (index % SIZE), descriptor)
        self.driver.write(self.available + 4 + 2 * (self.offered % SIZE), struct.pack("<H", index))
        self.offered += 1
        self.driver.write(self.available + 2, struct.pack("<H", self.offered & 0xFFFF))

    def ring(self) -> None:
        os.write(self.kick, struct.pack("<Q", 1))

    async def taken(self) -> bytes:
        """The next buffer that the device has handed back."""
        while True:
            (used,) = struct.unpack("<H", self.driver.read(self.used + 2, 2))
            if used != self.seen & 0xFFFF:
                place = self.used + 4 + 8 * (self.seen % SIZE)
                index, written = struct.unpack("<II", self.driver.read(place, 8))
                self.seen += 1
                return self.driver.read(self.buffer(index), written)
            await asyncio.sleep(0.001)


class Driver:
    """The front-end: a socket, memory in a file, rings."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self.memory = os.memfd_create("guest")
        os.truncate(self.memory, OFFSET + ROOM)
        self.rings = [Ring(self, number) for number in range(QUEUES)]

    def write(self, address: int, data: bytes) -> None:
        os.pwrite(self.memory, data, OFFSET + address - START)

    def read(self, address: int, size: int) -> bytes:
        return os.pread(self.memory, size, OFFSET + address - START)

    def send(self, request: int, payload: bytes = b"", fds: list[int] | None = None) -> None:
        data = struct.pack("<III", request, 1, len(payload)) + payload
        socket.send_fds(self.sock, [data], fds or [])

    async def ask(self, request: int, payload: bytes = b"") -> bytes:
        self.send(request, payload)
        data = await asyncio.get_running_loop().sock_recv(self.sock, 4096)
        number, flags, size = struct.unpack_from("<III", data)
        assert (number, flags, size) == (request, 5, len(data) - 12)
        return data[12:]

    async def set_up(self) -> None:
        """As virtio_uml does."""
        self.send(vu.SET_OWNER)
        (features,) = struct.unpack("<Q", await self.ask(vu.GET_FEATURES))
        assert features & MULTIPORT and features & vu.VERSION_1
        assert await self.ask(vu.GET_PROTOCOL_FEATURES) == struct.pack("<Q", vu.CONFIG | vu.BACKEND_REQUESTS)
        config = await self.ask(vu.GET_CONFIG, struct.pack("<III", 0, 8, 0) + bytes(8))
        assert struct.unpack("<III HHI", config) == (0, 8, 0, 0, 0, 2)  # a console, and one port
        self.send(vu.SET_MEM_TABLE, struct.pack("<IIQQQQ", 1, 0, START, ROOM, START, OFFSET), [self.memory])
        for ring in self.rings:
            ring.call, other = os.pipe2(os.O_NONBLOCK)
            number = ring.number
            self.send(vu.SET_VRING_CALL, struct.pack("<Q", number), [other])
            os.close(other)
            self.send(vu.SET_VRING_NUM, struct.pack("<II", number, SIZE))
            self.send(vu.SET_VRING_BASE, struct.pack("<II", number, 0))
            addresses = struct.pack("<IIQQQQ", number, 0, ring.base, ring.used, ring.available, 0)
            self.send(vu.SET_VRING_ADDR, addresses)
            self.send(vu.SET_VRING_KICK, struct.pack("<Q", number), [ring.kick])
            self.send(vu.SET_VRING_ENABLE, struct.pack("<II", number, 1))

    async def open_port(self) -> None:
        """As virtio_console and a program that opens the port do."""
        inward, outward = self.rings[2], self.rings[3]
        for _ in range(4):
            inward.offer(64)
        inward.ring()
        outward.offer(struct.pack("<IHH", 0xFFFFFFFF, 0, 1))
        outward.ring()
        assert await inward.taken() == struct.pack("<IHH", 1, 1, 0)  # there is a port 1
        outward.offer(struct.pack("<IHH", 1, 3, 1))
        outward.ring()
        assert await inward.taken() == struct.pack("<IHH", 1, 6, 1)  # the host listens there
        outward.offer(struct.pack("<IHH", 1, 6, 1))
        outward.ring()

    def close(self) -> None:
        self.sock.close()
        os.close(self.memory)
        for ring in self.rings:
            os.close(ring.kick)
            if ring.call >= 0:
                os.close(ring.call)


Scenario = Callable[[Driver, socket.socket], Coroutine[Any, Any, None]]


def with_console(scenario: Scenario) -> list[str]:
    """Run it; what the device gave up for."""

    async def main() -> list[str]:
        ours, theirs = socket.socketpair()
        port, device_port = socket.socketpair()
        failures: list[str] = []

        def failed(error: MachineError) -> None:
            failures.append(error.message)
            console.close()  # as the process does

        console = Console(ours, [device_port], failed)
        driver = Driver(theirs)
        port.setblocking(False)
        try:
            async with asyncio.timeout(10):
                await driver.set_up()
                await scenario(driver, port)
        finally:
            console.close()
            driver.close()
            port.close()
        return failures

    return asyncio.run(main())


async def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        assert piece
        data += piece
    return data


def test_bytes_go_both_ways_and_the_guest_is_told() -> None:
    async def scenario(driver: Driver, port: socket.socket) -> None:
        await driver.open_port()
        to_guest, from_guest = driver.rings[4], driver.rings[5]
        from_guest.offer(b"hello host")
        from_guest.ring()
        assert await receive(port, 10) == b"hello host"
        assert await from_guest.taken() == b""
        assert select.select([from_guest.call], [], [], 5)[0]
        to_guest.offer(4096)
        to_guest.ring()
        port.send(b"hello guest")
        assert await to_guest.taken() == b"hello guest"

    assert with_console(scenario) == []


def test_no_other_program_inherits_what_the_guest_sends() -> None:
    async def scenario(driver: Driver, port: socket.socket) -> None:
        await driver.open_port()
        mine = {driver.memory, *(fd for ring in driver.rings for fd in (ring.kick, ring.call))}
        inherited = {
            int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2 and int(name) not in mine
        }
        for fd in inherited:
            try:
                target = os.readlink(f"/proc/self/fd/{fd}")
                assert not os.get_inheritable(fd) or ("guest" not in target and "eventfd" not in target), (
                    target
                )
            except FileNotFoundError:
                pass  # the directory that was read

    assert with_console(scenario) == []


def test_nothing_is_lost_where_one_side_is_slow() -> None:
    data = os.urandom(300_000)

    async def scenario(driver: Driver, port: socket.socket) -> None:
        await driver.open_port()
        to_guest, from_guest = driver.rings[4], driver.rings[5]
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(port, data))
        got = b""
        while len(got) < len(data):
            to_guest.offer(1000)  # one buffer at a time
            to_guest.ring()
            got += await to_guest.taken()
        await sending
        assert got == data
        # 16 buffers at a time into a socket that nobody reads: at last the device leaves them where they are
        sent = b""
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for at in range(0, len(data), 4096):
            piece = data[at : at + 4096]
            from_guest.offer(piece)
            from_guest.ring()
            sent += piece
            try:
                async with asyncio.timeout(0.3):
                    await from_guest.taken()
            except TimeoutError:
                break
        else:
            pytest.fail("the device took in more than anybody reads")
        assert await receive(port, len(sent)) == sent

    assert with_console(scenario) == []


async def _loop(driver: Driver, port: socket.socket) -> None:
    ring = driver.rings[5]
    ring.offer(b"x", flags=1, index=0)  # goes on with itself
    ring.ring()


async def _outside(driver: Driver, port: socket.socket) -> None:
    ring = driver.rings[5]
    ring.offer(b"", at=START)
    driver.write(ring.base, struct.pack("<QIHH", START + ROOM - 4, 8, 0, 0))
    ring.ring()


async def _too_long(driver: Driver, port: socket.socket) -> None:
    ring = driver.rings[5]
    ring.offer(b"x")
    driver.write(ring.base, struct.pack("<QIHH", START, 0xFFFFFFFF, 0, 0))
    ring.ring()


async def _head(driver: Driver, port: socket.socket) -> None:
    ring = driver.rings[5]
    ring.offer(b"x")
    driver.write(ring.available + 4, struct.pack("<H", 999))
    ring.ring()


async def _too_many(driver: Driver, port: socket.socket) -> None:
    ring = driver.rings[5]
    driver.write(ring.available + 2, struct.pack("<H", SIZE + 1))
    ring.ring()


async def _wrong_way(driver: Driver, port: socket.socket) -> None:
    ring = driver.rings[5]
    ring.offer(100)
    ring.ring()


async def _short_message(driver: Driver, port: socket.socket) -> None:
    ring = driver.rings[3]
    ring.offer(b"abc")
    ring.ring()


async def _cut_short(driver: Driver, port: socket.socket) -> None:
    os.truncate(driver.memory, 0)
    driver.rings[5].ring()


async def _garbage(driver: Driver, port: socket.socket) -> None:
    driver.sock.send(os.urandom(4000))


async def _unknown(driver: Driver, port: socket.socket) -> None:
    driver.send(99)


async def _no_queue(driver: Driver, port: socket.socket) -> None:
    driver.send(vu.SET_VRING_NUM, struct.pack("<II", 77, 16))


async def _odd_queue(driver: Driver, port: socket.socket) -> None:
    driver.send(vu.SET_VRING_NUM, struct.pack("<II", 1, 100))


async def _truncated(driver: Driver, port: socket.socket) -> None:
    driver.send(vu.SET_VRING_ADDR, b"short")


async def _no_descriptor(driver: Driver, port: socket.socket) -> None:
    driver.send(vu.SET_VRING_KICK, struct.pack("<Q", 1))


async def _memory_is_a_pipe(driver: Driver, port: socket.socket) -> None:
    read, write = os.pipe()
    driver.send(vu.SET_MEM_TABLE, struct.pack("<IIQQQQ", 1, 0, START, ROOM, START, 0), [read])
    os.close(read)
    os.close(write)


async def _descriptors(driver: Driver, port: socket.socket) -> None:
    for _ in range(10):
        driver.send(vu.SET_OWNER, fds=[driver.memory] * 8)


async def _gone(driver: Driver, port: socket.socket) -> None:
    driver.sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (_loop, "malformed"), (_outside, "outside of its memory"), (_too_long, "malformed"), (_head, "malformed"),
        (_too_many, "more buffers than there are"), (_wrong_way, "wrong way"), (_short_message, "malformed"),
        (_cut_short, "shorter than it said"), (_garbage, "another protocol"), (_unknown, "nobody offered"),
        (_no_queue, "no queue 77"), (_odd_queue, "100 entries"), (_truncated, "malformed"),
        (_no_descriptor, "no descriptor"), (_memory_is_a_pipe, "no file"), (_descriptors, "more descriptors"), (_gone, "has ended"),
    ],
)  # fmt: skip
def test_a_guest_that_does_not_keep_to_it_is_given_up(attack: Scenario, words: str) -> None:
    async def scenario(driver: Driver, port: socket.socket) -> None:
        await attack(driver, port)
        # the agent's port ends, so that whoever waits there learns of it
        assert await asyncio.get_running_loop().sock_recv(port, 1) == b""

    failures = with_console(scenario)
    assert len(failures) == 1 and words in failures[0], failures
