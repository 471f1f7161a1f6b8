"""JSON documents that strangers wrote: limits on them, and typed access with errors that name the field.

Every function raises ImageError and nothing else, whatever the bytes are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pycontain.errors import ImageError

MANIFEST_LIMIT = 4 << 20
"""Bytes. distribution-spec 1.1, "Pushing Manifests": registries should accept 4 MiB; nobody sends more."""


def parse(data: bytes, what: str, limit: int = MANIFEST_LIMIT) -> dict[str, Any]:
    """The JSON object in `data`. `what` names the document in errors ("manifest", "image config")."""
    value = _parse(data, what, limit)
    if not isinstance(value, dict):
        raise ImageError(f"read {what}: not a JSON object")
    return value


def parse_list(data: bytes, what: str, limit: int = MANIFEST_LIMIT) -> list[dict[str, Any]]:
    """The JSON array of objects in `data`."""
    value = _parse(data, what, limit)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise ImageError(f"read {what}: not a JSON array of objects")
    return value


def _parse(data: bytes, what: str, limit: int) -> Any:
    if len(data) > limit:
        raise ImageError(f"read {what}: {len(data)} bytes are more than the limit of {limit}")
    try:
        value = json.loads(data.decode("utf-8"))
        if b"\\u" in data:
            # "\ud800" alone is valid JSON, but no text: it could not be written again.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise ImageError(f"read {what}: not valid JSON: {reason[:200]}") from error
    return value


def write(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """Compact UTF-8 JSON in the order of the keys; the same value gives the same bytes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def string(document: Mapping[str, Any], key: str, what: str) -> str:
    """The string at `key`, "" where it is absent or null."""
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ImageError(f"read {what}: {key} is not a string")
    if "\0" in value:
        raise ImageError(f"read {what}: {key} holds a NUL character")
    return value


def integer(document: Mapping[str, Any], key: str, what: str) -> int:
    """The whole number at `key`, 0 where it is absent or null."""
    value = document.get(key)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise ImageError(f"read {what}: {key} is not a whole number")
    if not -(1 << 63) <= value < 1 << 63:
        raise ImageError(f"read {what}: {key} does not fit 64 bits")
    return value


def table(document: Mapping[str, Any], key: str, what: str) -> dict[str, Any] | None:
    """The object at `key`, None where it is absent or null."""
    value = document.get(key)
    if value is not None and not isinstance(value, dict):
        raise ImageError(f"read {what}: {key} is not an object")
    return value


def rows(document: Mapping[str, Any], key: str, what: str) -> list[Any] | None:
    """The array at `key`, None where it is absent or null."""
    value = document.get(key)
    if value is not None and not isinstance(value, list):
        raise ImageError(f"read {what}: {key} is not an array")
    return value


def tables(document: Mapping[str, Any], key: str, what: str) -> list[dict[str, Any]]:
    """The array of objects at `key`, empty where it is absent or null."""
    values = rows(document, key, what) or []
    if not all(isinstance(value, dict) for value in values):
        raise ImageError(f"read {what}: {key} holds something that is not an object")
    return values


def strings(document: Mapping[str, Any], key: str, what: str) -> tuple[str, ...] | None:
    """The array of strings at `key`, None where it is absent or null (the two differ for Cmd)."""
    values = rows(document, key, what)
    if values is None:
        return None
    for value in values:
        if not isinstance(value, str) or "\0" in value:
            raise ImageError(f"read {what}: {key} holds something that is not a string without NUL")
    return tuple(values)


def string_map(document: Mapping[str, Any], key: str, what: str) -> dict[str, str]:
    """The object of strings at `key`, empty where it is absent or null."""
    values = table(document, key, what) or {}
    if not all(isinstance(value, str) for value in values.values()):
        raise ImageError(f"read {what}: {key} holds a value that is not a string")
    return values
