"""Image configurations (image-spec config.md, and Docker's additions: Shell, Healthcheck, OnBuild).

Fields that we do not know survive from_bytes -> to_bytes in `extra`; what Docker's old builder left
behind about its own containers ("container_config" and the like) does not.
"""

# Annotations are evaluated here: NamedTuple would compile each one again from a string.

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pycontain.errors import ImageError
from pycontain.image import document
from pycontain.image.digest import parse_digest
from pycontain.image.platform import Platform

_WHAT = "image config"
_LEFT_BEHIND = ("container", "container_config", "docker_version", "id", "parent", "parent_id", "throwaway")


class Healthcheck(NamedTuple):
    """How to test a container; times in ns.

    test: () inherit, ("NONE",), ("CMD", word, …) or ("CMD-SHELL", line).
    """

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From a config's "Healthcheck"."""
        return cls(
            document.strings(value, "Test", _WHAT) or (),
            *(document.integer(value, key, _WHAT) for key in _HEALTH_NUMBERS),
        )

    def to_json(self) -> dict[str, Any]:
        """As in a config; zeros are left out."""
        value: dict[str, Any] = {"Test": list(self.test)} if self.test else {}
        value.update((key, number) for key, number in zip(_HEALTH_NUMBERS, self[1:], strict=True) if number)
        return value


_HEALTH_NUMBERS = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")


class History(NamedTuple):
    """One step of an image's making. created: RFC 3339. empty_layer: the step made no layer."""

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool = False

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From an element of a config's "history"."""
        created, created_by, author, comment = (
            document.string(value, key, _WHAT) or None for key in _HISTORY_TEXTS
        )
        return cls(created, created_by, author, comment, value.get("empty_layer") is True)

    def to_json(self) -> dict[str, Any]:
        """As in a config; absent fields are left out."""
        value: dict[str, Any] = {k: v for k, v in zip(_HISTORY_TEXTS, self[:4], strict=True) if v is not None}
        if self.empty_layer:
            value["empty_layer"] = True
        return value


_HISTORY_TEXTS = ("created", "created_by", "author", "comment")


class RunConfig(NamedTuple):
    """How to run an image by default. entrypoint and cmd: None is absent, () is "cleared"."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = {}
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    extra: Mapping[str, Any] = {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From a config's "config"."""
        test = document.table(value, "Healthcheck", _WHAT)
        health = Healthcheck.from_json(test) if test is not None else None
        return cls(
            document.string(value, "User", _WHAT),
            tuple(document.table(value, "ExposedPorts", _WHAT) or ()),
            document.strings(value, "Env", _WHAT) or (),
            document.strings(value, "Entrypoint", _WHAT),
            document.strings(value, "Cmd", _WHAT),
            tuple(document.table(value, "Volumes", _WHAT) or ()),
            document.string(value, "WorkingDir", _WHAT),
            document.string_map(value, "Labels", _WHAT),
            document.string(value, "StopSignal", _WHAT),
            document.strings(value, "Shell", _WHAT) or (),
            None if health is None or health == Healthcheck() else health,
            document.strings(value, "OnBuild", _WHAT) or (),
            {key: item for key, item in value.items() if key not in _RUN_KEYS},
        )

    def to_json(self) -> dict[str, Any]:
        """As in a config; absent and empty fields are left out, a cleared Entrypoint or Cmd is []."""
        value: dict[str, Any] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Env": list(self.env),
            "Entrypoint": self.entrypoint,
            "Cmd": self.cmd,
            "Volumes": {volume: {} for volume in self.volumes},
            "WorkingDir": self.working_dir,
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            "Shell": list(self.shell),
            "Healthcheck": self.healthcheck.to_json() if self.healthcheck is not None else None,
            "OnBuild": list(self.on_build),
        }
        value = {key: item for key, item in value.items() if item or (key in _CLEARABLE and item is not None)}
        value.update(self.extra)
        return value

    def environment(self) -> dict[str, str]:
        """Env as a mapping; the last of equal names wins, a name without "=" is left out."""
        return dict(item.split("=", 1) for item in self.env if "=" in item)


_CLEARABLE = ("Entrypoint", "Cmd")
_RUN_KEYS = frozenset(
    (
        *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels"),
        *("StopSignal", "Shell", "Healthcheck", "OnBuild"),
    )
)


class ImageConfig(NamedTuple):
    """An image's configuration. diff_ids: digests of the uncompressed layers, bottom first."""

    architecture: str
    os: str = "linux"
    variant: str | None = None
    created: str | None = None
    author: str | None = None
    config: RunConfig = RunConfig()
    diff_ids: tuple[str, ...] = ()
    history: tuple[History, ...] = ()
    extra: Mapping[str, Any] = {}

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """From the blob; ImageError where it is no image's config."""
        value = document.parse(data, _WHAT)
        rootfs = document.table(value, "rootfs", _WHAT)
        if rootfs is None:
            raise ImageError("read image config: it has no rootfs")
        if document.string(rootfs, "type", _WHAT) not in ("layers", ""):
            raise ImageError("read image config: rootfs.type is not 'layers'")
        architecture = document.string(value, "architecture", _WHAT)
        operating_system = document.string(value, "os", _WHAT)
        return cls(
            architecture or Platform.host().architecture,
            operating_system or "linux",
            document.string(value, "variant", _WHAT) or None,
            document.string(value, "created", _WHAT) or None,
            document.string(value, "author", _WHAT) or None,
            RunConfig.from_json(document.table(value, "config", _WHAT) or {}),
            tuple(parse_digest(x) for x in document.strings(rootfs, "diff_ids", _WHAT) or ()),
            tuple(History.from_json(x) for x in document.tables(value, "history", _WHAT)),
            {key: item for key, item in value.items() if key not in _KEYS and key not in _LEFT_BEHIND},
        )

    def to_bytes(self) -> bytes:
        """The JSON blob; the same config gives the same bytes."""
        value: dict[str, Any] = {
            "architecture": self.architecture,
            "author": self.author,
            "config": self.config.to_json(),
            "created": self.created,
            "history": [step.to_json() for step in self.history],
            "os": self.os,
            "rootfs": {"type": "layers", "diff_ids": list(self.diff_ids)},
            "variant": self.variant,
        }
        value = {key: item for key, item in value.items() if item or key == "config"}
        value.update(self.extra)
        return document.write(value)

    @property
    def platform(self) -> Platform:
        """What the image runs on."""
        return Platform(self.os, self.architecture, self.variant)

    def with_layer(self, diff_id: str, step: History) -> Self:
        """The configuration of this image with one layer more on top."""
        return self._replace(diff_ids=(*self.diff_ids, diff_id), history=(*self.history, step))

    def with_step(self, step: History) -> Self:
        """The same layers; one step in the history that made none."""
        return self._replace(history=(*self.history, step._replace(empty_layer=True)))


_KEYS = frozenset(("architecture", "os", "variant", "created", "author", "config", "rootfs", "history"))
