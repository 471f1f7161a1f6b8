"""What a container has printed.

The kernel writes containers/<id>/log: records of "<QBI" (time in ns, stream 1 or 2, length) and the bytes,
as the program wrote them; lines are found here, when somebody reads.
"""

from __future__ import annotations

import os
import struct
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of

_HEADER = struct.Struct("<QBI")
_POLL = 0.05
"""Seconds between two looks at a log that is followed."""


class Record(NamedTuple):
    """time: ns since the epoch; stream: 1 standard output (and terminals), 2 standard error."""

    time: int
    stream: int
    data: bytes


class LogReader:
    """Reads a log that may still grow; a record that is not complete yet stays for the next time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[Record]:
        """The records since the last call."""
        if not os.path.exists(self._path):
            return  # nothing was printed yet
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            while len(header := file.read(_HEADER.size)) == _HEADER.size:
                moment, stream, length = _HEADER.unpack(header)
                data = file.read(length)
                if len(data) < length:
                    return
                self._offset += _HEADER.size + length
                yield Record(moment, stream, data)


class Lines:
    """Cuts each stream's records into lines; a line's time is that of its first byte."""

    def __init__(self) -> None:
        self._rest: dict[int, Record] = {}

    def feed(self, record: Record) -> Iterator[Record]:
        """The lines that this record completes, with their newlines."""
        begun = self._rest.pop(record.stream, None)
        moment = begun.time if begun is not None else record.time
        data = begun.data + record.data if begun is not None else record.data
        *lines, rest = data.split(b"\n")
        for line in lines:
            yield Record(moment, record.stream, line + b"\n")
            moment = record.time
        if rest:
            self._rest[record.stream] = Record(moment, record.stream, rest)

    def remaining(self) -> Iterator[Record]:
        """What has no newline at its end."""
        yield from sorted(self._rest.values())
        self._rest.clear()


def read_log(
    engine: Engine,
    container: Container,
    *,
    follow: bool = False,
    tail: int | None = None,
    since: int | None = None,
    until: int | None = None,
    whole_lines: bool = False,
) -> Iterator[Record]:
    """What the container printed, in order; with follow, until it ends.

    tail: only that many last lines of what is there now. since, until: ns since the epoch.
    whole_lines: one record per line, for timestamps.
    """
    reader = LogReader(os.path.join(container.directory, "log"))
    running = follow and _runs(engine, container)  # asked before the reading: nothing is missed then
    lines = Lines()
    by_line = whole_lines or tail is not None
    records = _lines(reader, lines, last=not running) if by_line else reader.read()
    chosen: Iterator[Record] | deque[Record] = (r for r in records if _within(r, since, until))
    if tail is not None:
        chosen = deque(chosen, maxlen=tail)
    yield from chosen
    if by_line and not whole_lines and running:
        yield from (r for r in lines.remaining() if _within(r, since, until))
    while running:
        if until is not None and time.time_ns() > until:
            return
        time.sleep(_POLL)
        running = _runs(engine, container)
        for record in _lines(reader, lines, last=not running) if whole_lines else reader.read():
            if _within(record, since, until):
                yield record


def _lines(reader: LogReader, lines: Lines, *, last: bool) -> Iterator[Record]:
    for record in reader.read():
        yield from lines.feed(record)
    if last:
        yield from lines.remaining()


def _within(record: Record, since: int | None, until: int | None) -> bool:
    return (since is None or record.time >= since) and (until is None or record.time <= until)


def _runs(engine: Engine, container: Container) -> bool:
    if not os.path.isdir(container.directory):
        return False
    return state_of(container, live_containers(engine)).is_running
