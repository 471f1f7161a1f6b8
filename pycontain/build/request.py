"""One instruction while it is being parsed: its flags are taken one by one, what is left over is unknown."""

from __future__ import annotations

from pycontain.build.instructions import CommandLine
from pycontain.build.lines import Line
from pycontain.build.splitting import SPACE, split_json


class Request:
    """One instruction while it is parsed. `take` hands out flags; what is left over is unknown."""

    def __init__(self, keyword: str, rest: str, line: Line, escape: str, file: str) -> None:
        self.keyword = keyword
        self.rest = rest
        self.line = line
        self.escape = escape
        self.file = file
        self.flags: dict[str, list[str | None]] = {}

    def take(self, name: str) -> str:
        """The value of a flag, "" when it is not given."""
        values = self.flags.pop(name, None)
        if values is None:
            return ""
        if len(values) > 1:
            raise ValueError(f"duplicate flag specified: --{name}")
        if values[0] is None:
            raise ValueError(f"missing a value on flag: --{name}")
        return values[0]

    def take_all(self, name: str) -> tuple[str, ...]:
        values = self.flags.pop(name, [])
        if None in values:
            raise ValueError(f"missing a value on flag: --{name}")
        return tuple(value for value in values if value is not None)

    def take_bool(self, name: str) -> bool | None:
        values = self.flags.pop(name, None)
        if values is None:
            return None
        if len(values) > 1:
            raise ValueError(f"duplicate flag specified: --{name}")
        if values[0] not in (None, "true", "false"):
            raise ValueError(f"expecting boolean value for flag --{name}, not {values[0]!r}")
        return values[0] != "false"

    def not_yet(self, name: str) -> None:
        """Refuse a flag that Docker has and this package does not have yet."""
        if name in self.flags:
            value = self.flags[name][0]
            written = f"--{name}" if value is None else f"--{name}={value.split(',')[0]}"
            raise ValueError(f"not supported yet: {self.keyword} {written}")

    def words(self) -> list[str]:
        """The arguments: a JSON list, or words at spaces."""
        listed = split_json(self.rest)
        return listed if listed is not None else SPACE.split(self.rest) if self.rest else []

    def one(self) -> str:
        if not self.rest:
            raise ValueError(f"{self.keyword} requires an argument")
        return self.rest

    def command(self, text: str | None = None) -> CommandLine:
        text = self.rest if text is None else text
        listed = split_json(text)
        if listed is not None:
            return CommandLine(tuple(listed), False)
        return CommandLine((text,) if text else (), True, self.line.heredocs)
