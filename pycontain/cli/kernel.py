"""`pycontain kernel`: look at the emulated kernel, and at what this host offers it."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from pycontain.cli.output import align, print_rows
from pycontain.cli.units import size
from pycontain.kernel.control import KernelClient


def _client() -> KernelClient | None:
    from pycontain.store import Store

    return KernelClient.connect(Store.open(os.environ.get("PYCONTAIN_ROOT")).root, start=False)


@click.group()
def kernel() -> None:
    """Look at the emulated kernel."""


@kernel.command()
@click.option("--format", "form", help="table, json or a template")
def ps(form: str | None) -> None:
    """List the processes of all containers."""
    client = _client()
    rows: list[dict[str, Any]] = []
    for process in client.processes() if client is not None else []:
        rows.append(
            {
                "Container": process["container"][:12],
                "PID": process["pid"],
                "HostPID": process["host_pid"],
                "PPID": process["ppid"],
                "User": process["user"],
                "State": process["state"],
                "Threads": process["threads"],
                "Time": f"{process['cpu']:.2f}",
                "RSS": size(process["rss"]),
                "Command": process["command"],
            }
        )
    columns = [(name.upper() if name != "HostPID" else "HOST PID", name) for name in (
        "Container", "PID", "HostPID", "PPID", "User", "State", "Threads", "Time", "RSS", "Command"
    )]  # fmt: skip
    print_rows(rows, columns, form=form)


@kernel.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def status(form: str) -> None:
    """Tell the kernel's pid, memory, containers and trap rate."""
    client = _client()
    if client is None:
        click.echo("not running" if form == "text" else '{"running": false}')
        return
    values = client.status()
    if form == "json":
        import json

        click.echo(json.dumps({"running": True, **values}))
        return
    uptime = values["uptime"]
    traps = sum(values["calls"].values())
    frequent = sorted(values["calls"].items(), key=lambda item: -item[1])
    lines = [
        ("pid", values["pid"]),
        ("version", values["version"]),
        ("uptime", f"{uptime:.0f} s"),
        (
            "memory",
            f"{size(values['memory'].get('RssAnon', 0))} own, {size(values['memory']['VmRSS'])} resident",
        ),
        ("containers", values["containers"]),
        ("processes", values["processes"]),
        ("trapped calls", f"{traps} ({traps / max(uptime, 1):.0f}/s), {values['fast']} of them on the fast path"),
        ("most frequent", ", ".join(f"{name} {count}" for name, count in frequent[:6]) or "none"),
        ("limits", values["limits"]),
        ("restarted calls", values["restarts"]),
        ("unknown calls", _counts(values["unknown_calls"])),
        ("failures", _counts(values["failures"])),
    ]
    for name, value in lines:
        click.echo(f"{name + ':':17}{value}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


@kernel.command()
@click.option("--status", "wanted", type=click.Choice(["native", "supported", "partial", "refused"]))
def syscalls(wanted: str | None) -> None:
    """List every system call: supported, partial with what is missing, or refused with the reason."""
    from pycontain.kernel import table

    rows = []
    for row in sorted(table.build().values(), key=lambda r: r.name):
        how = (
            "native" if row.function is None and not row.error else "emulated" if not row.error else "refused"
        )
        if wanted in (None, row.status, how):
            rows.append((row.name, row.status, how, row.note))
    for line in align([("CALL", "STATUS", "HOW", "NOTE"), *rows]):
        click.echo(line)


@kernel.command()
def check() -> None:
    """Try what the kernel needs of this host, and say what is missing."""
    from pycontain.platforms.trap.check import findings

    missing = False
    for finding in findings():
        mark = "yes" if finding.good else "NO" if finding.required else "no"
        missing = missing or (finding.required and not finding.good)
        click.echo(f"{mark:4}{finding.name:34}{finding.detail}")
    _check_cgroups()
    if missing:
        click.echo("Containers cannot run here: what is marked NO is required.")
        sys.exit(125)
    click.echo("Containers can run here.")


def _check_cgroups() -> None:
    from pycontain.kernel.cgroup import Undelegated, find

    try:
        delegation = find()
    except Undelegated as reason:
        good, detail = False, f"{reason}: the kernel keeps limits itself"
    else:
        good, detail = True, f"{delegation.path} ({', '.join(delegation.controllers)})"
    click.echo(f"{'yes' if good else 'no':4}{'a delegated cgroup':34}{detail}")


@kernel.command()
def stop() -> None:
    """Kill every container and end the kernel."""
    client = _client()
    if client is None:
        click.echo("the emulated kernel does not run")
        return
    client.shutdown()
