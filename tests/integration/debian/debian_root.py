"""A Debian root file system with the programs that the tests run, made once by mmdebstrap and kept.

It is kept in $PYCONTAIN_TEST_CACHE (default: ~/.cache/pycontain-tests), under a name made of what went into it. Where
Debian's archive is, and how to get there, is the host's own apt configuration.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

SUITE = "bookworm"
PACKAGES = [
    "apt",
    "adduser",
    "bash",
    "bc",
    "build-essential",
    "busybox-static",
    "ca-certificates",
    "curl",
    "dash",
    "dpkg-dev",
    "ecj",
    "file",
    "git",
    "gosu",
    "htop",
    "inotify-tools",
    "less",
    "libpython3.11-testsuite",
    "lsof",
    "musl",
    "musl-tools",
    "nginx-light",
    "nodejs",
    "openjdk-17-jre-headless",
    "perl",
    "postgresql",
    "procps",
    "psmisc",
    "python3",
    "python3-pip",
    "redis-server",
    "rsync",
    "s6",
    "sqlite3",
    "strace",
    "sudo",
    "tcl-dev",
    "tini",
    "util-linux",
    "vim-tiny",
    "zsh",
]
KEPT_SETTINGS = ("Acquire::Check-", "Acquire::http::Proxy", "Acquire::https::Proxy")
TIMEOUT = 900.0


class NoDebian(Exception):
    """Why there is no Debian root on this machine."""


def obtain() -> Path:
    """The root as a tar file. Raises NoDebian."""
    sources = b"\n".join(_sources())
    name = hashlib.sha256(" ".join([SUITE, *PACKAGES]).encode() + sources).hexdigest()[:16]
    directory = Path(os.environ.get("PYCONTAIN_TEST_CACHE") or Path.home() / ".cache" / "pycontain-tests")
    directory.mkdir(parents=True, exist_ok=True)
    tar = directory / f"debian-{name}.tar"
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of the tests make it once
        if not tar.exists():
            _make(tar, sources)
    return tar


def _make(tar: Path, sources: bytes) -> None:
    if shutil.which("mmdebstrap") is None:
        raise NoDebian("mmdebstrap is not installed, and no Debian root is kept")
    if not sources:
        raise NoDebian("the host's apt knows no Debian archive")
    partial = tar.with_suffix(".part.tar")
    try:
        done = subprocess.run(
            [
                *("mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"),
                *('--aptopt=APT::Install-Recommends "false"', *(f"--aptopt={line}" for line in _settings())),
                *(SUITE, str(partial), "-"),
            ],
            input=sources,
            capture_output=True,
            timeout=TIMEOUT,
        )
        if done.returncode:
            raise NoDebian(f"mmdebstrap: {done.stderr.decode('utf-8', 'replace')[-500:]}")
        partial.rename(tar)
    except subprocess.TimeoutExpired:
        raise NoDebian(f"mmdebstrap has not ended within {TIMEOUT:.0f} s") from None
    finally:
        partial.unlink(missing_ok=True)


def _sources() -> Iterator[bytes]:
    """The host's sources for Debian, with source packages asked for too."""
    for file in sorted(Path("/etc/apt").glob("sources.list.d/*.sources")):
        for stanza in file.read_bytes().split(b"\n\n"):
            lines = [line for line in stanza.splitlines() if line and not line.startswith(b"#")]
            if any(line.startswith(b"Suites:") and SUITE.encode() in line for line in lines):
                yield (
                    b"\n".join(b"Types: deb deb-src" if x.startswith(b"Types:") else x for x in lines) + b"\n"
                )
    for file in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt").glob("sources.list.d/*.list"))]:
        if file.exists():
            for line in file.read_bytes().splitlines():
                if line.startswith(b"deb ") and SUITE.encode() in line:
                    yield line
                    yield b"deb-src " + line[4:]


def _settings() -> list[str]:
    """What the host's apt needs to reach its archive, as lines of apt.conf(5)."""
    dump = shutil.which("apt-config")
    if dump is None:
        return []
    text = subprocess.run([dump, "dump"], capture_output=True, text=True, check=False, timeout=30).stdout
    return [line.rstrip(";") for line in text.splitlines() if line.startswith(KEPT_SETTINGS)]
