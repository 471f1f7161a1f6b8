"""A descriptor that a task hands over to us, where the host forbids pidfd_getfd(2), as Docker's default profile does.

The task sends it through a socket, in calls that it does not notice (injection.py). What comes may be something else,
if another of its threads meddles: who takes it looks at what it is.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from collections.abc import Sequence

from pycontain.platforms.base import Call, Pointing

# struct msghdr, with struct iovec, struct cmsghdr and one byte behind it
MESSAGE = struct.Struct("<QI4xQQQQi4x QQ Qiii4x 8s")
VECTOR_AT, CONTROL_AT, BYTE_AT = 56, 72, 96
CONTROL_SIZE, CONTROL_LENGTH = 24, 20


class Handover:
    """Of the descriptor that the task has under the number fd."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def theirs(self) -> int:
        """The task's end; it belongs to the caller."""
        return self._theirs.detach()

    def calls(self, end: int) -> Sequence[Call]:
        """What the task does; end: the number that its end has there."""
        message = MESSAGE.pack(
            0, 0, VECTOR_AT, 1, CONTROL_AT, CONTROL_SIZE, 0, BYTE_AT, 1,
            CONTROL_LENGTH, socket.SOL_SOCKET, socket.SCM_RIGHTS, self.fd, b"x",
        )  # fmt: skip
        pointing = Pointing(message, (16, 32, VECTOR_AT))  # msg_iov, msg_control, iov_base
        return [("sendmsg", (end, pointing, socket.MSG_DONTWAIT)), ("close", (end,))]

    def receive(self) -> int:
        """The descriptor. Raises PermissionError if none has come."""
        numbers = array.array("i")
        try:
            _, control, _, _ = self._ours.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
        except OSError:
            control = []
        finally:
            self.close()
        for level, kind, data in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers.frombytes(data[: len(data) - len(data) % 4])
        for number in numbers[1:]:
            os.close(number)
        if not numbers:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return numbers[0]

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()
