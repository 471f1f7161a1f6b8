"""A client's input on its way into a machine."""

from __future__ import annotations

import asyncio
import os

from pycontain.vm.machine import Machine
from pycontain.vm.session import Session

PIECE = 1 << 16
RETRY = 0.02
"""Seconds until a program that had enough is offered more."""


class Feed:
    """What can be read from source, which is taken over, goes to the program, until either has ended."""

    def __init__(self, machine: Machine, session: Session, source: int) -> None:
        os.set_blocking(source, False)
        self._machine = machine
        self._session = session
        self._source = source
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(source, self._ready)
        session.done.append(self._ended)

    def _ready(self) -> None:
        if self._over:
            return
        if self._session.exit_code is not None or self._session.input < 0:
            self._stop()
            return
        if not self._machine.wants_input(self._session):
            self._loop.remove_reader(self._source)
            self._loop.call_later(RETRY, self._again)
            return
        try:
            data = os.read(self._source, PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._machine.feed(self._session, data)
        if not data:
            self._stop()

    def _ended(self, _: Session) -> None:
        self._loop.call_soon(self._ready)

    def _again(self) -> None:
        if not self._over:
            self._loop.add_reader(self._source, self._ready)

    def _stop(self) -> None:
        self._over = True
        self._loop.remove_reader(self._source)
        os.close(self._source)


def feed_terminal(machine: Machine, session: Session) -> None:
    """What the client writes to its terminal goes to the program's."""
    Feed(machine, session, os.dup(session.slave))
