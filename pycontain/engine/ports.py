"""Published ports, as docker shows them. Only machines have any: containers share the host's network."""

from __future__ import annotations

from typing import NamedTuple

from pycontain.engine.containers import Container


class Port(NamedTuple):
    """inside: the port in the container; outside: the host's, at address (0.0.0.0: all)."""

    inside: int
    protocol: str
    address: str
    outside: int

    @property
    def name(self) -> str:
        """80/tcp"""
        return f"{self.inside}/{self.protocol}"

    @property
    def host(self) -> str:
        """127.0.0.1:8080"""
        return f"{self.address}:{self.outside}"


def published(container: Container) -> list[Port]:
    """In the order of the ports inside."""
    forwards = (container.spec.get("machine") or {}).get("forwards") or []
    return sorted(Port(int(f[2]), str(f[3]), f[0] or "0.0.0.0", int(f[1])) for f in forwards)


def described(ports: list[Port]) -> dict[str, list[dict[str, str]]]:
    """As in docker inspect."""
    found: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        found.setdefault(port.name, []).append({"HostIp": port.address, "HostPort": str(port.outside)})
    return found
