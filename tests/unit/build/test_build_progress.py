"""What a build shows, as text and on a terminal."""

from __future__ import annotations

import io
import re

import pytest

from pycontain.build.progress import Progress, Quiet, Terminal, progress_for


def told(progress: Progress) -> None:
    """The same story for every kind."""
    progress.step("[2/3]", "RUN make")
    progress.output(1, b"one\ntw")
    progress.output(2, b"o\r\n50%\r100%\n\xff")
    progress.done()
    progress.cached("[3/3]", "COPY a b")
    progress.warn("careful")
    progress.result("sha256:1", ["a:latest"])


def without_times(text: str) -> str:
    return re.sub(r"\d+\.\ds", "TIME", text)


def test_plain() -> None:
    out = io.StringIO()
    told(Progress(out))
    assert without_times(out.getvalue()).splitlines() == [
        "[2/3] RUN make",
        "      | one",
        "      | two",
        "      | 100%",
        "      | \ufffd",
        "[2/3] DONE TIME",
        "[3/3] CACHED COPY a b",
        "warning: careful",
        "sha256:1 a:latest",
    ]


def test_quiet() -> None:
    out = io.StringIO()
    told(Quiet(out))
    assert out.getvalue() == "warning: careful\n"


class Screen:
    """As much of a terminal as the progress uses: up, clear line, clear below."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = 0

    def feed(self, text: str) -> None:
        for piece in re.findall(r"\x1b\[\d*[AJK]|\n|[^\x1b\n]+", text):
            if piece == "\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            elif piece.endswith("A") and piece.startswith("\x1b"):
                self.row -= int(piece[2:-1] or 1)
            elif piece == "\x1b[J":
                del self.lines[self.row + 1 :]
                self.lines[self.row] = ""
            elif piece == "\x1b[2K":
                self.lines[self.row] = ""
            else:
                self.lines[self.row] = piece


def test_terminal() -> None:
    out = io.StringIO()
    told(Terminal(out, 80))
    screen = Screen()
    screen.feed(without_times(out.getvalue()))
    assert screen.lines == [
        "[2/3] TIME RUN make",
        "[3/3] CACHED COPY a b",
        "warning: careful",
        "sha256:1 a:latest",
        "",
    ]


def test_terminal_shows_the_last_lines_of_a_running_step() -> None:
    out = io.StringIO()
    progress = Terminal(out, 40)
    progress.step("[1/1]", "RUN " + "x" * 100)
    progress.output(1, b"".join(b"line %d \x1b[31m%s\n" % (number, b"y" * 100) for number in range(20)))
    screen = Screen()
    screen.feed(out.getvalue())
    assert len(screen.lines) == 8
    assert screen.lines[1].startswith("      | line 14")
    assert all(len(line) < 40 for line in screen.lines)
    progress.failed()
    assert "[1/1] ERROR" in out.getvalue()


@pytest.mark.parametrize(("kind", "made"), [("auto", Progress), ("plain", Progress), ("tty", Terminal)])
def test_kinds(kind: str, made: type[Progress]) -> None:
    assert type(progress_for(kind, io.StringIO())) is made
    assert type(progress_for(kind, io.StringIO(), quiet=True)) is Quiet
