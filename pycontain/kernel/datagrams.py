"""Unix datagram sockets of a container. Theirs is the only data that passes through the kernel.

A datagram socket of the host would let sendmsg(2) reach every socket file of the host, since a filter does not see
an address inside a message. So a program gets one end of a SOCK_SEQPACKET pair, which keeps the borders between
messages and has no use for addresses, and the kernel holds the other end.

The descriptor has one of the numbers of which the filter tells the kernel each message call (Platform.watched). What is
sent by such a call, the kernel puts into the receiver's queue (calls/sending.py); what is received comes from there by
the host, and the kernel adds who has sent it (calls/receiving.py). So it keeps the senders of what is in a queue, and
learns how much of that has been read, by whatever call, from the bytes that are still there (SIOCOUTQ).

write(2), and descriptors with other numbers, as dup(2) makes them, are not seen: messages arrive at the kernel's end and
are passed on to the peer. What shows there: no sender's address is told; an address in a message is not looked at; what
cannot be sent fails with EPIPE, whatever the reason.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import termios
from array import array
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pycontain.kernel.calls.diag import exists
from pycontain.kernel.unix import Credentials, Key
from pycontain.kernel.vfs.filesystem import fail

if TYPE_CHECKING:
    from pycontain.kernel.loop import Loop
    from pycontain.kernel.task import Task

MOST = 1024  # of one container: each costs the kernel a descriptor
LARGEST = 1 << 18  # bytes of a message; the host's default limit is 212,992
MOST_DESCRIPTORS = 253  # SCM_MAX_FD
AT_ONCE = 64  # messages of one socket before others have their turn
RETRY = 0.005  # seconds until a full queue is tried again
SIZES = 1024  # of messages, whose cost in a queue is remembered
UNCLAIMED = 64  # messages that have been read, of which the readers' calls have not returned
BEGINNING = 64  # bytes by which messages are told apart that several threads read at once


class Message(NamedTuple):
    """What is sent. The descriptors are the kernel's, who closes them. sender: its address; None: it has none."""

    data: bytes
    descriptors: list[int]
    sender: bytes | None
    who: Credentials


class Queued(NamedTuple):
    """Of a message in a program's queue: what the host counts it for, and what it looks like."""

    cost: int
    size: int
    beginning: bytes
    sender: bytes | None
    who: Credentials


class Relay:
    """The kernel's end of a datagram socket. peer: where its messages go, another one or a socket of the host."""

    def __init__(self, end: socket.socket, ino: int, who: Credentials, cost: Callable[[int], int]) -> None:
        self.end = end
        self.ino = ino  # of the program's end
        self.who = who  # made it
        self.key: Key | None = None
        self.address: bytes | None = None  # as the program gave it to bind(2)
        self.peer: Relay | socket.socket | None = None
        self.refused = False  # the peer has gone, and the program has not been told
        self.mute = False  # what the program writes fails, but it receives
        self.stopped = False  # the program has shut it down for sending
        self.deaf = False  # and for receiving
        self.shut = False  # nothing comes from it any more
        self.gone = False
        self.kept: Message | None = None  # for which the peer's queue had no room
        self.readers: deque[Callable[[], None]] = deque()  # who waits for a message
        self._cost = cost
        self._queued: deque[Queued] = deque()
        self._total = 0  # cost of these
        self._read: deque[Queued] = deque(maxlen=UNCLAIMED)
        self._reading: list[Task] = []

    def take(self, message: Message) -> None:
        """Put a message into the program's queue. Raises BlockingIOError if it is full, ECONNREFUSED if it has gone,
        EPIPE if the program has closed it, or shut it down."""
        if self.gone:
            fail(errno.ECONNREFUSED)
        _send(self.end, message)
        size = len(message.data)
        cost = self._cost(size)
        self._queued.append(Queued(cost, size, message.data[:BEGINNING], message.sender, message.who))
        self._total += cost
        if len(self._queued) > 1:
            self._settle()
        if self.readers:
            self.readers.popleft()()

    @property
    def room(self) -> bool:
        """Is there some for another message? As the host has it: as long as there are fewer bytes than there may be.
        Who waits for it shall be told, too, that there is nobody any more."""
        if self.gone:
            return True
        left = array("i", [0])
        fcntl.ioctl(self.end, termios.TIOCOUTQ, left)
        return left[0] < self.end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    @property
    def waiting(self) -> int:
        """How many messages are in the program's queue."""
        self._settle()
        return len(self._queued)

    def begin(self, task: Task) -> None:
        """A task is about to read a message."""
        self._reading = [other for other in self._reading if other.tid in other.process.threads and other is not task]
        self._settle()
        if not self._reading:
            self._read.clear()  # by calls that want to know nothing of them
        self._reading.append(task)

    def ended(self, task: Task) -> None:
        """It has read, or not."""
        if task in self._reading:
            self._reading.remove(task)
        if self.readers and self.waiting:
            self.readers.popleft()()

    def first(self) -> Queued | None:
        """The message that would be read next."""
        self._settle()
        return self._queued[0] if self._queued else None

    def claim(self, looks: Callable[[Queued], bool]) -> Queued | None:
        """The message that a task has read. Where several do so at once, the first that looks like it."""
        self._settle()
        read = self._read
        if not read:
            return None
        found = next((each for each in read if looks(each)), read[0]) if len(read) > 1 else read[0]
        read.remove(found)
        return found

    def unread(self) -> list[Queued]:
        self._settle()
        return list(self._queued)

    def _settle(self) -> None:
        queued = self._queued
        if not queued or self.gone:
            return
        left = array("i", [0])
        fcntl.ioctl(self.end, termios.TIOCOUTQ, left)
        while queued and (self._total > left[0] or not left[0]):
            read = queued.popleft()
            self._total -= read.cost
            self._read.append(read)

    def close(self) -> None:
        self.gone = True
        self.end.close()
        if isinstance(self.peer, socket.socket):
            self.peer.close()
        self.peer = None
        for fd in self.kept.descriptors if self.kept else ():
            os.close(fd)
        self.kept = None


class Costs:
    """What the host counts a message of a size for in a queue, found out by sending one."""

    def __init__(self) -> None:
        self._costs: dict[int, int] = {}

    def __call__(self, size: int) -> int:
        cost = self._costs.get(size)
        if cost is None:
            one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with one, other:
                one.send(bytes(size), socket.MSG_DONTWAIT)
                counted = array("i", [0])
                fcntl.ioctl(one, termios.TIOCOUTQ, counted)
            cost = self._costs[size] = counted[0]
            if len(self._costs) > SIZES:
                del self._costs[next(iter(self._costs))]
        return cost


class Datagrams:
    """All datagram sockets of a container, by the host's inode number of the program's end."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._costs = Costs()
        self._relays: dict[int, Relay] = {}
        self._bound: dict[Key, Relay] = {}

    def add(self, end: socket.socket, ino: int, who: Credentials) -> Relay:
        """Raises ENFILE if the container has too many."""
        if len(self._relays) >= MOST:
            for relay in [r for r in self._relays.values() if r.deaf and not exists(r.ino)]:
                self._close(relay)
            if len(self._relays) >= MOST:
                fail(errno.ENFILE)
        end.setblocking(False)
        relay = self._relays[ino] = Relay(end, ino, who, self._costs)
        self._listen(relay)
        return relay

    def mute(self, relay: Relay) -> None:
        """From here on what the program writes fails; for ever, since a socket cannot be opened again."""
        if not relay.mute and not relay.gone:
            relay.mute = True
            relay.end.shutdown(socket.SHUT_RD)
            self._loop.unregister(relay.end.fileno())
            if not relay.deaf:
                self._listen(relay)

    def shut(self, relay: Relay, sending: bool, receiving: bool) -> None:
        """The program is about to shut it down. Our end then looks as if the program had closed its own: nothing tells
        of that any more, and we look for it when we need to know."""
        relay.stopped |= sending
        if receiving and not relay.deaf:
            relay.deaf = True
            if relay.mute or relay.shut:
                self._loop.unregister(relay.end.fileno())

    def succeed(self, relay: Relay, new: Relay) -> None:
        """The program has got another socket in the place of a mute one."""
        new.address, new.readers = relay.address, relay.readers
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
        quiet = relay.mute or relay.shut
        self._loop.register(relay.end.fileno(), ready, 0 if quiet else select.EPOLLIN)

    def find(self, ino: int) -> Relay | None:
        return self._relays.get(ino)

    def bind(self, relay: Relay, key: Key, address: bytes) -> None:
        if self.bound(key) is not None:
            fail(errno.EADDRINUSE)
        relay.key, relay.address = key, address
        self._bound[key] = relay

    def bound(self, key: Key) -> Relay | None:
        relay = self._bound.get(key)
        if relay is not None and _events(relay.end) & select.POLLHUP:
            self._look(relay)  # it may have gone, which we have not been told yet
            return None if relay.gone else relay
        return relay

    def passed_on(self, relay: Relay) -> bool:
        """Take what the program has written to its peer. False if there is no room for it yet."""
        return relay.gone or relay.mute or relay.shut or (relay.kept is None and self._ready(relay))

    def connect(self, relay: Relay, peer: Relay | socket.socket | None) -> None:
        """Where messages go from here on; None: nowhere. A socket of the host becomes the relay's own."""
        if isinstance(relay.peer, socket.socket):
            relay.peer.close()
        relay.peer = peer
        relay.refused = False

    def deliver(self, sender: Relay | None, receiver: Relay | socket.socket, message: Message) -> None:
        """Raises BlockingIOError if there is no room, EPERM if the receiver has chosen another peer."""
        if isinstance(receiver, Relay):
            if not may_send(sender, receiver):
                fail(errno.EPERM)
            try:
                receiver.take(message)
            except BrokenPipeError:
                self._look(receiver)
                if receiver.gone:
                    fail(errno.ECONNREFUSED)
                raise
        else:
            _send(receiver, message)

    def refuse(self, relay: Relay) -> None:
        """Its peer has gone. It still receives."""
        relay.peer = None
        relay.refused = True
        self.mute(relay)

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
            self.refuse(other)

    def _ready(self, relay: Relay) -> bool:
        """False if something is left that has not been passed on."""
        if relay.mute or relay.shut:
            self._look(relay)
            return True
        for _ in range(AT_ONCE):
            if relay.gone or relay.mute:
                return True
            try:
                relay.end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)  # room for all of it costs more
                data, descriptors = _receive(relay.end)
            except BlockingIOError:
                return True
            except OSError:
                self._close(relay)
                return True
            if not data and not descriptors and self._ended(relay):
                return True
            if not self._pass_on(relay, Message(data, descriptors, relay.address, relay.who)):
                # not only without interest in it: that its other end is closed would be told all the same
                self._loop.unregister(relay.end.fileno())
                self._loop.later(RETRY, lambda: self._again(relay))
                return False
        return False

    def _ended(self, relay: Relay) -> bool:
        """After an empty message: was it the end? The last ones may have been empty if it was."""
        left = array("i", [0])
        fcntl.ioctl(relay.end, termios.FIONREAD, left)
        events = _events(relay.end)
        if left[0] or not events & (select.POLLHUP | select.POLLRDHUP):
            return False
        if events & select.POLLHUP and not relay.deaf:
            self._close(relay)  # the program has closed its end
        else:
            relay.shut = True  # under another number, or we would know
            self._loop.unregister(relay.end.fileno())
            if not relay.deaf:
                self._listen(relay)
        return True

    def _look(self, relay: Relay) -> None:
        """Has the program closed its end?"""
        if not relay.gone and _events(relay.end) & select.POLLHUP and not (relay.deaf and exists(relay.ino)):
            if relay.kept is None and not relay.mute and not relay.shut:
                self._ready(relay)
            self._close(relay)

    def _pass_on(self, relay: Relay, message: Message) -> bool:
        """False if there is no room: the message is kept."""
        try:
            if relay.peer is not None:
                self.deliver(relay, relay.peer, message)
        except BlockingIOError:
            relay.kept = message
            return False
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                self.refuse(relay)  # its next message fails
        for fd in message.descriptors:
            os.close(fd)
        return True

    def _again(self, relay: Relay) -> None:
        if relay.gone or relay.kept is None:
            return
        message, relay.kept = relay.kept, None
        if not self._pass_on(relay, message):
            self._loop.later(RETRY, lambda: self._again(relay))
        elif not relay.gone and relay.end.fileno() not in self._loop.handlers:
            self._listen(relay)


def may_send(sender: Relay | None, receiver: Relay) -> bool:
    """One that is connected receives from its peer only (unix(7))."""
    return receiver.peer is None or receiver.peer is sender


def _send(end: socket.socket, message: Message) -> None:
    descriptors = message.descriptors
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
    end.sendmsg([message.data], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _events(end: socket.socket) -> int:
    state = select.poll()
    state.register(end, select.POLLRDHUP)
    found = state.poll(0)
    return found[0][1] if found else 0


def _receive(end: socket.socket) -> tuple[bytes, list[int]]:
    room = socket.CMSG_SPACE(4 * MOST_DESCRIPTORS)
    data, messages, _, _ = end.recvmsg(LARGEST, room, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    descriptors = array("i")
    for level, kind, content in messages:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) // 4 * 4])
    return data, list(descriptors)
