"""Descriptors of a task where the host does not let us take them (pidfd_getfd(2), which Docker's default profile
forbids): the task sends them to us itself, through a socket that it gets for that, in calls that it does not notice.

Another thread may change on the way which ones: they are the task's in any case.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pycontain.platforms.trap.injection import Injection, wrote

if TYPE_CHECKING:
    from pycontain.platforms.trap.traced import Traced

MSGHDR = struct.Struct("<QI4xQQQQI4x")  # name, its size, parts, their number, ancillary data, its size, flags
PART = struct.Struct("<QQ")
CMSG = struct.Struct("<Qii")
PART_AT = MSGHDR.size
DATA_AT = PART_AT + PART.size
CONTROL_AT = DATA_AT + 8
MOST_DESCRIPTORS = 253  # SCM_MAX_FD


class Fetching(Injection):
    """The task's end of a pair has the number `end`; ours is `own`. then: gets the descriptors, which it closes, and
    gives the call's result."""

    __slots__ = ("_end_number", "_numbers", "_own", "_stage", "_then")

    def __init__(self, own: socket.socket, end: int, numbers: Sequence[int], then: Callable[[list[int]], int]) -> None:
        super().__init__([])
        self._own = own
        self._end_number = end
        self._numbers = array("i", numbers)
        self._then = then
        self._stage = 0

    def _borrow(self, traced: Traced) -> None:
        self._borrow_room(traced, CONTROL_AT + socket.CMSG_SPACE(4 * len(self._numbers)))

    def _next(self, traced: Traced) -> None:
        self._stage += 1
        if self._stage == 1 and self._memory and wrote(traced, self._place, self._message()):
            self._make(traced, "sendmsg", (self._end_number, self._place, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL))
        elif self._stage <= 2:
            self._stage = 2
            self._make(traced, "close", (self._end_number,))
        else:
            self._end(traced)

    def _message(self) -> bytes:
        size = CMSG.size + 4 * len(self._numbers)
        control = CMSG.pack(size, socket.SOL_SOCKET, socket.SCM_RIGHTS) + self._numbers.tobytes()
        control = control.ljust(socket.CMSG_SPACE(4 * len(self._numbers)), b"\0")
        place = self._place
        head = MSGHDR.pack(0, 0, place + PART_AT, 1, place + CONTROL_AT, len(control), 0)
        return head + PART.pack(place + DATA_AT, 1) + bytes(8) + control

    def _told(self, traced: Traced, answer: int) -> int:
        with self._own:
            try:
                _, fds, _, _ = socket.recv_fds(self._own, 1, MOST_DESCRIPTORS, socket.MSG_DONTWAIT)
            except OSError:
                return -errno.EBADF
        if len(fds) != len(self._numbers):
            for fd in fds:
                os.close(fd)
            return -errno.EBADF
        try:
            return self._then(fds)
        except OSError as error:
            return -(error.errno or errno.EIO)
