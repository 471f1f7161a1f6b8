"""The options of a machine: --runtime vm and what goes with it."""

from __future__ import annotations

from pycontain.cli.options import UsageError, Values
from pycontain.engine.mounts import parse_size

RUNTIMES = ("vm", "uml")
LEAST_MEMORY = 96
"""MiB that a guest's kernel needs to boot."""


def machine_options(verb: str, runtime: str, values: Values) -> tuple[str, dict[str, object]]:
    """The runtime and the machine's settings. UsageError for values that make no sense."""
    if runtime not in RUNTIMES:
        raise UsageError(f"{verb}: --runtime {runtime}: there is no such one", hint="there are vm and uml")
    if runtime == "uml":
        raise UsageError(
            f"{verb}: --runtime uml is not there yet", hint="--runtime vm works without KVM, too"
        )
    settings: dict[str, object] = {"accel": values.text("vm_accel") or "auto", "memory": 128, "cpus": 1}
    memory = values.text("memory")
    if memory is not None:
        size = parse_size(memory) >> 20
        if size < LEAST_MEMORY:
            raise UsageError(f"{verb}: --memory {memory}: a machine needs at least {LEAST_MEMORY}m")
        settings["memory"] = size
    cpus = values.text("cpus")
    if cpus is not None:
        try:
            settings["cpus"] = max(round(float(cpus)), 1)
        except ValueError:
            raise UsageError(f"{verb}: --cpus {cpus}: not a number") from None
    settings["forwards"] = [parse_publish(verb, text) for text in values.texts("publish")]
    return runtime, settings


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
