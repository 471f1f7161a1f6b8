"""pycontain history: show how an image was made."""

from __future__ import annotations

import time
from typing import Any

import click

from pycontain.cli.output import print_rows
from pycontain.cli.units import age, size
from pycontain.engine.clock import parse_time
from pycontain.engine.engine import Engine

COLUMNS = (
    ("IMAGE", "ID"),
    ("CREATED", "CreatedSince"),
    ("CREATED BY", "CreatedBy"),
    ("SIZE", "Size"),
    ("COMMENT", "Comment"),
)


@click.command()
@click.argument("image")
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@click.option("-H", "--human/--no-human", default=True, help="Sizes and dates as people write them.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten.")
@click.option("-q", "--quiet", is_flag=True, help="Only IDs.")
def history(image: str, form: str | None, human: bool, no_trunc: bool, quiet: bool) -> None:
    """Show how an image was made, the last step first."""
    found = Engine().store.image(image)
    config = found.config
    sizes = [layer.size for layer in found.layers]
    rows: list[dict[str, Any]] = []
    for step in config.history:
        used = 0 if step.empty_layer or not sizes else sizes.pop(0)
        created = parse_time(step.created, 0) if step.created else 0
        by = step.created_by or ""
        if not no_trunc:
            by = " ".join(by.split())
            by = by[:44] + "…" if len(by) > 45 else by
        since = age(time.time() - created / 1e9) + " ago" if created else "N/A"
        rows.append(
            {
                "Comment": step.comment or "",
                "CreatedAt": step.created or "",
                "CreatedBy": by,
                "CreatedSince": since if human else step.created or "",
                "ID": "<missing>",
                "Size": size(used) if human else str(used),
            }
        )
    rows.reverse()
    if rows:
        rows[0]["ID"] = found.id if no_trunc else found.id.removeprefix("sha256:")[:12]
    print_rows(rows, COLUMNS, form=form, quiet="ID" if quiet else None)
