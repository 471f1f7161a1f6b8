"""URLs as sources of ADD: what is one, and what its file is called. Light: remote.py fetches them."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote, urlsplit

REMOTE = ("http://", "https://")


def is_url(source: str) -> bool:
    """Whether ADD fetches this source."""
    return source.startswith(REMOTE)


def file_name(url: str) -> str:
    """The last part of the URL's path. Raises ValueError."""
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        raise ValueError(f"{url!r} is not a URL") from None
    name = posixpath.basename(path)
    return name if name not in ("", ".", "..") and "\0" not in name else "__unnamed__"
