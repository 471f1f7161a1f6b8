"""pycontain vm: virtual machines: make the host ready, snapshots, clones."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import click

from pycontain.cli.options import UsageError
from pycontain.cli.units import age
from pycontain.cli.units import size as shown_size
from pycontain.engine import containers, names
from pycontain.engine.containers import Container, find
from pycontain.engine.engine import Engine
from pycontain.engine.options import ContainerOptions
from pycontain.engine.spec import kernel_spec
from pycontain.errors import MachineError


@click.group()
def vm() -> None:
    """Virtual machines: `run --runtime vm` starts one; here is what only machines can do."""


@vm.command()
def check() -> int:
    """Show what this host has for machines, and what is missing."""
    from pycontain.vm.setup import check as look

    findings = look(Engine().root)
    for finding in findings:
        mark = {True: "yes", False: "NO", None: "-"}[finding.good]
        click.echo(f"{mark:4}{finding.what:17}{finding.text}")
    bad = any(finding.good is False for finding in findings)
    click.echo(
        "not ready: `pycontain vm setup` tells what to do"
        if bad
        else "ready: pycontain run --runtime vm IMAGE"
    )
    return 1 if bad else 0


@vm.command()
def setup() -> None:
    """Make this host ready: find QEMU, find or fetch a guest kernel, boot a template."""
    from pycontain.vm.setup import set_up

    engine = Engine()
    set_up(engine.root, click.echo)
    begun = time.monotonic()
    found = _machines(engine).ask({"op": "template", "settings": {}})
    click.echo(
        f"template: {found['memory']} MB, {found['accel']}, ready after {time.monotonic() - begun:.1f} s"
    )


@vm.command()
@click.argument("name", metavar="CONTAINER")
@click.argument("tag")
def snapshot(name: str, tag: str) -> None:
    """Save a running machine with its memory as TAG; it goes on."""
    engine = Engine()
    container = find(engine, name)
    _check_vm(container)
    done = _machines(engine).ask({"op": "snapshot", "id": container.id, "tag": tag})
    click.echo(f"{tag}: {shown_size(done['bytes'])}, the machine stood still for {done['stopped']:.2f} s")


@vm.command()
@click.argument("name", metavar="CONTAINER")
@click.argument("tag")
def restore(name: str, tag: str) -> None:
    """Bring a machine back to the state of a snapshot of it; what it did since is lost."""
    from pycontain.vm.snapshot import read

    engine = Engine()
    container = find(engine, name)
    _check_vm(container)
    if read(engine.root, tag)["id"] != container.id:
        raise UsageError(f"vm restore: {tag} is of another machine", hint=f"pycontain vm clone {tag}")
    _machines(engine).ask({"op": "restore", "tag": tag, "spec": kernel_spec(container), "fresh": False})
    click.echo(container.name)


@vm.command()
@click.argument("tag")
@click.option("--name", help="The new machine's name.")
@click.option("-n", "--count", default=1, show_default=True, help="How many.")
def clone(tag: str, name: str | None, count: int) -> None:
    """Start new machines from a snapshot, each with its own name, randomness and machine-id."""
    from pycontain.vm.snapshot import read

    engine = Engine()
    record: dict[str, Any] = read(engine.root, tag)["record"]
    machines = _machines(engine)
    for number in range(count):
        wanted = name if count == 1 or name is None else f"{name}-{number + 1}"
        container = _new_container(engine, record, wanted)
        try:
            spec = kernel_spec(container)
            machines.ask({"op": "restore", "tag": tag, "spec": spec, "fresh": True})
        except BaseException:
            containers.discard(engine, container)
            raise
        click.echo(container.id)


def _new_container(engine: Engine, old: dict[str, Any], name: str | None) -> Container:
    import copy

    from pycontain.engine import etc_files

    identity, place = containers.new_directory(engine)
    record = copy.deepcopy(old)
    record.update(Id=identity, Name="", Created=containers.created_now())
    record["Config"]["Hostname"] = record["Spec"]["hostname"] = identity[:12]
    record["Spec"].setdefault("machine", {})["forwards"] = []
    # its own /etc/hostname and the like, where the old one had its own
    options = ContainerOptions(record["ImageName"])
    kept = record["HostConfig"]
    options.add_hosts, options.dns = kept["ExtraHosts"], kept["Dns"]
    options.dns_options, options.dns_search = kept["DnsOptions"], kept["DnsSearch"]
    files = {mount["target"]: mount for mount in etc_files.write(place, identity[:12], options)}
    record["Spec"]["mounts"] = [
        files.get(mount["target"], mount)
        if f"/containers/{old['Id']}/" in str(mount.get("source"))
        else mount
        for mount in record["Spec"]["mounts"]
    ]
    container = Container(identity, place, record)
    record["Name"] = names.take(engine.root, identity, name)
    container.save()
    return container


@vm.command("ls")
def list_snapshots() -> None:
    """List snapshots."""
    from pycontain.vm import snapshot as snapshots

    engine = Engine()
    rows = []
    for tag in snapshots.tags(engine.root):
        state = os.stat(os.path.join(snapshots.place(engine.root, tag), "state"))
        try:
            kept = snapshots.read(engine.root, tag)
        except MachineError:
            made = age(time.time() - state.st_mtime) + " ago"
            rows.append((tag, "(of another version)", "", "", "", shown_size(state.st_blocks * 512), made))
            continue
        rows.append(
            (tag, kept["record"]["Name"], kept["record"]["ImageName"], f"{kept['memory']}MB",
             kept["host"][1], shown_size(state.st_blocks * 512), age(time.time() - kept["created"] / 1e9) + " ago")
        )  # fmt: skip
    widths = [max(len(row[n]) for row in [*rows, HEADERS]) for n in range(len(HEADERS))]
    for row in [HEADERS, *rows]:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


HEADERS = ("TAG", "MACHINE", "IMAGE", "MEMORY", "ACCEL", "SIZE", "CREATED")


@vm.command("rm")
@click.argument("tags", nargs=-1, required=True)
def remove(tags: tuple[str, ...]) -> None:
    """Remove snapshots. Machines that run from one keep what they need."""
    from pycontain.vm import snapshot as snapshots

    engine = Engine()
    for tag in tags:
        snapshots.remove(engine.root, tag)
        click.echo(tag)


@vm.command("export")
@click.argument("tag")
@click.option("-o", "--output", metavar="FILE", help="Instead of standard output.")
def export_snapshot(tag: str, output: str | None) -> None:
    """Write a snapshot, with its image, as a tar: another host can import it."""
    from pycontain.cli.archives import output_file
    from pycontain.vm.moving import export
    from pycontain.vm.snapshot import read

    store = Engine().store
    read(store.root, tag)  # before anything is written
    with output_file("vm export", output, sys.stdout) as file:
        export(store, tag, file)


@vm.command("import")
@click.argument("source", metavar="FILE|-")
@click.option("--tag", help="The snapshot's name; else the machine's.")
@click.option(
    "--shares", is_flag=True, help="Let it have the directories of this host that it had of the other one."
)
def import_snapshot(source: str, tag: str | None, shares: bool) -> None:
    """Read a snapshot that vm export wrote."""
    from pycontain.cli.archives import input_file
    from pycontain.vm import qemu
    from pycontain.vm.moving import take_in
    from pycontain.vm.snapshot import obstacle

    store = Engine().store
    with input_file("vm import", source) as file:
        name = take_in(store, file, tag, shares=shares)
    click.echo(name)
    try:
        reason = obstacle(store.root, qemu.find(), name)
    except MachineError as error:
        reason = error.message
    if reason is not None:
        click.echo(f"pycontain: vm import: {name} is kept, but cannot run on this host: {reason}", err=True)


def _machines(engine: Engine) -> Any:
    return engine.kernel("vm")


def _check_vm(container: Container) -> None:
    if container.spec.get("runtime") == "uml":
        raise UsageError(
            f"vm: {container.name} runs under User-Mode Linux, which cannot be saved", hint="--runtime vm can"
        )
    if container.spec.get("runtime") != "vm":
        raise UsageError(f"vm: {container.name} is not a virtual machine", hint="run it with --runtime vm")
