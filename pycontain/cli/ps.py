"""pycontain ps: list containers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from pycontain.cli.filters import Filters
from pycontain.cli.output import print_rows
from pycontain.cli.units import age, size
from pycontain.engine.clock import parse_time
from pycontain.engine.containers import Container, all_containers
from pycontain.engine.engine import Engine
from pycontain.engine.ports import published
from pycontain.engine.prune import disk_use
from pycontain.engine.state import State, live_containers, state_of

COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
)
FILTERS = ("ancestor", "before", "exited", "id", "label", "name", "since", "status")


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that do not run.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Only what matches.")
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@click.option("-n", "--last", type=int, default=-1, metavar="N", help="The N created last.")
@click.option("-l", "--latest", is_flag=True, help="The one created last.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten.")
@click.option("-q", "--quiet", is_flag=True, help="Only IDs.")
@click.option("-s", "--size", "sizes", is_flag=True, help="Show sizes.")
def ps(
    everything: bool,
    filters: tuple[str, ...],
    form: str | None,
    last: int,
    latest: bool,
    no_trunc: bool,
    quiet: bool,
    sizes: bool,
) -> None:
    """List containers."""
    engine = Engine()
    chosen = Filters(filters, FILTERS)
    found = all_containers(engine)
    live = live_containers(engine)
    if latest:
        last = 1
    by_name = {key: c for c in found for key in (c.name, c.id, c.id[:12])}
    rows = []
    for container in found:
        state = state_of(container, live)
        if not (everything or last >= 0 or state.is_running or "status" in chosen or "exited" in chosen):
            continue
        if _matches(chosen, container, state, by_name):
            rows.append(row(engine, container, state, full=no_trunc, sizes=sizes))
        if 0 <= last <= len(rows):
            break
    columns = (*COLUMNS, ("SIZE", "Size")) if sizes else COLUMNS
    print_rows(rows, columns, form=form, quiet="ID" if quiet else None, headers=HEADERS)


HEADERS = {"Image": "IMAGE", "CreatedAt": "CREATED AT", "State": "STATE", "Labels": "LABELS", "Size": "SIZE"}


def row(
    engine: Engine, container: Container, state: State, *, full: bool = False, sizes: bool = False
) -> dict[str, Any]:
    """One line of the list, with the fields that docker's templates know."""
    record = container.record
    command = " ".join([record["Path"], *record["Args"]])
    if not full and len(command) > 20:
        command = command[:19] + "…"
    created = parse_time(record["Created"], 0)
    labels: Mapping[str, str] = record["Config"]["Labels"]
    mounts = [mount.get("source") or mount["target"] for mount in record["HostConfig"]["Mounts"]]
    shown = {
        "Command": f'"{command}"',
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(created // 10**9)),
        "ID": container.id if full else container.id[:12],
        "Image": record["ImageName"],
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "LocalVolumes": "0",
        "Mounts": ",".join(mounts),
        "Names": container.name,
        "Networks": record["HostConfig"]["NetworkMode"],
        "Ports": ", ".join(f"{p.host}->{p.name}" for p in published(container)) if state.is_running else "",
        "RunningFor": age(time.time() - created / 1e9) + " ago",
        "Size": size(disk_use(container)) if sizes else "0B",
        "State": state.status,
        "Status": status_text(state),
    }
    return shown


def status_text(state: State) -> str:
    """ "Up 2 minutes", "Exited (0) 3 hours ago", "Created"; after an OOM kill "Exited (137) … ago (OOM killed)"."""
    if state.is_running:
        text = f"Up {age(time.time() - state.started / 1e9)}"
        return text + " (Paused)" if state.status == "paused" else text
    if state.status == "created":
        return "Created"
    text = f"Exited ({state.exit_code}) {age(time.time() - state.finished / 1e9)} ago"
    return text + " (OOM killed)" if state.oom_killed else text


def _matches(filters: Filters, container: Container, state: State, known: Mapping[str, Container]) -> bool:
    record = container.record

    def moment(name: str) -> str:
        other = known.get(name)
        return str(other.record["Created"]) if other is not None else ""

    return (
        filters.any("id", container.id.startswith)
        and filters.any("name", lambda text: text.strip("^$/") in container.name)
        and filters.any("status", lambda text: text == state.status)
        and filters.any("exited", lambda text: state.status == "exited" and text == str(state.exit_code))
        and filters.any(
            "ancestor", lambda text: text in (record["ImageName"], record["Image"], record["Image"][7:19])
        )
        and filters.any("before", lambda name: str(record["Created"]) < moment(name))
        and filters.any("since", lambda name: bool(moment(name)) and str(record["Created"]) > moment(name))
        and filters.labels(record["Config"]["Labels"])
    )
