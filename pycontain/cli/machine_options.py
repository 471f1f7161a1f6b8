"""The options of a machine: --runtime vm and what goes with it."""

from __future__ import annotations

from pycontain.cli.options import UsageError, Values
from pycontain.engine.mounts import parse_size

RUNTIMES = ("vm", "uml")
LEAST_MEMORY, LEAST_UML_MEMORY = 96, 32
"""MiB that a guest's kernel needs to boot."""
MOST_CPUS = 64


def machine_options(verb: str, runtime: str, values: Values) -> tuple[str, dict[str, object]]:
    """The runtime and the machine's settings. UsageError for values that make no sense."""
    if runtime not in RUNTIMES:
        raise UsageError(f"{verb}: --runtime {runtime}: there is no such one", hint="there are vm and uml")
    if runtime == "uml":
        return runtime, uml_options(verb, values)
    settings: dict[str, object] = {
        "accel": values.text("vm_accel") or "auto",
        "memory": _memory(verb, values, LEAST_MEMORY),
        "cpus": 1,
    }
    cpus = values.text("cpus")
    if cpus is not None:
        settings["cpus"] = _cpus(verb, cpus)
    settings["forwards"] = [parse_publish(verb, text) for text in values.texts("publish")]
    return runtime, settings


def uml_options(verb: str, values: Values) -> dict[str, object]:
    """The settings of a User-Mode Linux. UsageError also for what only other machines can do."""
    for key, reason in (
        ("publish", "User-Mode Linux has no network here"),
        ("vm_accel", "User-Mode Linux runs on the host's CPU as it is"),
    ):
        if key in values:
            option = key.replace("_", "-")
            raise UsageError(
                f"{verb}: --{option} is not there for --runtime uml: {reason}", hint="--runtime vm has it"
            )
    cpus = values.text("cpus")
    if cpus is not None and cpus not in ("1", "1.0"):
        raise UsageError(
            f"{verb}: --cpus {cpus}: User-Mode Linux has one CPU", hint="--runtime vm can have more"
        )
    return {"memory": _memory(verb, values, LEAST_UML_MEMORY), "cpus": 1}


def _cpus(verb: str, text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"{verb}: --cpus {text}: not a number") from None
    if not number.is_integer() or not 1 <= number <= MOST_CPUS:
        raise UsageError(
            f"{verb}: --cpus {text}: a machine has whole processors, 1 to {MOST_CPUS}",
            hint="containers can have parts of one",
        )
    return int(number)


def _memory(verb: str, values: Values, least: int) -> int:
    """MiB."""
    memory = values.text("memory")
    if memory is None:
        return 128
    size = parse_size(memory) >> 20
    if size < least:
        raise UsageError(f"{verb}: --memory {memory}: a machine needs at least {least}m")
    return size


def parse_publish(verb: str, text: str) -> list[object]:
    """[[ADDRESS:]PORT:]PORT[/PROTOCOL] -> [address, host port, guest port, protocol]. An absent host port
    is the guest's own."""
    ports, _, protocol = text.partition("/")
    *address, outside, inside = ["", *ports.rsplit(":", 2)][-3:] if ":" in ports else ["", ports, ports]
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp") or not all(
        p.isdigit() and 0 < int(p) < 65536 for p in (outside, inside)
    ):
        raise UsageError(f"{verb}: --publish {text}: not [[ADDRESS:]PORT:]PORT[/tcp|udp]")
    return [address[0] if address else "", int(outside), int(inside), protocol]
