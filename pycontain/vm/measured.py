"""What was measured of this host holds until it boots again: a small file in the machines' directory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any


def once_a_boot(path: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """This boot's values; measured now if there are none yet."""
    boot = _boot_id()
    try:
        with open(path, encoding="ascii") as file:
            kept = json.load(file)
        if kept["boot"] == boot and kept["uid"] == os.geteuid():
            return dict(kept["values"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a cache
    values = measure()
    with open(path + "~", "w", encoding="ascii") as file:
        json.dump({"boot": boot, "uid": os.geteuid(), "values": values}, file)
    os.replace(path + "~", path)
    return values


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
