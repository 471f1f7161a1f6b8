"""pycontain info: what this installation has and where."""

from __future__ import annotations

import os

import click

from pycontain import __version__
from pycontain.cli.output import print_objects
from pycontain.engine.containers import all_containers
from pycontain.engine.engine import Engine
from pycontain.engine.state import live_containers, state_of
from pycontain.errors import PycontainError


@click.command()
@click.option("-f", "--format", "form", metavar="FORMAT", help="json, or a template.")
def info(form: str | None) -> None:
    """Show what this installation has and where."""
    engine = Engine()
    found = all_containers(engine)
    live = live_containers(engine)
    states = [state_of(container, live).status for container in found]
    kernel = engine.running_kernel()
    status = kernel.status() if kernel is not None else {}
    host = os.uname()
    problems: list[PycontainError] = []
    value = {
        "ServerVersion": __version__,
        "Containers": len(found),
        "ContainersRunning": states.count("running"),
        "ContainersPaused": states.count("paused"),
        "ContainersStopped": states.count("exited") + states.count("created"),
        "Images": len({image.id for image in engine.store.images(problems)}),
        "Driver": "pycontain",
        "DockerRootDir": engine.root,
        "KernelVersion": host.release,
        "Architecture": host.machine,
        "NCPU": os.cpu_count() or 1,
        "Name": host.nodename,
        "EmulatedKernelPid": status.get("pid", 0),
    }
    if form is not None:
        print_objects([value], "{{json .}}" if form == "json" else form)
        return
    labels = {
        "ServerVersion": "Version",
        "ContainersRunning": " Running",
        "ContainersPaused": " Paused",
        "ContainersStopped": " Stopped",
        "DockerRootDir": "Root Dir",
        "KernelVersion": "Host Kernel Version",
        "NCPU": "CPUs",
        "EmulatedKernelPid": "Emulated Kernel PID",
    }
    for key, item in value.items():
        shown = item if key != "EmulatedKernelPid" or item else "not running (it starts with the first run)"
        print(f"{labels.get(key, key)}: {shown}")
