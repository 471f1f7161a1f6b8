"""A virtio-console whose ports are sockets of ours: what the agents in the guest know as /dev/vport0pN.

VIRTIO 1.1, section 5.3. Port 0 is the console proper, which is not used; the ports from 1 on each have a socket.
Nothing is lost either way: what the guest has no buffers for stays in the socket, what the socket has no room for
stays in the guest's buffers.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence

from pycontain.errors import MachineError
from pycontain.vm.uml.vhost_user import Device, queue_numbers

MULTIPORT = 1 << 1
CONTROL_IN, CONTROL_OUT = 2, 3
"""Queues of the device's own messages: to the guest, from it."""
DEVICE_READY, PORT_ADD, PORT_READY, PORT_OPEN = 0, 1, 3, 6
_MESSAGE = struct.Struct("<IHH")
BATCH = 64


class Console:
    """sock: the vhost-user connection; ports: our sockets, for port 1 and on."""

    def __init__(
        self, sock: socket.socket, ports: Sequence[socket.socket], failed: Callable[[MachineError], None]
    ) -> None:
        self._ports = dict(enumerate(ports, 1))
        self._loop = asyncio.get_running_loop()
        self._opened: set[int] = set()
        self._messages: list[bytes] = []
        self._unsent: dict[int, bytearray] = {number: bytearray() for number in self._ports}
        for port in ports:
            port.setblocking(False)
        self._actions: dict[int, Callable[[], None]] = {CONTROL_IN: self._tell, CONTROL_OUT: self._listen}
        for number in self._ports:
            inward, outward = queue_numbers(number)
            self._actions[inward] = lambda number=number: self._to_guest(number)  # type: ignore[misc]
            self._actions[outward] = lambda number=number: self._from_guest(number)  # type: ignore[misc]
        self._device = Device(
            sock,
            features=MULTIPORT,
            queues=2 * len(ports) + 4,
            config=struct.pack("<HHI", 0, 0, len(ports) + 1),
            kicked=self._kicked,
            failed=failed,
        )

    def close(self) -> None:
        """Stop. The ports' sockets are closed, too."""
        for number, sock in self._ports.items():
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock.fileno())
                self._loop.remove_writer(sock.fileno())
                sock.close()
            self._unsent[number].clear()
        self._device.close()

    def _kicked(self, queue: int) -> None:
        action = self._actions.get(queue)
        if action is not None:
            action()

    # -- the device's own messages

    def _tell(self) -> None:
        queue = self._device.queues[CONTROL_IN]
        used = []
        for chain in queue.take(len(self._messages)) if self._messages else ():
            message = self._messages.pop(0)
            queue.fill(chain, message)
            used.append((chain, len(message)))
        queue.give(used)

    def _listen(self) -> None:
        queue = self._device.queues[CONTROL_OUT]
        used = []
        for chain in queue.take(BATCH):
            data = queue.read(chain)
            used.append((chain, 0))
            if len(data) < _MESSAGE.size:
                raise MachineError("talk to the guest: a message of its console is malformed")
            port, event, value = _MESSAGE.unpack_from(data)
            if event == DEVICE_READY:
                if not value:
                    raise MachineError("talk to the guest: it has no use for its console")
                self._messages += [_MESSAGE.pack(number, PORT_ADD, 0) for number in self._ports]
            elif event == PORT_READY and value and port in self._ports:
                self._messages.append(_MESSAGE.pack(port, PORT_OPEN, 1))
            elif event == PORT_OPEN and value and port in self._ports:
                self._opened.add(port)
                self._to_guest(port)
        queue.give(used)
        self._tell()

    # -- data

    def _to_guest(self, port: int) -> None:
        """As much from the socket as the guest has buffers for."""
        sock = self._ports[port]
        queue = self._device.queues[queue_numbers(port)[0]]
        if sock.fileno() < 0 or port not in self._opened:
            return
        used = []
        for _ in range(BATCH):
            # look first: a buffer once taken has to be given back
            try:
                waiting = sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                self._loop.add_reader(sock.fileno(), self._guarded, port)
                break
            if not waiting:
                self._loop.remove_reader(sock.fileno())
                break
            chains = queue.take(1)
            if not chains:
                self._loop.remove_reader(sock.fileno())  # until the guest offers more
                break
            data = sock.recv(chains[0].size)
            queue.fill(chains[0], data)
            used.append((chains[0], len(data)))
        else:
            self._loop.add_reader(sock.fileno(), self._guarded, port)
        queue.give(used)

    def _guarded(self, port: int) -> None:
        self._device.guard(lambda: self._to_guest(port))

    def _from_guest(self, port: int) -> None:
        """As much of the guest's as the socket has room for."""
        queue = self._device.queues[queue_numbers(port)[1]]
        sock, unsent = self._ports[port], self._unsent[port]
        if sock.fileno() < 0:
            return
        used = []
        for _ in range(BATCH):
            if unsent:
                break
            chains = queue.take(1)
            if not chains:
                break
            unsent += queue.read(chains[0])
            used.append((chains[0], 0))
            self._send(sock, unsent)
        queue.give(used)
        if unsent or len(used) == BATCH:
            self._loop.add_writer(sock.fileno(), self._writable, port)

    def _writable(self, port: int) -> None:
        sock, unsent = self._ports[port], self._unsent[port]
        self._send(sock, unsent)
        if not unsent:
            self._loop.remove_writer(sock.fileno())
            self._device.guard(lambda: self._from_guest(port))

    @staticmethod
    def _send(sock: socket.socket, unsent: bytearray) -> None:
        try:
            while unsent:
                del unsent[: sock.send(unsent)]
        except BlockingIOError:
            pass
        except OSError:
            unsent.clear()  # nobody listens any more: the machine is about to end
