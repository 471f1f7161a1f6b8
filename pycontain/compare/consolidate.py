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

MOST = 10_000
"""Instances."""
ROUNDING = 1e-9


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
    top = _Part(name, "", value, ("host", "machine", "service"))
    host = _Part(name, "[host]", top.values.get("host"), ("cpus", "memory", "reserve"))
    machine = _Part(name, "[machine]", top.values.get("machine", {}), ("memory", "cpu"))
    rows = top.values.get("service")
    if not isinstance(rows, list) or not rows:
        raise MachineError(f"read {name}: there is no [[service]]")
    reserve = host.number("reserve", 0.1)
    if reserve >= 1:
        raise host.wrong("reserve", "below 1")
    cpus, room = host.number("cpus", above=0), host.number("memory", above=0)
    services: list[Service] = []
    for row in rows:
        services += _services(name, row, MOST - len(services))
    return Spec(
        cpus * (1 - reserve), room * (1 - reserve),
        machine.number("memory", 35), machine.number("cpu", 0.05), services,
    )  # fmt: skip


class _Part:
    """A table of a specification. file, where: for messages. MachineError for what does not belong there."""

    def __init__(self, file: str, where: str, values: Any, keys: tuple[str, ...]) -> None:
        self._file, self._where = file, where
        if not isinstance(values, dict):
            what = "it is no table of values" if where == "" else f"{where} is {'missing' if values is None else 'no table'}"
            raise MachineError(f"read {file}: {what}")
        self.values = values
        for key in values:
            if key not in keys:
                place = f"{where}: " if where else ""
                raise MachineError(f"read {file}: {place}{key} is not known", hint=f"there are {', '.join(keys)}")

    def wrong(self, key: str, wanted: str) -> MachineError:
        return MachineError(f"read {self._file}: {self._where}: {key} = {self.values.get(key)!r}: not {wanted}")

    def number(self, key: str, default: float | None = None, *, above: float = -1.0) -> float:
        """At least 0, and above `above`."""
        value = self.values.get(key, default)
        if value is None:
            raise MachineError(f"read {self._file}: {self._where}: {key} is missing")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise self.wrong(key, "a number")
        if value <= above:
            raise self.wrong(key, f"above {above:g}")
        return float(value)


def _services(file: str, row: Any, most: int) -> list[Service]:
    keys = ("name", "count", "cpu", "cpu_peak", "memory", "memory_peak")
    name = row.get("name") if isinstance(row, dict) else None
    part = _Part(file, f"service {name}" if name else "[[service]]", row, keys)
    if not isinstance(name, str) or not name:
        raise part.wrong("name", "a name")
    cpu, memory = part.number("cpu"), part.number("memory")
    one = Service(
        name, cpu, part.number("cpu_peak", 2 * cpu), memory, part.number("memory_peak", memory)
    )
    for key, average, peak in (
        ("cpu_peak", cpu, one.cpu_peak), ("memory_peak", memory, one.memory_peak),
    ):  # fmt: skip
        if peak < average:
            raise part.wrong(key, f"at least the average, {average:g}")
    count = row.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise part.wrong("count", "a whole number")
    if count > most:
        raise part.wrong("count", f"at most {MOST} instances in all")
    return [one] * count


def pack(spec: Spec) -> list[Packing]:
    """As containers and as machines. MachineError where a service fits on no host."""
    return [_pack(spec, "containers"), _pack(spec, "machines")]


def _pack(spec: Spec, kind: str) -> Packing:
    order = sorted(
        spec.services, key=lambda s: s.memory_peak / spec.memory + s.cpu_peak / spec.cpus, reverse=True
    )
    hosts: list[_Host] = []
    for service in order:
        for host in hosts:
            if host.take(service):
                break
        else:
            hosts.append(_Host(spec, kind))
            if not hosts[-1].take(service):
                raise MachineError(f"place {service.name}: it does not fit on a host")
    cpu = sum(s.cpu for s in spec.services) * (1 + spec.machine_cpu if kind == "machines" else 1)
    memory = sum(s.memory for s in spec.services)
    if kind == "machines":
        memory += spec.machine_memory * len(spec.services)
    count = max(len(hosts), 1)
    return Packing(
        kind,
        [host.names for host in hosts],
        cpu / (count * spec.cpus),
        memory / (count * spec.memory),
    )


class _Host:
    """What lies on a host: sums, and the largest rise above an average."""

    def __init__(self, spec: Spec, kind: str) -> None:
        self._spec = spec
        self._machines = kind == "machines"
        self.names: list[str] = []
        self._cpu = self._memory = self._cpu_rise = self._memory_rise = 0.0

    def take(self, service: Service) -> bool:
        """Whether there was room for it."""
        spec = self._spec
        if self._machines:
            cpu = self._cpu + service.cpu_peak * (1 + spec.machine_cpu)
            memory = self._memory + service.memory_peak + spec.machine_memory
            cpu_rise = memory_rise = 0.0
        else:
            cpu, memory = self._cpu + service.cpu, self._memory + service.memory
            cpu_rise = max(self._cpu_rise, service.cpu_peak - service.cpu)
            memory_rise = max(self._memory_rise, service.memory_peak - service.memory)
        if cpu + cpu_rise > spec.cpus + ROUNDING or memory + memory_rise > spec.memory + ROUNDING:
            return False
        self._cpu, self._memory, self._cpu_rise, self._memory_rise = cpu, memory, cpu_rise, memory_rise
        self.names.append(service.name)
        return True


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
