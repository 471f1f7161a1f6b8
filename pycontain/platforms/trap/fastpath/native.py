"""fastpath.c as Python sees it: a cache that the kernel fills, and the wait of its event loop."""

from __future__ import annotations

import ctypes
import os
import platform
import select
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from pycontain.platforms.base import Missing

HERE = os.path.dirname(os.path.abspath(__file__))
EVENTS, CALLS, MOST_MADE, MADE_SHIFT = 64, 512, 256, 16
# struct out: descriptor, events; what was missing; the notification
OUT_SIZE, NOTIF_AT, NOTIF_SIZE = 376, 296, 80
OUT, MISSING = struct.Struct("<II"), struct.Struct("<8xIIQQI256s")
# in events: its call has been answered; its call has been received, and is the notification of that number
SERVED, RECEIVED, INDEX_SHIFT = 1 << 19, 1 << 20, 21
MADE = struct.Struct("<IIi4xQQ")
TREE = struct.Struct("<4Ii2Ii2IQ64Q")
IDENTITY = struct.Struct("<9I32I")
IDENTITIES = 64

_INT, _UINT, _LONG, _TEXT = ctypes.c_int32, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_char_p


class FastPath:
    """See platforms.base.FastPath, which is what the kernel sees, and fastpath.c.

    epoch: as long as it is the same, what has been told of tasks holds. Numbers are 32 bits but for those of the host.
    """

    trees, identities, groups, most_text = 1024, IDENTITIES, 32, 256

    def __init__(self, library: str, poll: select.epoll) -> None:
        """Raises OSError where the library cannot be loaded, MemoryError."""
        quick = ctypes.PyDLL(library)  # its functions keep the interpreter's lock: they take less than that would
        opened = quick.fastpath_open
        opened.restype, opened.argtypes = ctypes.c_void_p, [_INT]
        at = opened(poll.fileno())
        if at is None:
            raise MemoryError

        def bind(name: str, *arguments: Any, result: Any = None, library: ctypes.CDLL = quick) -> Any:
            function = library[f"fastpath_{name}"]
            function.argtypes, function.restype = [ctypes.c_void_p, *arguments], result
            return partial(function, at)

        self._wait = bind("wait", _INT, result=_INT, library=ctypes.CDLL(library))
        self._tree, self._identity = (bind(name, _UINT, result=ctypes.c_void_p) for name in ("tree", "identity"))
        self._new_epoch = bind("new_epoch")
        self.listen = bind("listen", _UINT, _UINT)
        self.show = bind("task", _UINT, _INT, _INT, _UINT, _UINT, _UINT, _UINT, _UINT)
        self.hide, self.gone = bind("hide", _UINT), bind("gone", _UINT)
        self.take_calls = bind("take_calls", _UINT, result=_UINT)
        self.learn_name = bind("learn_name", _UINT, _UINT, _TEXT, _UINT, _UINT)
        self.forget_name = bind("forget_name", _UINT, _UINT, _TEXT, _UINT)
        self.complete = bind("complete", _UINT, _UINT, _UINT)
        self.names_generation = bind("names_generation", result=_UINT)
        self.learn_node = bind("learn_node", _UINT, _UINT, _UINT, _UINT, _TEXT, _TEXT, _UINT)
        self.forget_node = bind("forget_node", _UINT, _UINT)
        self.learn_file = bind("learn_file", _UINT, _UINT, _TEXT, _UINT)
        self.learn_listing = bind("learn_listing", _UINT, _UINT, _TEXT, _UINT, _UINT)
        self.learn_host = bind("learn_host", _UINT, _LONG, _LONG, _UINT, _INT, _LONG, _LONG)
        self.forget_host = bind("forget_host", _UINT, _LONG, _LONG)
        out, calls = bind("out", result=ctypes.c_void_p)(), bind("calls", result=ctypes.c_void_p)()
        self._out = memoryview((ctypes.c_char * (OUT_SIZE * EVENTS)).from_address(out)).cast("B")
        self._calls = (_LONG * CALLS).from_address(calls)
        self._made = memoryview((ctypes.c_char * (MADE.size * MOST_MADE)).from_address(
            bind("made", result=ctypes.c_void_p)()
        )).cast("B")
        self._made_known = bind("made_known")
        self.set_room = bind("set_room", _UINT, _UINT)
        self.made: Callable[[list[tuple[int, int, int, int, int]]], None] = lambda made: None
        self.changed: set[Any] = set()
        self._spaces = 0
        self.epoch = 0

    @classmethod
    def load(cls, poll: select.epoll) -> FastPath | None:
        """None on other machines, where the host maps no code of ours, and where PYCONTAIN_FASTPATH is 0."""
        if os.environ.get("PYCONTAIN_FASTPATH") == "0":
            return None
        try:
            return cls(os.path.join(HERE, f"{platform.machine()}.so"), poll)
        except (OSError, MemoryError, AttributeError):
            return None

    # -- waiting

    def wait(self, timeout: int = -1) -> list[tuple[int, int]]:
        """What is left to do, as epoll.poll() tells it. timeout: ms."""
        count = self._wait(timeout)
        if count >= 1 << MADE_SHIFT:
            made = [MADE.unpack_from(self._made, number * MADE.size) for number in range(count >> MADE_SHIFT)]
            count &= (1 << MADE_SHIFT) - 1
            self._made_known()
            self.made(made)
        if count == 1:
            return [OUT.unpack_from(self._out)]
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        return [OUT.unpack_from(self._out, number * OUT_SIZE) for number in range(count)]

    def received(self, events: int) -> bytes:
        """The notification that came with an event."""
        start = (events >> INDEX_SHIFT) * OUT_SIZE + NOTIF_AT
        return bytes(self._out[start : start + NOTIF_SIZE])

    def missing(self, events: int) -> Missing | None:
        """What it would have taken to answer it."""
        kind, ino, device, host_ino, length, name = MISSING.unpack_from(
            self._out, (events >> INDEX_SHIFT) * OUT_SIZE
        )
        return Missing(kind, ino, device, host_ino, name[:length]) if kind else None

    def answered(self) -> list[int]:
        """How many calls have been, by number."""
        return list(self._calls)

    # -- who

    def new_epoch(self) -> None:
        self.epoch += 1
        self._new_epoch()

    def new_space(self) -> int:
        self._spaces += 1
        return self._spaces

    def set_tree(self, index: int, *values: int) -> None:
        """space, image, image_next, mount, files, watched, read_only, place, number, room, changed, 64 times covered."""
        memory = (ctypes.c_char * TREE.size).from_address(self._tree(index))
        TREE.pack_into(memory, 0, *values)

    def set_identity(self, index: int, *values: int) -> None:
        """everywhere, fsuid, fsgid, uid, euid, gid, egid, same, count, then groups."""
        memory = (ctypes.c_char * IDENTITY.size).from_address(self._identity(index))
        IDENTITY.pack_into(memory, 0, *values)
