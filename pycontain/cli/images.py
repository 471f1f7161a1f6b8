"""pycontain images: list images."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from pycontain.cli.filters import Filters
from pycontain.cli.options import UsageError
from pycontain.cli.output import print_rows
from pycontain.cli.units import age, size
from pycontain.engine.clock import parse_time
from pycontain.engine.engine import Engine
from pycontain.errors import PycontainError
from pycontain.image.reference import Reference
from pycontain.store.images import Image

COLUMNS = (
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
)
WITH_DIGESTS = (*COLUMNS[:2], ("DIGEST", "Digest"), *COLUMNS[2:])
HEADERS = {"CreatedAt": "CREATED AT", "Digest": "DIGEST"}
FILTERS = ("before", "dangling", "label", "reference", "since")


@click.command()
@click.argument("repository", metavar="[REPOSITORY[:TAG]]", required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="All images (there are no intermediate ones).")
@click.option("--digests", is_flag=True, help="Show digests.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Only what matches.")
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten.")
@click.option("-q", "--quiet", is_flag=True, help="Only IDs.")
def images(
    repository: str | None,
    everything: bool,
    digests: bool,
    filters: tuple[str, ...],
    form: str | None,
    no_trunc: bool,
    quiet: bool,
) -> int:
    """List images."""
    engine = Engine()
    chosen = Filters(filters, FILTERS)
    problems: list[PycontainError] = []
    found = engine.store.images(problems)
    found.sort(key=lambda image: image.config.created or "", reverse=True)
    moments = {key: _moment(engine, key, chosen) for key in ("before", "since")}
    rows = [
        row(image, full=no_trunc)
        for image in found
        if _matches(image, chosen, moments) and (repository is None or _named(image, repository))
    ]
    if quiet and form is None:
        rows = list({r["ID"]: r for r in rows}.values())
    print_rows(
        rows,
        WITH_DIGESTS if digests else COLUMNS,
        form=form,
        quiet="ID" if quiet else None,
        headers=HEADERS,
    )
    for problem in problems:
        print(f"pycontain: {problem}", file=sys.stderr)
    return 1 if problems else 0


def row(image: Image, *, full: bool = False) -> dict[str, Any]:
    """One line of the list, with the fields that docker's templates know."""
    reference = image.reference
    created = parse_time(image.config.created, 0) if image.config.created else 0
    return {
        "Containers": "N/A",
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(created // 10**9)),
        "CreatedSince": age(time.time() - created / 1e9) + " ago" if created else "N/A",
        "Digest": image.descriptor.digest,
        "ID": image.id if full else image.id.removeprefix("sha256:")[:12],
        "Repository": reference.familiar_name if reference is not None else "<none>",
        "SharedSize": "N/A",
        "Size": size(image.size),
        "Tag": (reference.tag or "<none>") if reference is not None else "<none>",
        "UniqueSize": "N/A",
        "VirtualSize": size(image.size),
    }


def _named(image: Image, wanted: str) -> bool:
    if image.reference is None:
        return False
    reference = Reference.parse(wanted)
    name = wanted.rpartition("/")[2]
    if ":" not in name and "@" not in name:
        return image.reference.name == reference.name
    return image.reference == reference


def _moment(engine: Engine, key: str, filters: Filters) -> str:
    if key not in filters:
        return ""
    return engine.store.image(filters.values(key)[0]).config.created or ""


def _matches(image: Image, filters: Filters, moments: dict[str, str]) -> bool:
    from fnmatch import fnmatchcase

    if "dangling" in filters:
        wanted = filters.values("dangling")[-1]
        if wanted not in ("true", "false", "1", "0"):
            raise UsageError(f"images: --filter dangling={wanted}: neither true nor false")
        if (image.reference is None) != (wanted in ("true", "1")):
            return False
    created = image.config.created or ""
    names = [image.reference.familiar, image.reference.familiar_name] if image.reference is not None else []
    return (
        (not moments["before"] or created < moments["before"])
        and (not moments["since"] or created > moments["since"])
        and filters.any("reference", lambda pattern: any(fnmatchcase(name, pattern) for name in names))
        and filters.labels(image.config.config.labels)
    )
