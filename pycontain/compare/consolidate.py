"""Services packed on hosts, as containers and as virtual machines, with the resulting utilisation.

A specification is TOML or JSON:

    [host]                  # what one host has, and what its own system needs
    cpus = 16
    memory = 65536          # MB
    reserve = 0.1           # the share that stays free

    [machine]               # optional: what a machine costs beyond its program
    memory = 35             # MB each: guest kernel and hypervisor; `pycontain compare` measures it
    cpu = 0.05              # share of the work that virtualisation costs

    [[service]]
    name = "web"
    count = 4
    cpu = 0.5               # cores on average, and at its peak
    cpu_peak = 2
    memory = 300            # MB on average, and at its peak
    memory_peak = 500

A machine gets its peak, since what it is given nobody else has. Containers share: a host must carry the sum
of the averages and the largest single rise above its average. Placed first-fit, the largest first.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pycontain.errors import MachineError


class Service(NamedTuple):
    """One instance. CPU in cores, memory in MB."""

    name: str
    cpu: float
    cpu_peak: float
    memory: float
    memory_peak: float


class Spec(NamedTuple):
    """See the module."""

    cpus: float
    memory: float
    machine_memory: float
    machine_cpu: float
    services: list[Service]


class Packing(NamedTuple):
    """hosts: names of what lies on each. cpu, memory: average use, as a share of all hosts together."""

    kind: str
    hosts: list[list[str]]
    cpu: float
    memory: float


def read_spec(data: bytes, name: str) -> Spec:
    """MachineError where it is no specification, with what is wrong."""
    import tomllib

    try:
        value = json.loads(data) if name.endswith(".json") else tomllib.loads(data.decode())
    except ValueError as error:
        raise MachineError(f"read {name}: {error}") from None
    try:
        host = value["host"]
        keep = 1 - float(host.get("reserve", 0.1))
        machine = value.get("machine", {})
        services = [service for row in value["service"] for service in _services(row)]
        spec = Spec(
            float(host["cpus"]) * keep, float(host["memory"]) * keep,
            float(machine.get("memory", 35)), float(machine.get("cpu", 0.05)), services,
        )  # fmt: skip
    except KeyError as error:
        raise MachineError(f"read {name}: {error.args[0]} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise MachineError(f"read {name}: {error}") from None
    if not services or spec.cpus <= 0 or spec.memory <= 0:
        raise MachineError(f"read {name}: no service, or a host without CPUs or memory")
    return spec


def _services(row: dict[str, Any]) -> list[Service]:
    cpu, memory = float(row["cpu"]), float(row["memory"])
    one = Service(
        str(row["name"]), cpu, max(float(row.get("cpu_peak", 2 * cpu)), cpu),
        memory, max(float(row.get("memory_peak", memory)), memory),
    )  # fmt: skip
    return [one] * int(row.get("count", 1))


def pack(spec: Spec) -> list[Packing]:
    """As containers and as machines. MachineError where a service fits on no host."""
    return [_pack(spec, "containers"), _pack(spec, "machines")]


def _pack(spec: Spec, kind: str) -> Packing:
    order = sorted(
        spec.services, key=lambda s: s.memory_peak / spec.memory + s.cpu_peak / spec.cpus, reverse=True
    )
    hosts: list[list[Service]] = []
    for service in order:
        for host in hosts:
            if _fits(spec, kind, [*host, service]):
                host.append(service)
                break
        else:
            if not _fits(spec, kind, [service]):
                raise MachineError(f"place {service.name}: it does not fit on a host")
            hosts.append([service])
    cpu = sum(s.cpu for s in spec.services) * (1 + spec.machine_cpu if kind == "machines" else 1)
    memory = sum(s.memory for s in spec.services)
    if kind == "machines":
        memory += spec.machine_memory * len(spec.services)
    count = len(hosts)
    return Packing(
        kind,
        [[s.name for s in host] for host in hosts],
        cpu / (count * spec.cpus),
        memory / (count * spec.memory),
    )


def _fits(spec: Spec, kind: str, services: list[Service]) -> bool:
    if kind == "machines":
        cpu = sum(s.cpu_peak for s in services) * (1 + spec.machine_cpu)
        memory = sum(s.memory_peak + spec.machine_memory for s in services)
    else:
        cpu = sum(s.cpu for s in services) + max(s.cpu_peak - s.cpu for s in services)
        memory = sum(s.memory for s in services) + max(s.memory_peak - s.memory for s in services)
    return cpu <= spec.cpus and memory <= spec.memory


def text(packings: list[Packing]) -> str:
    """For a terminal."""
    lines = [
        "A machine is given its peak, and what its own kernel and hypervisor need: nobody else has that. Containers share,",
        "so a host carries the sum of their averages and the largest single rise above its average.",
        "Used: on average, of what a host may give away (its reserve is not counted).",
        "",
    ]
    lines += [f"{'':12}{'hosts':>6}{'CPU used':>10}{'memory used':>13}"]
    lines += [f"{p.kind:12}{len(p.hosts):>6}{p.cpu:>10.0%}{p.memory:>13.0%}" for p in packings]
    for packing in packings:
        lines += ["", f"as {packing.kind}:"]
        for number, host in enumerate(packing.hosts, 1):
            counts = {name: host.count(name) for name in sorted(set(host))}
            lines.append(
                f"  host {number}: "
                + ", ".join(f"{n} × {name}" if n > 1 else name for name, n in counts.items())
            )
    return "\n".join(lines)
