"""ADD of an http or https URL: downloaded to a file, checked, never unpacked by itself.

This module imports urllib and ssl: import it only where something is downloaded.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from pycontain.build.urls import file_name
from pycontain.image.digest import parse_digest

TIMEOUT = 60  # seconds without a byte
MAX_SIZE = 64 << 30
CHUNK = 1 << 20


class Download(NamedTuple):
    """path: the host file; name: what the URL calls it; mtime: Last-Modified in ns, 0 where there is none."""

    path: str
    name: str
    mtime: int
    digest: str


def download(url: str, path: str, checksum: str = "") -> Download:
    """Fetch a URL into a new host file. Raises ValueError with the reason.

    checksum: "sha256:..." that the bytes must have; "" does not check.
    """
    name = file_name(url)
    algorithm = parse_digest(checksum).partition(":")[0] if checksum else "sha256"
    digest = hashlib.new(algorithm)
    request = urllib.request.Request(url, headers={"User-Agent": "pycontain", "Accept-Encoding": "identity"})
    size = 0
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, open(path, "xb") as file:
            expected = answer.headers.get("Content-Length")
            modified = answer.headers.get("Last-Modified")
            while chunk := answer.read(CHUNK):
                size += len(chunk)
                if size > MAX_SIZE:
                    raise ValueError(f"download {url}: over {MAX_SIZE >> 30} GiB")
                digest.update(chunk)
                file.write(chunk)
    except urllib.error.HTTPError as error:
        error.close()
        raise ValueError(f"download {url}: the server answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise ValueError(f"download {url}: {error.reason}") from None
    except (http.client.HTTPException, OSError) as error:
        raise ValueError(f"download {url}: {error}") from None
    if expected is not None and expected.isdecimal() and int(expected) != size:
        raise ValueError(f"download {url}: the server promised {expected} bytes and sent {size}")
    found = f"{algorithm}:{digest.hexdigest()}"
    if checksum and found != checksum:
        raise ValueError(f"download {url}: digest mismatch: {found}, expected {checksum}")
    return Download(path, name, http_time(modified), found)


def http_time(text: str | None) -> int:
    """A Last-Modified header in ns since the epoch, 0 where it is absent or no date."""
    if not text:
        return 0
    try:
        return round(parsedate_to_datetime(text).timestamp() * 1e9)
    except (ValueError, OverflowError):
        return 0
