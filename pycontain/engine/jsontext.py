"""Writing small JSON records without the json package, whose import (with re) is a tenth of a `run`."""

from __future__ import annotations

from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dumps(value: Any) -> str:
    """The value as JSON: dict with text keys, list, tuple, str, int, bool or None; TypeError for another.

    Texts out of undecodable bytes (surrogates) survive: json.loads gives them back.
    """
    if isinstance(value, str):
        text: str = encode_basestring_ascii(value)
        return text
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode_basestring_ascii(k)}:{dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(dumps(item) for item in value) + "]"
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
