"""Docker's JSON descriptions of containers and images (Engine API: ContainerInspect, ImageInspect)."""

from __future__ import annotations

import os
from typing import Any

from pycontain.engine import clock
from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.ports import described, published
from pycontain.engine.state import State, live_containers, state_of
from pycontain.store.images import Image


def describe_container(engine: Engine, container: Container, state: State | None = None) -> dict[str, Any]:
    """The container as `docker inspect` shows it; what does not exist here is left out."""
    if state is None:
        state = state_of(container, live_containers(engine))
    record = container.record
    mounts = record["HostConfig"]["Mounts"]
    return {
        "Id": container.id,
        "Created": record["Created"],
        "Path": record["Path"],
        "Args": record["Args"],
        "State": {
            "Status": state.status,
            "Running": state.is_running,
            "Paused": state.status == "paused",
            "Restarting": False,
            "OOMKilled": state.oom_killed,
            "Dead": False,
            "Pid": state.pid,
            "ExitCode": state.exit_code,
            "Error": "",
            "StartedAt": clock.rfc3339(state.started) if state.started else clock.ZERO,
            "FinishedAt": clock.rfc3339(state.finished) if state.finished else clock.ZERO,
        },
        "Image": record["Image"],
        "ResolvConfPath": os.path.join(container.directory, "resolv.conf"),
        "HostnamePath": os.path.join(container.directory, "hostname"),
        "HostsPath": os.path.join(container.directory, "hosts"),
        "LogPath": os.path.join(container.directory, "log"),
        "Name": "/" + container.name,
        "RestartCount": 0,
        "Driver": "pycontain",
        "Platform": "linux",
        "HostConfig": record["HostConfig"],
        "Mounts": [
            {
                "Type": mount["type"],
                "Source": mount.get("source", ""),
                "Destination": mount["target"],
                "Mode": "ro" if mount["read_only"] else "",
                "RW": not mount["read_only"],
                "Propagation": "rprivate" if mount["type"] == "bind" else "",
            }
            for mount in mounts
        ],
        "Config": record["Config"],
        "NetworkSettings": {
            "Ports": described(published(container)) if state.is_running else {},
            "Networks": {record["HostConfig"]["NetworkMode"]: {}},
        },
    }


def describe_image(engine: Engine, image: Image) -> dict[str, Any]:
    """The image as `docker image inspect` shows it."""
    config = image.config
    tags, digests = [], []
    for reference, descriptor in engine.store.tags.items():
        if descriptor.digest == image.descriptor.digest:
            tags.append(reference.familiar)
            digests.append(f"{reference.familiar_name}@{descriptor.digest}")
    return {
        "Id": image.id,
        "RepoTags": sorted(tags),
        "RepoDigests": sorted(set(digests)),
        "Comment": config.history[-1].comment or "" if config.history else "",
        "Created": config.created or clock.ZERO,
        "Author": config.author or "",
        "Config": config.config.to_json(),
        "Architecture": config.architecture,
        "Variant": config.variant or "",
        "Os": config.os,
        "Size": sum(layer.size for layer in image.manifest.layers),
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "Descriptor": image.descriptor.to_json(),
    }
