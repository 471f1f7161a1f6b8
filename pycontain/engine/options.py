"""What a user asks of a new container: `run`'s options as plain data."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ContainerOptions:
    """The defaults are Docker's. Texts are as the user typed them; engine.spec gives them meaning.

    A plain class: dataclasses cost 10 ms of start-up.
    """

    __slots__ = (
        "add_hosts",
        "cap_add",
        "cap_drop",
        "cidfile",
        "command",
        "dns",
        "dns_options",
        "dns_search",
        "entrypoint",
        "env",
        "env_files",
        "groups",
        "host_network",
        "hostname",
        "image",
        "interactive",
        "label_files",
        "labels",
        "limits",
        "machine",
        "mounts",
        "name",
        "platform",
        "privileged",
        "pull",
        "quiet",
        "read_only",
        "remove",
        "runtime",
        "shm_size",
        "stop_signal",
        "stop_timeout",
        "tmpfs",
        "tty",
        "user",
        "volumes",
        "working_dir",
    )

    def __init__(self, image: str, command: list[str] | None = None) -> None:
        self.image = image
        self.command: list[str] = command or []
        self.name: str | None = None
        self.env: list[str] = []
        self.env_files: list[str] = []
        self.user: str | None = None
        self.working_dir: str | None = None
        self.entrypoint: str | None = None
        self.hostname: str | None = None
        self.volumes: list[str] = []
        self.mounts: list[str] = []
        self.tmpfs: list[str] = []
        self.shm_size = 64 << 20
        """Bytes of /dev/shm."""
        self.read_only = False
        self.labels: list[str] = []
        self.label_files: list[str] = []
        self.remove = False
        self.interactive = False
        self.tty = False
        self.host_network = False
        self.add_hosts: list[str] = []
        self.dns: list[str] = []
        self.dns_options: list[str] = []
        self.dns_search: list[str] = []
        self.groups: list[str] = []
        self.stop_signal: str | None = None
        self.stop_timeout: int | None = None
        self.platform: str | None = None
        self.pull = "missing"
        self.quiet = False
        self.cidfile: str | None = None
        self.limits: dict[str, Any] = {}
        """As kernel/limits.py has them."""
        self.cap_add: list[str] = []
        self.cap_drop: list[str] = []
        self.privileged = False
        self.runtime = ""
        """"" for the shared kernel, "vm" or "uml" for a machine of its own"""
        self.machine: dict[str, object] = {}
        """Of a machine: memory (MiB), cpus, accel, forwards (host address, port, guest port, protocol)."""
