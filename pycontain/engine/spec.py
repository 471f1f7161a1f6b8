"""An image and a user's options become a container: its record, and what the kernel is asked to run."""

from __future__ import annotations

import os

from pycontain.engine import containers, environment, etc_files, mounts, names
from pycontain.engine.containers import Container
from pycontain.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.card import Card
    from pycontain.engine.engine import Engine
    from pycontain.engine.options import ContainerOptions

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def create(engine: Engine, card: Card, options: ContainerOptions) -> Container:
    """Make the container's directory and record. Nothing of it is left where this raises.

    Raises ContainerError for options that make no sense, Conflict where the name is taken.
    """
    _check_platform(card, options.image)
    args = _arguments(card, options)
    container_id, directory = containers.new_directory(engine)
    container = Container(container_id, directory, {"Name": ""})
    try:
        container.record = _record(container, card, options, args)
        container.record["Name"] = names.take(engine.root, container_id, options.name)
        container.save()
        if options.cidfile:
            _write_cidfile(options.cidfile, container_id)
    except BaseException:
        containers.discard(engine, container)
        raise
    return container


def kernel_spec(container: Container) -> dict[str, Any]:
    """The record's Spec as kernel.start takes it: with ID and directory, and bytes for what programs see."""
    spec = dict(container.spec)
    spec["id"] = container.id
    spec["directory"] = container.directory
    spec["args"] = [os.fsencode(arg) for arg in spec["args"]]
    spec["env"] = [os.fsencode(item) for item in spec["env"]]
    spec["cwd"] = os.fsencode(spec["cwd"])
    spec["mounts"] = [dict(mount) for mount in spec["mounts"]]
    return spec


def _check_platform(card: Card, image: str) -> None:
    machine = os.uname().machine
    ours = _ARCHITECTURES.get(machine, machine)
    if card.architecture != ours:
        raise ContainerError(
            f"run {image}: the image is for {card.architecture}, this machine is {ours}",
            hint=f"--platform linux/{ours} asks for another one",
        )


def _arguments(card: Card, options: ContainerOptions) -> list[str]:
    entrypoint = list(card.config.get("Entrypoint") or [])
    command = list(card.config.get("Cmd") or [])
    if options.entrypoint is not None:
        entrypoint = [options.entrypoint] if options.entrypoint else []
        command = []
    if options.command:
        command = options.command
    args = entrypoint + command
    if not args:
        raise ContainerError(
            f"run {options.image}: the image names no command", hint="give one after the image's name"
        )
    return args


def _record(container: Container, card: Card, options: ContainerOptions, args: list[str]) -> dict[str, Any]:
    config = card.config
    hostname = options.hostname or container.id[:12]
    image_env = list(config.get("Env") or [])
    env = environment.environment(
        image_env, options.env_files, options.env, hostname=hostname, terminal=options.tty
    )
    own_env = environment.merge(
        dict(item.partition("=")[::2] for item in image_env), options.env_files, options.env
    )
    cwd = options.working_dir or config.get("WorkingDir") or "/"
    if not cwd.startswith("/"):
        raise ContainerError(f"run {options.image}: the working directory {cwd!r} is not an absolute path")
    user = options.user if options.user is not None else config.get("User") or ""
    wanted = [mounts.parse_volume(text) for text in options.volumes]
    wanted += [mounts.parse_mount(text) for text in options.mounts]
    wanted += [mounts.parse_tmpfs(text) for text in options.tmpfs]
    targets = [mount["target"] for mount in wanted]
    for target in targets:
        if targets.count(target) > 1:
            raise ContainerError(f"run {options.image}: {target} is mounted twice")
    own = [m for m in etc_files.write(container.directory, hostname, options) if m["target"] not in targets]
    labels = {**(config.get("Labels") or {}), **_labels(options)}
    spec = {
        "layers": card.layers,
        "args": args,
        "env": env,
        "cwd": cwd,
        "user": user,
        "groups": options.groups,
        "hostname": hostname,
        "terminal": options.tty,
        "size": [0, 0],
        "stdin": options.interactive,
        "read_only": options.read_only,
        "mounts": own + wanted,
        "remove": options.remove,
        "journal": True,
        "log": True,
        "attach": False,
    }
    spec["shm_size"] = options.shm_size
    if options.limits:
        spec["limits"] = options.limits
    if options.cap_add or options.cap_drop or options.privileged:
        spec.update(cap_add=options.cap_add, cap_drop=options.cap_drop, privileged=options.privileged)
    if options.runtime:
        spec["runtime"] = options.runtime
        spec["machine"] = options.machine
    stop_signal = options.stop_signal or config.get("StopSignal") or ""
    return {
        "Id": container.id,
        "Name": "",
        "Created": containers.created_now(),
        "Image": card.image_id,
        "ImageName": options.image,
        "ManifestDigest": card.manifest,
        "Path": args[0],
        "Args": args[1:],
        "Config": {
            "Hostname": hostname,
            "User": user,
            "Tty": options.tty,
            "OpenStdin": options.interactive,
            "Env": own_env,
            "Cmd": options.command or config.get("Cmd") if options.entrypoint is None else options.command,
            "Entrypoint": (
                config.get("Entrypoint")
                if options.entrypoint is None
                else [options.entrypoint]
                if options.entrypoint
                else None
            ),
            "Image": options.image,
            "WorkingDir": cwd,
            "Labels": labels,
            "ExposedPorts": config.get("ExposedPorts") or {},
            "Volumes": config.get("Volumes") or {},
            "StopSignal": stop_signal,
            "StopTimeout": options.stop_timeout,
        },
        "HostConfig": {
            "AutoRemove": options.remove,
            "Binds": options.volumes,
            "Mounts": wanted,
            "NetworkMode": "host",
            "ReadonlyRootfs": options.read_only,
            "GroupAdd": options.groups,
            "ExtraHosts": options.add_hosts,
            "Dns": options.dns,
            "DnsOptions": options.dns_options,
            "DnsSearch": options.dns_search,
            "ContainerIDFile": options.cidfile or "",
            "Runtime": options.runtime or "pycontain",
            "ShmSize": options.shm_size,
            **limits_of_host_config(options.limits),
            **_machine_of_host_config(options),
            "Ulimits": [
                {"Name": name, "Soft": soft, "Hard": hard}
                for name, (soft, hard) in options.limits.get("ulimits", {}).items()
            ],
            "CapAdd": options.cap_add or None,
            "CapDrop": options.cap_drop or None,
            "Privileged": options.privileged,
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        },
        "Spec": spec,
    }


def limits_of_host_config(limits: dict[str, Any]) -> dict[str, Any]:
    """The limits that can change, by Docker's names."""
    return {
        "Memory": limits.get("memory", 0),
        "NanoCpus": limits.get("nano_cpus", 0),
        "PidsLimit": limits.get("pids"),
        "CpusetCpus": ",".join(map(str, limits.get("cpuset", []))),
    }


MACHINE_MEMORY = 128
"""MiB of a machine for which nothing else is asked (vm/cloner.py)."""


def _machine_of_host_config(options: ContainerOptions) -> dict[str, Any]:
    """Where it is a machine: what that has, and that its network is none of the host's."""
    if not options.runtime:
        return {}
    memory, cpus = options.machine.get("memory", MACHINE_MEMORY), options.machine.get("cpus", 1)
    assert isinstance(memory, int) and isinstance(cpus, int)
    return {
        "Memory": memory << 20,
        "NanoCpus": cpus * 10**9,
        "NetworkMode": "none" if options.runtime == "uml" else "default",
    }


def _labels(options: ContainerOptions) -> dict[str, str]:
    lines: list[str] = []
    for path in options.label_files:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines += [line.strip() for line in file if line.strip() and not line.lstrip().startswith("#")]
        except OSError as error:
            raise ContainerError(f"read label file {path}: {error.strerror}") from None
    labels = {}
    for item in lines + options.labels:
        name, _, value = item.partition("=")
        if not name:
            raise ContainerError(f"set label {item!r}: it has no name")
        labels[name] = value
    return labels


def _write_cidfile(path: str, container_id: str) -> None:
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(container_id)
    except FileExistsError:
        raise ContainerError(f"write container ID file {path}: it is there already") from None
    except OSError as error:
        raise ContainerError(f"write container ID file {path}: {error.strerror}") from None
