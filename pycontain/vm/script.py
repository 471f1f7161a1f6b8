"""A table for the guest whose checked calls have names, so that a failure can be told as one sentence."""

from __future__ import annotations

import os

from pycontain.errors import MachineError
from pycontain.vm.table import Ref, Reply, Row, Table

O_WRONLY = 1


class Script:
    """It remembers what each result means."""

    def __init__(self) -> None:
        self.table = Table()
        self._checks: list[tuple[int, str]] = []
        self._results = 0
        self.shares = 0

    def want(self, row: Row | Ref) -> int:
        """The index of its result in the reply."""
        self.table.keep(row)
        self._results += 1
        return self._results - 1

    def must(self, what: str, name: str, *arguments: int | Ref) -> Row:
        """A call that has to succeed; what: as in "mount the root file system"."""
        row = self.table.call(name, *arguments)
        self._checks.append((self.want(row), what))
        return row

    def collect(self, name: str, *arguments: int | Ref, most: int) -> int:
        """As Table.collect; the index of the result."""
        self.table.collect(name, *arguments, most=most)
        self._results += 1
        return self._results - 1

    def check(self, reply: Reply) -> None:
        """MachineError for the first call that failed."""
        for index, what in self._checks:
            result = reply.results[index]
            if result < 0:
                raise MachineError(f"{what} in the guest: {os.strerror(-result)}")

    def write_file(self, path: bytes, data: bytes, flags: int = O_WRONLY, what: str = "") -> None:
        """Open, write, close; checked where `what` says what it is."""
        call = (lambda *a: self.must(what, *a)) if what else self.table.call
        opened = call("open", self.table.text(path), flags, 0o644)
        call("write", opened, self.table.data(data), len(data))
        self.table.call("close", opened)

    def mkdir(self, path: bytes, mode: int = 0o755) -> None:
        """Whether or not it is there already."""
        self.table.call("mkdir", self.table.text(path), mode)

    def mount(
        self, what: str, source: bytes, target: bytes, kind: bytes, flags: int = 0, options: bytes = b""
    ) -> None:
        """A checked mount."""
        t = self.table
        data = t.text(options) if options else 0
        self.must(what, "mount", t.text(source), t.text(target), t.text(kind), flags, data)
