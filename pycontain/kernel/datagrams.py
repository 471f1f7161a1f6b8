"""Unix datagram sockets of a container. Theirs is the only data that passes through the kernel.

A datagram socket of the host would let sendmsg(2) reach every socket file of the host, since a filter does not see
an address inside a message. So a program gets one end of a SOCK_SEQPACKET pair, which keeps the borders between
messages and has no use for addresses; the kernel holds the other end, and passes each message on to the socket that
the sender is connected to, or that sendto(2) names.

What shows: a message comes without its sender's address; the address in a message of sendmsg(2) is not seen, so it
goes to the peer. Where there is none the host lets the program send nothing: EPIPE instead of ENOTCONN. A socket whose
peer has gone is closed, or cannot send any more, so that the next message fails, with EPIPE instead of ECONNREFUSED.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import termios
from array import array
from typing import TYPE_CHECKING

from pycontain.kernel.unix import Key
from pycontain.kernel.vfs.filesystem import fail

if TYPE_CHECKING:
    from pycontain.kernel.loop import Loop

MOST = 1024  # of one container: each costs the kernel a descriptor
LARGEST = 1 << 18  # bytes of a message; the host's default limit is 212,992
MOST_DESCRIPTORS = 253  # SCM_MAX_FD
AT_ONCE = 64  # messages of one socket before others have their turn
RETRY = 0.005  # seconds until a full queue is tried again


class Relay:
    """The kernel's end of a datagram socket. peer: where its messages go, another one or a socket of the host."""

    def __init__(self, end: socket.socket, ino: int) -> None:
        self.end = end
        self.ino = ino  # of the program's end
        self.key: Key | None = None
        self.peer: Relay | socket.socket | None = None
        self.mute = False  # the program cannot send, but it receives
        self.gone = False
        self.kept: tuple[bytes, list[int]] | None = None  # a message for which the peer's queue had no room

    def take(self, data: bytes, descriptors: list[int]) -> None:
        """Put a message into the program's queue. Raises BlockingIOError if it is full, EPIPE if it has gone."""
        if self.gone:
            fail(errno.EPIPE)
        _send(self.end, data, descriptors)

    def close(self) -> None:
        self.gone = True
        self.end.close()
        if isinstance(self.peer, socket.socket):
            self.peer.close()
        self.peer = None
        for fd in self.kept[1] if self.kept else ():
            os.close(fd)
        self.kept = None


class Datagrams:
    """All datagram sockets of a container, by the host's inode number of the program's end."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._relays: dict[int, Relay] = {}
        self._bound: dict[Key, Relay] = {}

    def add(self, end: socket.socket, ino: int) -> Relay:
        """Raises ENFILE if the container has too many."""
        if len(self._relays) >= MOST:
            fail(errno.ENFILE)
        end.setblocking(False)
        relay = self._relays[ino] = Relay(end, ino)
        self._listen(relay)
        return relay

    def mute(self, relay: Relay) -> None:
        """From here on what the program sends fails; for ever, since a socket cannot be opened again."""
        if not relay.mute and not relay.gone:
            relay.mute = True
            relay.end.shutdown(socket.SHUT_RD)
            self._loop.unregister(relay.end.fileno())
            self._listen(relay)

    def succeed(self, relay: Relay, new: Relay) -> None:
        """The program has got another socket in the place of a mute one."""
        if relay.key is not None:
            new.key = relay.key
            self._bound[relay.key] = new
        for other in self._relays.values():
            if other.peer is relay:
                other.peer = new

    def _listen(self, relay: Relay) -> None:
        def ready(events: int) -> None:
            self._ready(relay)

        # of a mute one only its end is of interest, which is told in any case
        self._loop.register(relay.end.fileno(), ready, 0 if relay.mute else select.EPOLLIN)

    def find(self, ino: int) -> Relay | None:
        return self._relays.get(ino)

    def bind(self, relay: Relay, key: Key) -> None:
        if key in self._bound:
            fail(errno.EADDRINUSE)
        relay.key = key
        self._bound[key] = relay

    def bound(self, key: Key) -> Relay | None:
        return self._bound.get(key)

    def passed_on(self, relay: Relay) -> bool:
        """Take what the program has sent to its peer. False if there is no room for it yet."""
        return relay.gone or (relay.kept is None and self._ready(relay))

    def connect(self, relay: Relay, peer: Relay | socket.socket | None) -> None:
        """Where messages go from here on; None: nowhere. A socket of the host becomes the relay's own."""
        if isinstance(relay.peer, socket.socket):
            relay.peer.close()
        relay.peer = peer

    def close(self) -> None:
        for relay in list(self._relays.values()):
            self._close(relay)

    def _close(self, relay: Relay) -> None:
        if relay.gone:
            return
        self._loop.unregister(relay.end.fileno())
        self._relays.pop(relay.ino, None)
        if relay.key is not None and self._bound.get(relay.key) is relay:
            del self._bound[relay.key]
        relay.close()
        for other in [r for r in self._relays.values() if r.peer is relay]:
            if other.key is None:
                self._close(other)
            else:
                other.peer = None  # it still receives
                self.mute(other)

    def _ready(self, relay: Relay) -> bool:
        """False if something is left that has not been passed on."""
        if relay.mute:
            if _hung_up(relay.end):
                self._close(relay)
            return True
        for _ in range(AT_ONCE):
            if relay.gone:
                return True
            try:
                data, descriptors = _receive(relay.end)
            except BlockingIOError:
                return True
            except OSError:
                self._close(relay)
                return True
            if not data and not descriptors and _ended(relay.end):
                self._close(relay)  # the program has closed its end
                return True
            if not self._pass_on(relay, data, descriptors):
                # not only without interest in it: that its other end is closed would be told all the same
                self._loop.unregister(relay.end.fileno())
                self._loop.later(RETRY, lambda: self._again(relay))
                return False
        return False

    def _pass_on(self, relay: Relay, data: bytes, descriptors: list[int]) -> bool:
        """False if there is no room: the message is kept."""
        try:
            if isinstance(relay.peer, Relay):
                relay.peer.take(data, descriptors)
            elif relay.peer is not None:
                _send(relay.peer, data, descriptors)
        except BlockingIOError:
            relay.kept = (data, descriptors)
            return False
        except OSError:
            if relay.key is None:
                self._close(relay)  # its next message fails
        for fd in descriptors:
            os.close(fd)
        return True

    def _again(self, relay: Relay) -> None:
        if relay.gone or relay.kept is None:
            return
        (data, descriptors), relay.kept = relay.kept, None
        if not self._pass_on(relay, data, descriptors):
            self._loop.later(RETRY, lambda: self._again(relay))
        elif not relay.gone:
            self._listen(relay)


def _send(end: socket.socket, data: bytes, descriptors: list[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
    end.sendmsg([data], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _ended(end: socket.socket) -> bool:
    """After an empty message: was it the end? The last ones may have been empty if it was."""
    left = array("i", [0])
    fcntl.ioctl(end, termios.FIONREAD, left)
    return _hung_up(end) and not left[0]


def _hung_up(end: socket.socket) -> bool:
    state = select.poll()
    state.register(end, 0)
    return bool(state.poll(0))


def _receive(end: socket.socket) -> tuple[bytes, list[int]]:
    room = socket.CMSG_SPACE(4 * MOST_DESCRIPTORS)
    data, messages, _, _ = end.recvmsg(LARGEST, room, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    descriptors = array("i")
    for level, kind, content in messages:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) // 4 * 4])
    return data, list(descriptors)
