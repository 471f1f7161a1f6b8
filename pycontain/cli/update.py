"""pycontain update: change the limits of containers."""

from __future__ import annotations

import click

from pycontain.cli.each import each
from pycontain.cli.limit_options import limit_options
from pycontain.cli.options import UsageError, Values
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.options import ContainerOptions
from pycontain.engine.update import update as update_container

LATER = (
    "--blkio-weight", "--cpu-period", "--cpu-quota", "--cpu-rt-period", "--cpu-rt-runtime", "--cpu-shares", "-c",
    "--cpuset-mems", "--memory-reservation", "--restart",
)  # fmt: skip
"""docker's options that are not there yet."""


def refuse(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """An option that is not there yet is an error, not ignored."""
    if value:
        raise UsageError(
            f"update: {parameter.opts[0]} is not there yet",
            hint="there are --memory, --cpus, --cpuset-cpus and --pids-limit",
        )


@click.command()
@click.option("-m", "--memory", metavar="SIZE", help="Memory, with a suffix k, m or g; 0: no limit.")
@click.option("--memory-swap", metavar="SIZE", help="Memory and swap: as much as --memory, for swap counts.")
@click.option("--cpus", metavar="NUMBER", help="Processor time, in processors; 0: no limit.")
@click.option("--cpuset-cpus", metavar="NUMBERS", help="The processors to run on.")
@click.option("--pids-limit", metavar="NUMBER", help="How many processes and threads; -1: no limit.")
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
def update(
    memory: str | None,
    memory_swap: str | None,
    cpus: str | None,
    cpuset_cpus: str | None,
    pids_limit: str | None,
    containers: tuple[str, ...],
) -> int:
    """Change the limits of containers, at once where they run."""
    given = {
        "memory": memory,
        "memory_swap": memory_swap,
        "cpus": cpus,
        "cpuset_cpus": cpuset_cpus,
        "pids_limit": pids_limit,
    }
    values = Values({key: value for key, value in given.items() if value is not None})
    if not values:
        raise UsageError("update: no limit is given", hint="for example --memory 512m")
    wanted = ContainerOptions("")
    limit_options("update", values, wanted)
    engine = Engine()
    return each(containers, lambda name: update_container(engine, find(engine, name), wanted.limits))


for option in LATER:
    update.params.append(click.Option([option], hidden=True, expose_value=False, callback=refuse))
