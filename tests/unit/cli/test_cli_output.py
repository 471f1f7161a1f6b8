"""Templates, tables, units, filters, detach keys."""

from __future__ import annotations

import pytest

from pycontain.cli.changes import apply_changes
from pycontain.cli.filters import Filters
from pycontain.cli.options import UsageError
from pycontain.cli.output import align, print_rows
from pycontain.cli.template import Template, TemplateError
from pycontain.cli.terminal import parse_detach_keys
from pycontain.cli.units import age, size
from pycontain.errors import BuildError
from pycontain.image.config import ImageConfig

DATA = {
    "Names": "box",
    "Config": {"Env": ["A=1", "B=2"], "Labels": {"a.b": "c"}},
    "Nothing": None,
    "True": True,
    "Count": 3,
    "Empty": [],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Names}}", "box"),
        ("{{ .Names }}/{{.Count}}", "box/3"),
        ("{{json .Config.Env}}", '["A=1","B=2"]'),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[a.b:c]"),
        ("{{.Nothing}} {{.True}}", "<no value> true"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{end}}", "a.b=c"),
        ("{{range $i, $e := .Config.Env}}{{$i}}{{$e}};{{end}}", "0A=1;1B=2;"),
        ('{{index .Config.Labels "a.b"}}', "c"),
        ('{{index .Config.Labels "x"}}', ""),
        ("{{(index .Config.Env 1) | lower}}", "b=2"),
        ("{{if .Nothing}}a{{else if .True}}b{{else}}c{{end}}", "b"),
        ("{{with .Config}}{{len .Env}}{{$.Names}}{{end}}", "2box"),
        ('{{.Names | upper | printf "%5s!"}}', "  BOX!"),
        ('{{join .Config.Env ","}}', "A=1,B=2"),
        ('{{if and .True (eq .Names "box" "x")}}yes{{end}}', "yes"),
        ("{{$x := .Names}}{{$x}}{{/* a comment */}}", "box"),
        ("a {{- .Names -}} b", "aboxb"),
        ('{{"}}"}}', "}}"),
        ("{{`raw\\n`}}", "raw\\n"),
        ("{{.names}}", "box"),
        ('{{printf "%d %q %v%%" .Count .Names .True}}', '3 "box" true%'),
        ('{{truncate .Names 2}}{{title .Names}}{{split .Names "o"}}', "boBox[b x]"),
        ("no action", "no action"),
    ],
)
def test_template(template: str, text: str) -> None:
    assert Template(template).render(DATA) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Nosuch}}", "there is no field Nosuch"),
        ("{{.Names.More}}", "has no field More"),
        ("{{.Names", "not closed"),
        ("{{}}", "empty"),
        ("{{if .Names}}", "no {{end}}"),
        ("{{end}}", "unexpected"),
        ("{{nosuch .Names}}", "function nosuch"),
        ("{{.Names .Names}}", "one word too many"),
        ("{{$x}}", "variable"),
        ("{{.Names | 3}}", "not a function"),
        ("{{&}}", "not understood"),
        ('{{template "x"}}', "not there yet"),
        ("{{index .Config.Env 9}}", "index"),
    ],
)
def test_template_mistakes(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message.replace("{", r"\{").replace("}", r"\}")):
        Template(template).render(DATA)


def printed(form: str | None, **options: str) -> str:
    lines: list[str] = []
    rows = [{"ID": "1" * 12, "Names": "a"}, {"ID": "2" * 12, "Names": "long name"}]
    columns = (("CONTAINER ID", "ID"), ("NAMES", "Names"))
    print_rows(rows, columns, form=form, write=lines.append, **options)  # type: ignore[arg-type]
    return "".join(lines)


def test_rows() -> None:
    table = "CONTAINER ID   NAMES\n111111111111   a\n222222222222   long name\n"
    assert printed(None) == printed("table") == printed("table {{.ID}}\\t{{.Names}}") == table
    assert printed(None, quiet="ID") == "111111111111\n222222222222\n"
    assert printed("json").splitlines()[0] == '{"ID":"111111111111","Names":"a"}'
    assert printed("{{.Names}}") == "a\nlong name\n"
    assert printed("table {{upper .Names}}").splitlines()[0] == "NAMES"


def test_alignment_of_unequal_rows() -> None:
    assert align([("A", "B", "C"), ("a" * 12, "", "c")]) == [
        "A              B         C",
        "a" * 12 + " " * 13 + "c",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1234, "1.23kB"), (22_100_000, "22.1MB"), (999_900, "1MB")],
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (600, "10 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (86400 * 3, "3 days"),
        (86400 * 20, "2 weeks"),
        (86400 * 90, "3 months"),
        (86400 * 800, "2 years"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_filters() -> None:
    filters = Filters(["label=a", "label=b=1", "name=x", "name=y"], ("label", "name"))
    assert filters.labels({"a": "", "b": "1"})
    assert not filters.labels({"a": "", "b": "2"})
    assert filters.any("name", lambda value: value == "y")
    assert not filters.any("name", lambda value: value == "z")
    assert filters.any("other", lambda value: False)
    for bad in ("x", "nosuch=1"):
        with pytest.raises(UsageError):
            Filters([bad], ("label",))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("", b""),
        ("a", b"a"),
        ("ctrl-@,ctrl-]", b"\x00\x1d"),
        ("x,ctrl-a", b"x\x01"),
    ],
)
def test_detach_keys(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "word", "ctrl-1", ","])
def test_no_detach_keys(text: str) -> None:
    with pytest.raises(UsageError):
        parse_detach_keys(text)


def test_changes() -> None:
    config = apply_changes(ImageConfig("amd64"), ['CMD ["a"]', "ENV A=1 B=$A", "WORKDIR /w", "LABEL x=y"])
    assert config.config.cmd == ("a",)
    assert config.config.environment()["A"] == "1"
    assert (config.config.working_dir, dict(config.config.labels)) == ("/w", {"x": "y"})
    assert config.history == ()
    for bad in ("RUN true", "COPY a b", "NOSUCH x", "FROM x"):
        with pytest.raises(BuildError):
            apply_changes(ImageConfig("amd64"), [bad])
