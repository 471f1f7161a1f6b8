"""A device of the guest's in this process: the back-end of the vhost-user protocol.

QEMU, docs/interop/vhost-user.rst. The guest's kernel (virtio_uml) is the front-end: over a socket it says where its
memory is (a descriptor) and where the rings are in it; from then on both sides only tell each other to look
(kick, call). Whatever it sends is checked; what is wrong ends the machine.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from array import array
from collections.abc import Callable, Sequence

from pycontain.errors import MachineError
from pycontain.vm.uml.virtqueue import LARGEST, Memory, Region, Virtqueue

VERSION_1, PROTOCOL_FEATURES = 1 << 32, 1 << 30
"""Features: a device as of virtio 1.0; and that the protocol has features of its own."""
CONFIG, BACKEND_REQUESTS = 1 << 9, 1 << 5
"""Protocol features: the device's configuration is asked for here; and there is a socket for requests of ours. We make
none, but only with such a socket does virtio_uml (6.1) get itself an interrupt."""
_HEADER = struct.Struct("<III")
_VERSION, _REPLY = 1, 4
_LONGEST = 4096
MOST_DESCRIPTORS = 32
(
    GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE,
    SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, SET_VRING_ENABLE,
    SET_BACKEND_SOCKET, GET_CONFIG,
) = (1, 2, 3, 5, 8, 9, 10, 12, 13, 14, 15, 16, 18, 21, 24)  # fmt: skip


class Device:
    """sock: the accepted connection. features: the device's own; kicked(queue's number): the guest says that there is
    something in it; failed(MachineError): called once, when the guest has gone or does not keep to the protocol."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        features: int,
        queues: int,
        config: bytes,
        kicked: Callable[[int], None],
        failed: Callable[[MachineError], None],
    ) -> None:
        self.queues = [Virtqueue() for _ in range(queues)]
        self._features = features | VERSION_1 | PROTOCOL_FEATURES
        self._config = config
        self._kicked = kicked
        self._failed = failed
        self._sock = sock
        self._in = bytearray()
        self._fds: list[int] = []
        self._kept: list[int] = []
        self._memory: Memory | None = None
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._ready)

    def close(self) -> None:
        """Stop, and let go of the guest's memory."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for queue in self.queues:
            if queue.kick >= 0:
                self._loop.remove_reader(queue.kick)
            queue.close()
        if self._memory is not None:
            self._memory.close()
        for fd in self._fds + self._kept:
            os.close(fd)
        self._fds.clear()
        self._kept.clear()

    def guard(self, function: Callable[[], None]) -> None:
        """Run it; what goes wrong is the guest's fault and ends the device."""
        try:
            function()
        except MachineError as error:
            self._fail(error)
        except OSError as error:
            self._fail(MachineError(f"talk to the guest: {error.strerror}"))

    def _fail(self, error: MachineError) -> None:
        if self._sock.fileno() >= 0:
            self.close()
            self._failed(error)

    def _ready(self) -> None:
        self.guard(self._receive)

    def _receive(self) -> None:
        try:
            # not recv_fds(), which drops its flags: every other machine would inherit this one's memory
            data, ancillary, _, _ = self._sock.recvmsg(
                4096, socket.CMSG_SPACE(4 * MOST_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._fds += array("i", content[: len(content) // 4 * 4])
        if len(self._fds) + len(self._kept) > MOST_DESCRIPTORS:
            raise MachineError("talk to the guest: its device sends more descriptors than anything needs")
        if not data:
            raise MachineError("talk to the guest: the machine has ended")
        self._in += data
        while len(self._in) >= _HEADER.size:
            request, flags, size = _HEADER.unpack_from(self._in)
            if flags & 3 != _VERSION or size > _LONGEST:
                raise MachineError("talk to the guest: its device speaks another protocol")
            if len(self._in) < _HEADER.size + size:
                return
            payload = bytes(self._in[_HEADER.size : _HEADER.size + size])
            del self._in[: _HEADER.size + size]
            try:
                self._carry_out(request, payload)
            except struct.error:
                raise MachineError("talk to the guest: a request of its device is malformed") from None

    def _reply(self, request: int, payload: bytes) -> None:
        data = _HEADER.pack(request, _VERSION | _REPLY, len(payload)) + payload
        if self._sock.send(data) != len(data):
            raise MachineError("talk to the guest: its device does not listen")

    def _take_fd(self) -> int:
        if not self._fds:
            raise MachineError("talk to the guest: its device sent no descriptor")
        return self._fds.pop(0)

    def _queue(self, number: int) -> Virtqueue:
        if number >= len(self.queues):
            raise MachineError(f"talk to the guest: its device has no queue {number}")
        return self.queues[number]

    def _carry_out(self, request: int, payload: bytes) -> None:
        if request == GET_FEATURES:
            self._reply(request, struct.pack("<Q", self._features))
        elif request == GET_PROTOCOL_FEATURES:
            self._reply(request, struct.pack("<Q", CONFIG | BACKEND_REQUESTS))
        elif request == GET_CONFIG:
            offset, size, flags = struct.unpack_from("<III", payload)
            wanted = self._config.ljust(256, b"\0")[offset : offset + size]
            if len(wanted) != size or len(payload) != 12 + size:
                raise MachineError("talk to the guest: it asks for more configuration than there is")
            self._reply(request, struct.pack("<III", offset, size, flags) + wanted)
        elif request == SET_BACKEND_SOCKET:
            self._kept.append(self._take_fd())
        elif request == SET_MEM_TABLE:
            self._set_memory(payload)
        elif request == SET_VRING_NUM:
            number, size = struct.unpack("<II", payload)
            if not 0 < size <= LARGEST or size & (size - 1):
                raise MachineError(f"talk to the guest: a queue of {size} entries")
            self._queue(number).size = size
        elif request == SET_VRING_ADDR:
            number, _, descriptors, used, available, _ = struct.unpack("<IIQQQQ", payload)
            queue = self._queue(number)
            queue.descriptors, queue.used, queue.available = descriptors, used, available
        elif request == SET_VRING_BASE:
            number, base = struct.unpack("<II", payload)
            self._queue(number).begin(base)
        elif request in (SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR):
            self._set_descriptor(request, payload)
        elif request == SET_VRING_ENABLE:
            number, enabled = struct.unpack("<II", payload)
            self._queue(number).enabled = bool(enabled)
            if enabled:
                self._kicked(number)  # it may have offered something already
        elif request not in (SET_FEATURES, SET_OWNER, SET_PROTOCOL_FEATURES):
            raise MachineError(f"talk to the guest: its device asks for {request}, which nobody offered")

    def _set_memory(self, payload: bytes) -> None:
        count, _ = struct.unpack_from("<II", payload)
        if not 0 < count <= 8 or len(payload) < 8 + 32 * count:
            raise MachineError("talk to the guest: a request of its device is malformed")
        regions = []
        for number in range(count):
            start, size, _, offset = struct.unpack_from("<QQQQ", payload, 8 + 32 * number)
            fd = self._take_fd()
            regions.append(Region(start, size, offset, fd))
        old, self._memory = self._memory, Memory(regions)
        for queue in self.queues:
            queue.memory = self._memory
        if old is not None:
            old.close()
        if not all(stat.S_ISREG(os.fstat(region.fd).st_mode) for region in regions):
            raise MachineError("talk to the guest: its memory is no file")

    def _set_descriptor(self, request: int, payload: bytes) -> None:
        (value,) = struct.unpack("<Q", payload)
        number, fd = value & 0xFF, -1 if value & 0x100 else self._take_fd()
        if request == SET_VRING_ERR:
            if fd >= 0:
                os.close(fd)
            return
        queue = self._queue(number)
        old = queue.kick if request == SET_VRING_KICK else queue.call
        if old >= 0:
            if request == SET_VRING_KICK:
                self._loop.remove_reader(old)
            os.close(old)
        if fd >= 0:
            os.set_blocking(fd, False)
        if request == SET_VRING_CALL:
            queue.call = fd
            return
        queue.kick = fd
        if fd >= 0:
            self._loop.add_reader(fd, self._kick, number)

    def _kick(self, number: int) -> None:
        def look() -> None:
            try:
                if not os.read(self.queues[number].kick, 8):
                    raise MachineError("talk to the guest: the machine has ended")
            except BlockingIOError:
                return
            self._kicked(number)

        self.guard(look)


def listen(path: str) -> socket.socket:
    """A socket for one device. MachineError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(1)
    except OSError as error:
        sock.close()
        raise MachineError(f"make a device for the guest: {error.strerror}") from None
    sock.setblocking(False)
    return sock


def queue_numbers(port: int) -> Sequence[int]:
    """The queues of a virtio-console's port, to and from the guest (VIRTIO 1.1, 5.3.2)."""
    return (0, 1) if port == 0 else (2 + 2 * port, 3 + 2 * port)
