"""What the host's pip and npm are told by their settings, for the same programs in a container: on many machines
the way out goes through a mirror, with a certificate of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
DEFAULT_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")  # Debian's, update-ca-certificates(8)
INSIDE = "/etc/ssl/certs/ca-certificates.crt"


def certificates() -> Path | None:
    """The file with all authorities that the host trusts, or None if there is none."""
    named = [Path(os.environ[name]) for name in BUNDLES if os.environ.get(name)]
    return next((path for path in [*named, DEFAULT_BUNDLE] if path.is_file()), None)


def trusted_by_build(context: Path) -> str:
    """Lines of a Dockerfile with which the programs in it trust whom the host trusts."""
    bundle = certificates()
    if bundle is None:
        return ""
    shutil.copyfile(bundle, context / "authorities.crt")
    return f"COPY authorities.crt {INSIDE}\nENV PIP_CERT={INSIDE} NODE_EXTRA_CA_CERTS={INSIDE}\n"


def trusted_by_run() -> list[str]:
    """The same as options of `pycontain run`."""
    bundle = certificates()
    if bundle is None:
        return []
    return ["-v", f"{bundle}:{INSIDE}:ro", "-e", f"PIP_CERT={INSIDE}", "-e", f"NODE_EXTRA_CA_CERTS={INSIDE}"]


def pip_index() -> str | None:
    """The index that the host's pip is set to, if it is set to one."""
    told = os.environ.get("PIP_INDEX_URL") or _asked(
        "python3", "-m", "pip", "config", "get", "global.index-url"
    )
    return told or None


def npm_registry() -> str | None:
    return _asked("npm", "config", "get", "registry") or None


def _asked(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
