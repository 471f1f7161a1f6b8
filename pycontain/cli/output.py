"""How every listing is printed: Docker's aligned columns, JSON lines, or a template."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pycontain.cli.template import Template, to_json

Row = Mapping[str, Any]


def print_rows(
    rows: Sequence[Row],
    columns: Sequence[tuple[str, str]],
    *,
    form: str | None = None,
    quiet: str | None = None,
    headers: Mapping[str, str] | None = None,
    write: Callable[[str], object] | None = None,
) -> None:
    """Print rows. columns: (header, field) as the table shows them; headers: those of other fields.

    form: None or "table", "json" (one object per line), "table TEMPLATE" or a template;
    quiet: print this field alone.
    """
    out = write or sys.stdout.write
    if quiet is not None and form is None:
        for row in rows:
            out(f"{row[quiet]}\n")
        return
    if form == "json":
        for row in rows:
            out(to_json(dict(row)) + "\n")
        return
    if form in (None, "", "table"):
        shown = [tuple(header for header, _ in columns)]
        shown += [tuple(str(row[field]) for _, field in columns) for row in rows]
        for line in align(shown):
            out(line + "\n")
        return
    assert form is not None
    is_table = form.startswith("table ")
    source = form[6:] if is_table else form
    template = Template(source.replace("\\t", "\t").replace("\\n", "\n"))
    lines = [template.render(dict(row)) for row in rows]
    if not is_table:
        for text in lines:
            out(text + "\n")
        return
    names = {field: header for header, field in columns} | dict(headers or {})
    fields = iter(template.fields())
    header = "".join(
        text if kind == "text" else names.get(field := next(fields, ""), field.upper())
        for kind, text in template.parts
    )
    for line in align([tuple(text.split("\t")) for text in (header, *lines)]):
        out(line + "\n")


def align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as Docker aligns them: at least 20 wide in all but narrow ones, three blanks between."""
    widths: list[int] = []
    for row in rows:
        for index, cell in enumerate(row[:-1]):
            if index == len(widths):
                widths.append(0)
            widths[index] = max(widths[index], len(cell))
    lines = []
    for row in rows:
        cells = [cell.ljust(max(widths[index] + 3, 10)) for index, cell in enumerate(row[:-1])]
        lines.append("".join([*cells, row[-1]]).rstrip())
    return lines


def print_objects(objects: Sequence[Any], form: str | None) -> None:
    """inspect: an indented JSON array, one line of JSON each, or a template each."""
    import json

    if form is None:
        print(json.dumps(list(objects), indent=4, ensure_ascii=False))
        return
    if form == "json":
        print(to_json(list(objects)))
        return
    template = Template(form)
    for item in objects:
        print(template.render(item))
