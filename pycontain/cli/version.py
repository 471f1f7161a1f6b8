"""pycontain version: the versions of what is at work."""

from __future__ import annotations

import platform
from importlib.metadata import version as version_of

import click

from pycontain import __version__
from pycontain.cli.output import print_objects


@click.command()
@click.option("-f", "--format", "form", metavar="FORMAT", help="json, or a template.")
def version(form: str | None) -> None:
    """Show the versions of what is at work."""
    host = platform.uname()
    client = {
        "Version": __version__,
        "PythonVersion": platform.python_version(),
        "Os": host.system.lower(),
        "Arch": host.machine,
        "KernelVersion": host.release,
        "Packages": {name: version_of(name) for name in ("click", "msgpack", "zstandard")},
    }
    if form is not None:
        print_objects([{"Client": client}], "{{json .}}" if form == "json" else form)
        return
    print("pycontain")
    print(f" Version:        {client['Version']}")
    print(f" Python version: {client['PythonVersion']}")
    print(f" OS/Arch:        {client['Os']}/{client['Arch']}")
    print(f" Host kernel:    {client['KernelVersion']}")
    for name in ("click", "msgpack", "zstandard"):
        print(f" {name + ':':<15} {version_of(name)}")
