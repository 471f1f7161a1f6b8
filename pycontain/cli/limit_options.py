"""Limits and capabilities of a container: --memory, --cpus, --pids-limit, --cpuset-cpus, --ulimit, --cap-add."""

from __future__ import annotations

from pycontain.cli.options import UsageError, Values
from pycontain.engine.mounts import parse_size
from pycontain.engine.options import ContainerOptions

LEAST_MEMORY = 6 << 20
"""Docker's minimum, in bytes."""


def limit_options(verb: str, values: Values, options: ContainerOptions) -> None:
    """Set options.limits (as kernel/limits.py has them) and the capabilities. UsageError for bad values."""
    memory = values.text("memory")
    if memory is not None:
        size = parse_size(memory)
        if 0 < size < LEAST_MEMORY:
            raise UsageError(f"{verb}: --memory {memory}: the least is 6m")
        options.limits["memory"] = size
    swap = values.text("memory_swap")
    if swap is not None and parse_size(swap) != options.limits.get("memory"):
        raise UsageError(
            f"{verb}: --memory-swap {swap}: only the value of --memory is there yet",
            hint="what is swapped out counts against --memory",
        )
    cpus = values.text("cpus")
    if cpus is not None:
        try:
            number = float(cpus)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 4096:
            raise UsageError(f"{verb}: --cpus {cpus}: not a number of processors")
        options.limits["nano_cpus"] = int(number * 1e9)
    pids = values.text("pids_limit")
    if pids is not None:
        if not pids.lstrip("-").isdigit():
            raise UsageError(f"{verb}: --pids-limit {pids}: not a number")
        options.limits["pids"] = max(int(pids), 0)  # -1: without a limit
    cpuset = values.text("cpuset_cpus")
    if cpuset is not None:
        options.limits["cpuset"] = _numbers(verb, cpuset)
    ulimits = {}
    for text in values.texts("ulimit"):
        name, _, value = text.partition("=")
        soft, _, hard = value.partition(":")
        if not all(part.removeprefix("-").isdigit() for part in (soft, hard or soft)):
            raise UsageError(f"{verb}: --ulimit {text}: not NAME=SOFT[:HARD]")
        ulimits[name] = [int(soft), int(hard or soft)]
    if ulimits:
        options.limits["ulimits"] = ulimits
    options.cap_add = values.texts("cap_add")
    options.cap_drop = values.texts("cap_drop")
    options.privileged = values.flag("privileged")


def _numbers(verb: str, text: str) -> list[int]:
    """0-2,4 -> [0, 1, 2, 4]."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(f"{verb}: --cpuset-cpus {text}: not a list such as 0-2,4")
        found += range(int(first), int(last or first) + 1)
    return found
