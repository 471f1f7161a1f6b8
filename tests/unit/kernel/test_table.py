"""The table of calls: what it says of each is carried out by somebody, and explained."""

from __future__ import annotations

from pycontain.kernel import table
from pycontain.platforms.trap import x86_64 as arch

ROWS = table.build()


def test_every_row_is_a_call_of_the_processor() -> None:
    assert set(ROWS) <= set(arch.NUMBERS)


def test_a_row_says_one_thing() -> None:
    for row in ROWS.values():
        assert row.status in (table.SUPPORTED, table.PARTIAL, table.REFUSED)
        assert not (row.function is not None and row.error), row.name
        if row.status == table.REFUSED:
            assert row.error and row.note, row.name
        if row.status == table.PARTIAL:
            assert row.note, row.name


def test_numbers_are_those_of_linux() -> None:
    known = {"read": 0, "execve": 59, "openat": 257, "rseq": 334, "pidfd_send_signal": 424, "clone3": 435,
             "openat2": 437, "faccessat2": 439, "fchmodat2": 452}  # fmt: skip
    assert {name: arch.NUMBERS[name] for name in known} == known
