"""pycontain compare: the same image as container, as virtual machine and more, measured."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import click

from pycontain.cli.options import UsageError


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": True})
@click.argument("image", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="Print everything measured as JSON.")
@click.option("--html", "page", metavar="FILE", help="Write a page with plots and explanations.")
@click.option("--repeat", default=5, show_default=True, help="How often starts are measured.")
@click.option("--instances", default=10, show_default=True, help="How many run side by side for the memory.")
@click.option("--only", multiple=True, metavar="KIND", help="host, container, machine, uml or podman.")
@click.option(
    "--consolidate",
    metavar="SPEC",
    help="Pack the services of a TOML or JSON file on hosts instead, as containers and as machines: [host] cpus, memory; [[service]] name, count, cpu, cpu_peak, memory, memory_peak (MB).",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def compare(
    image: str | None,
    command: tuple[str, ...],
    as_json: bool,
    page: str | None,
    repeat: int,
    instances: int,
    only: tuple[str, ...],
    consolidate: str | None,
    quiet: bool,
) -> None:
    """Run IMAGE as container, virtual machine and in every other way that works here, and compare.

    Options of ours are taken anywhere before a --. Without COMMAND a program that prints a line and ends is run, so that only the way there is measured.
    """
    if consolidate is not None:
        for given, option in ((image, "IMAGE"), (page, "--html"), (only, "--only")):
            if given:
                raise UsageError(f"compare: --consolidate measures nothing: {option} does not go with it")
        _consolidate(consolidate, as_json)
        return
    if image is None:
        raise UsageError("compare: IMAGE is missing", hint="usage: pycontain compare IMAGE [COMMAND…]")
    from pycontain.compare.subjects import KINDS

    for kind in only:
        if kind not in KINDS:
            raise UsageError(f"compare: --only {kind}: not one of {', '.join(KINDS)}")
    if repeat < 1 or instances < 2:
        raise UsageError("compare: --repeat must be at least 1, --instances at least 2")
    from pycontain.compare.measure import compare as measure
    from pycontain.compare.measure import steps
    from pycontain.engine.engine import Engine

    Engine().store.image(image)  # NotFound before anything is started
    if page is not None:
        import importlib.util

        if importlib.util.find_spec("matplotlib") is None:
            raise UsageError("compare: --html needs matplotlib", hint="pip install 'pycontain[plots]'")
        _check_writable(page)  # before minutes of measuring
    from pycontain.compare.discovery import find

    found, missing = find(image, only or KINDS)
    total = 0 if quiet or not sys.stderr.isatty() else steps(len(found), repeat)
    with _progress(total) as step:
        report = measure(image, list(command), found, missing, repeat=repeat, instances=instances, step=step)
    if page is not None:
        from pycontain.compare.page import page as render

        with open(page, "w", encoding="utf-8") as file:
            file.write(render(report))
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        from pycontain.compare.text import table

        click.echo(table(report))


def _check_writable(path: str) -> None:
    there = os.path.exists(path)
    try:
        with open(path, "ab"):
            pass
        if not there:
            os.unlink(path)
    except OSError as error:
        raise UsageError(f"compare: write {path}: {error.strerror}") from None


class _progress:
    """A bar on standard error; silent where there is nobody to look (total 0)."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def __enter__(self) -> Callable[[str], object]:
        return self._step

    def _step(self, what: str) -> None:
        if self._total:
            filled = min(30 * self._done // self._total, 30)
            sys.stderr.write(f"\r[{'#' * filled}{'.' * (30 - filled)}] {what[:40]:40}")
            sys.stderr.flush()
            self._done += 1

    def __exit__(self, *_: object) -> None:
        if self._total:
            sys.stderr.write("\r" + " " * 75 + "\r")
            sys.stderr.flush()


def _consolidate(path: str, as_json: bool) -> None:
    from pycontain.compare import consolidate

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"compare: read {path}: {error.strerror}") from None
    packings = consolidate.pack(consolidate.read_spec(data, path))
    if as_json:
        click.echo(json.dumps([packing._asdict() for packing in packings], indent=2))
    else:
        click.echo(consolidate.text(packings))
