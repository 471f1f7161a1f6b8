"""The part of Go's text/template that `--format` needs (pkg.go.dev/text/template, and Docker's functions).

Fields (.A.B), `index`, `json`, `join`, `split`, `upper`, `lower`, `title`, `println`, `print`, `printf`,
`len`, `truncate`, `pad`, `eq ne lt le gt ge and or not`, pipes, parentheses, variables, `if/else if/else`,
`with`, `range` (also `$k, $v :=`), comments, and the `-` that trims blanks. Anything else is an error.

A template is parsed once into nested tuples and carried out per row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pycontain.errors import PycontainError


class TemplateError(PycontainError):
    """A --format that cannot be understood, or names a field that is not there."""


class _Node(NamedTuple):
    kind: str  # text, pipe, if, range, with
    value: Any
    body: list[_Node] = []
    other: list[_Node] = []


_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<variable>\$\w*)"""
    r"""|(?P<field>\.\w*)|(?P<name>[A-Za-z]\w*)|(?P<sign>:=|[|(),=]))"""
)


_ENDS = (("sign", "|"), ("sign", ")"))


class Template:
    """A parsed template; render(data) gives its text. data: dicts, lists, texts, numbers, bools, None."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._parts = list(self._split())
        self._position = 0
        self._nodes, end = self._block()
        if end:
            raise self._error(f"unexpected {{{{{end}}}}}")

    def render(self, data: Any) -> str:
        """The text for this data. TemplateError where a field is not there."""
        return "".join(self._run(self._nodes, data, {"$": data}))

    def fields(self) -> list[str]:
        """The first names of the fields that the template's plain actions show, for a table's header."""
        return [
            next((word for kind, word in node.value[1] if kind == "field"), "").lstrip(".")
            for node in self._nodes
            if node.kind == "pipe"
        ]

    @property
    def parts(self) -> list[tuple[str, str]]:
        """("text", …) and ("action", the action's source) in order; for table headers."""
        return self._parts

    # -- parsing

    def _error(self, reason: str) -> TemplateError:
        return TemplateError(f"read template {self._source!r}: {reason}")

    def _split(self) -> Iterator[tuple[str, str]]:
        rest, trim = self._source, False
        while rest:
            text, braces, rest = rest.partition("{{")
            if trim:
                text, trim = text.lstrip(), False
            if not braces:
                if text:
                    yield "text", text
                return
            action, braces, rest = _to_closing(rest)
            if not braces:
                raise self._error("an action is not closed")
            if action.startswith("- "):
                text, action = text.rstrip(), action[2:]
            if action.endswith(" -"):
                action, trim = action[:-2], True
            if text:
                yield "text", text
            action = action.strip()
            if not (action.startswith("/*") and action.endswith("*/")):
                yield "action", action

    def _block(self) -> tuple[list[_Node], str]:
        nodes: list[_Node] = []
        while self._position < len(self._parts):
            kind, text = self._parts[self._position]
            self._position += 1
            if kind == "text":
                nodes.append(_Node("text", text))
                continue
            word, _, rest = text.partition(" ")
            if word in ("end", "else"):
                return nodes, text
            if word in ("if", "range", "with"):
                nodes.append(self._compound(word, rest.strip()))
            elif word in ("define", "template", "block", "break", "continue"):
                raise self._error(f"{word} is not there yet")
            else:
                nodes.append(_Node("pipe", (_declared(self._tokens(text)))))
        return nodes, ""

    def _compound(self, word: str, condition: str) -> _Node:
        value = _declared(self._tokens(condition))
        body, end = self._block()
        other: list[_Node] = []
        if end.startswith("else"):
            rest = end[4:].strip()
            if rest.startswith("if "):
                other = [self._compound("if", rest[3:].strip())]
                return _Node(word, value, body, other)
            other, end = self._block()
        if end != "end":
            raise self._error(f"{word} has no {{{{end}}}}")
        return _Node(word, value, body, other)

    def _tokens(self, text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._error(f"{text[position:].strip()!r} is not understood")
            kind = str(match.lastgroup)
            word = match[kind]
            if kind == "field" and tokens and not match[0][0].isspace() and tokens[-1] != ("sign", "("):
                kind = "chain"  # .A.B, $x.A, (…).A: a field of what stands before it
            tokens.append((kind, word))
            position = match.end()
        if not tokens:
            raise self._error("an action is empty")
        return tokens

    # -- carrying out

    def _run(self, nodes: list[_Node], dot: Any, variables: dict[str, Any]) -> Iterator[str]:
        for node in nodes:
            if node.kind == "text":
                yield node.value
                continue
            names, tokens = node.value
            value = _Evaluation(self, tokens, dot, variables).pipeline()
            if node.kind == "pipe":
                if names:
                    variables[names[0]] = value
                else:
                    yield show(value)
            elif node.kind == "range":
                yield from self._range(node, names, value, dot, variables)
            elif truth(value):
                inner = dict(variables)
                if names:
                    inner[names[0]] = value
                yield from self._run(node.body, value if node.kind == "with" else dot, inner)
            else:
                yield from self._run(node.other, dot, dict(variables))

    def _range(
        self, node: _Node, names: list[str], value: Any, dot: Any, variables: dict[str, Any]
    ) -> Iterator[str]:
        if isinstance(value, dict):
            pairs: list[tuple[Any, Any]] = sorted(value.items())
        elif isinstance(value, int):
            pairs = [(n, n) for n in range(value)]
        else:
            pairs = list(enumerate(value or ()))
        if not pairs:
            yield from self._run(node.other, dot, dict(variables))
        for key, item in pairs:
            inner = dict(variables)
            if len(names) == 2:
                inner[names[0]], inner[names[1]] = key, item
            elif names:
                inner[names[0]] = item
            yield from self._run(node.body, item, inner)


def _to_closing(text: str) -> tuple[str, str, str]:
    """Split at the first }} that is not inside a quoted text."""
    position, quote = 0, ""
    while position < len(text):
        letter = text[position]
        if quote:
            if letter == "\\" and quote == '"':
                position += 1
            elif letter == quote:
                quote = ""
        elif letter in '"`':
            quote = letter
        elif text.startswith("}}", position):
            return text[:position], "}}", text[position + 2 :]
        position += 1
    return text, "", ""


def _declared(tokens: list[tuple[str, str]]) -> tuple[list[str], list[tuple[str, str]]]:
    """The variables that a pipeline sets ("$k, $v :="), and the rest of it."""
    signs = [index for index, token in enumerate(tokens) if token in (("sign", ":="), ("sign", "="))]
    if not signs:
        return [], tokens
    return [word for kind, word in tokens[: signs[0]] if kind == "variable"], tokens[signs[0] + 1 :]


class _Evaluation:
    """One pipeline over one dot."""

    def __init__(
        self, template: Template, tokens: list[tuple[str, str]], dot: Any, variables: dict[str, Any]
    ) -> None:
        self._template = template
        self._tokens = tokens
        self._at = 0
        self._dot = dot
        self._variables = variables

    def pipeline(self) -> Any:
        piped: list[Any] = []
        while True:
            value = self._command(piped)
            if self._at >= len(self._tokens) or self._tokens[self._at] != ("sign", "|"):
                return value
            self._at += 1
            piped = [value]

    def _command(self, piped: list[Any]) -> Any:
        kind, word = self._peek()
        if kind == "name" and word not in ("true", "false", "nil"):
            self._at += 1
            function = FUNCTIONS.get(word)
            if function is None:
                raise self._template._error(f"function {word} is not there")
            arguments = []
            while self._at < len(self._tokens) and self._tokens[self._at] not in _ENDS:
                arguments.append(self._operand())
            try:
                return function(*arguments, *piped)
            except (TypeError, ValueError, LookupError) as error:
                raise self._template._error(f"{word}: {error}") from None
        if piped:
            raise self._template._error("what stands after | is not a function")
        value = self._operand()
        following = self._tokens[self._at : self._at + 1]
        if following and following[0] not in _ENDS:
            raise self._template._error(f"{following[0][1]!r} is one word too many")
        return value

    def _peek(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise self._template._error("a value is missing")
        return self._tokens[self._at]

    def _operand(self) -> Any:
        kind, word = self._peek()
        self._at += 1
        value: Any
        if kind == "text":
            return word[1:-1] if word[0] == "`" else json.loads(word)
        if kind == "number":
            return float(word) if "." in word else int(word)
        if kind == "name":
            if word not in ("true", "false", "nil"):
                raise self._template._error(f"function {word} needs parentheses here")
            return {"true": True, "false": False, "nil": None}[word]
        if (kind, word) == ("sign", "("):
            value = self.pipeline()
            if self._peek() != ("sign", ")"):
                raise self._template._error("a parenthesis is not closed")
            self._at += 1
        elif kind == "variable":
            if word not in self._variables:
                raise self._template._error(f"variable {word} is not set")
            value = self._variables[word]
        elif kind == "field":
            value = self._dot if word == "." else self._field(self._dot, word[1:])
        else:
            raise self._template._error(f"{word!r} is not a value")
        while self._at < len(self._tokens) and self._tokens[self._at][0] == "chain":
            value = self._field(value, self._tokens[self._at][1][1:])
            self._at += 1
        return value

    def _field(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            if name in value:
                return value[name]
            lowered = {key.lower(): key for key in value if isinstance(key, str)}
            if name.lower() in lowered:
                return value[lowered[name.lower()]]
            raise self._template._error(f"there is no field {name}: {_names(value)}")
        if value is None:
            return None
        raise self._template._error(f"a {type(value).__name__} has no field {name}")


def _names(value: dict[str, Any]) -> str:
    return "there are " + ", ".join(sorted(map(str, value))[:40]) if value else "there are none"


def truth(value: Any) -> bool:
    """Go's: zero, nil and what is empty are false."""
    return bool(value)


def show(value: Any) -> str:
    """A value as Go prints it with %v."""
    if value is None:
        return "<no value>"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(show(item) for item in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(item)}" for key, item in sorted(value.items())) + "]"
    return str(value)


def to_json(value: Any) -> str:
    """As Docker's `json` function: no spaces, the order of the fields as they are."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif value is not None:
            value = value[key]
    return value


def _printf(form: str, *values: Any) -> str:
    rest = list(values)

    def one(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        if not rest:
            return f"%!{match[2]}(MISSING)"
        value = rest.pop(0)
        if match[2] == "q":
            return json.dumps(show(value))
        if match[2] in "sv":
            value, verb = show(value), "s"
        else:
            verb = match[2]
        return str(("%" + match[1] + verb) % value)

    return re.sub(r"%([-+ 0#]*\d*(?:\.\d+)?)([a-zA-Z%])", one, form)


def _equal(first: Any, *others: Any) -> bool:
    return any(first == other for other in others)


def _and(*values: Any) -> Any:
    return next((value for value in values if not truth(value)), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if truth(value)), values[-1])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": _and,
    "eq": _equal,
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "index": _index,
    "join": lambda values, separator: separator.join(show(value) for value in values or ()),
    "json": to_json,
    "le": lambda a, b: a <= b,
    "len": lambda value: len(value or ()),
    "lower": lambda text: show(text).lower(),
    "lt": lambda a, b: a < b,
    "ne": lambda a, b: a != b,
    "not": lambda value: not truth(value),
    "or": _or,
    "pad": lambda text, before, after: " " * before + text + " " * after if text else text,
    "print": lambda *values: "".join(show(value) for value in values),
    "printf": _printf,
    "println": lambda *values: " ".join(show(value) for value in values) + "\n",
    "split": lambda text, separator: text.split(separator),
    "title": lambda text: text[:1].upper() + text[1:],
    "truncate": lambda text, length: text[:length],
    "upper": lambda text: show(text).upper(),
}
