"""The options of the hot verbs as plain data, and the parser for them.

Docker's grammar (pflag's): `--name value`, `--name=value`, `--flag`, `--flag=false`, `-n value`, `-nvalue`,
`-n=value`, `-itd`; `--` ends the options, and so does the first word that is none.
"""

from __future__ import annotations

from pycontain.errors import PycontainError

FLAG = "flag"
VALUE = "value"
LIST = "list"
"""LIST may be given more than once; its value is a list."""
LATER_FLAG = "later flag"
LATER = "later"
"""Options of Docker's that are not there yet: using one is an error that says so."""

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class UsageError(PycontainError):
    """A command line that cannot be understood."""


class Option:
    """One option. name: long, without dashes; short: one letter or ""; instead: what to do without it."""

    __slots__ = ("help", "instead", "kind", "metavar", "name", "short")

    def __init__(
        self, name: str, short: str, kind: str, help: str, metavar: str = "", instead: str = ""
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.help = help
        self.metavar = metavar
        self.instead = instead

    @property
    def key(self) -> str:
        """The name under which parse() returns the value."""
        return self.name.replace("-", "_")


class Table:
    """A verb's options. usage: what follows the verb in its usage line; least: how many words it needs."""

    __slots__ = ("help", "least", "options", "usage", "verb")

    def __init__(self, verb: str, usage: str, least: int, help: str, options: tuple[Option, ...]) -> None:
        self.verb = verb
        self.usage = usage
        self.least = least
        self.help = help
        self.options = options


class Values(dict[str, object]):
    """What parse() found: option key -> value. An option that was not given is absent."""

    def flag(self, key: str) -> bool:
        """Whether the flag is set."""
        return bool(self.get(key))

    def text(self, key: str) -> str | None:
        """The value of a VALUE option, None if it was not given."""
        value = self.get(key)
        return value if isinstance(value, str) else None

    def texts(self, key: str) -> list[str]:
        """The values of a LIST option in their order."""
        value = self.get(key)
        return [str(item) for item in value] if isinstance(value, list) else []


def parse(table: Table, arguments: list[str]) -> tuple[Values, list[str]]:
    """The options given and the words after them. UsageError where they do not fit the table."""
    long = {option.name: option for option in table.options}
    short = {option.short: option for option in table.options if option.short}
    values = Values()
    rest = list(arguments)
    while rest:
        word = rest[0]
        if word == "--":
            del rest[0]
            break
        if len(word) < 2 or word[0] != "-":
            break
        del rest[0]
        if word[1] == "-":
            name, equals, value = word[2:].partition("=")
            option = long.get(name)
            if option is None:
                raise _unknown(table, f"--{name}", long)
            _store(table, values, option, f"--{name}", value if equals else None, rest)
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            option = short.get(letter)
            if option is None:
                raise _unknown(table, f"-{letter}", long)
            if option.kind in (FLAG, LATER_FLAG) and letters[:1] != "=":
                _store(table, values, option, f"-{letter}", None, rest)
                continue
            _store(table, values, option, f"-{letter}", letters.removeprefix("=") if letters else None, rest)
            letters = ""
    if len(rest) < table.least:
        raise UsageError(
            f"{table.verb}: {table.usage.split()[table.least]} is missing",
            hint=f"usage: pycontain {table.verb} {table.usage}",
        )
    return values, rest


def _store(
    table: Table, values: Values, option: Option, word: str, value: str | None, rest: list[str]
) -> None:
    if option.kind in (LATER, LATER_FLAG):
        if option.kind == LATER_FLAG and value in _FALSE:
            return
        raise UsageError(f"{table.verb}: {word} is not there yet", hint=option.instead or None)
    if option.kind == FLAG:
        if value is not None and value not in _TRUE and value not in _FALSE:
            raise UsageError(f"{table.verb}: {word}={value}: neither true nor false")
        values[option.key] = value is None or value in _TRUE
        return
    if value is None:
        if not rest:
            raise UsageError(f"{table.verb}: {word} needs a value")
        value = rest.pop(0)
    if option.kind == LIST:
        found = values.setdefault(option.key, [])
        assert isinstance(found, list)
        found.append(value)
    else:
        values[option.key] = value


def _unknown(table: Table, word: str, long: dict[str, Option]) -> UsageError:
    from difflib import get_close_matches  # only for a mistake

    close = get_close_matches(word.lstrip("-"), list(long), 1)
    hint = f"did you mean --{close[0]}?" if close else f"see pycontain {table.verb} --help"
    return UsageError(f"{table.verb}: unknown option {word}", hint=hint)
