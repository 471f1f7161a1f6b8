"""The same Debian root as an image, as a directory for chroot, and in podman: real programs in all three."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.benchmarks.measuring import command
from tests.benchmarks.subjects import Ours, Podman
from tests.integration.debian import debian_root

IMAGE = "debian:measured"
OFFLINE = [
    "adduser",
    "bc",
    "bsdextrautils",
    "bzip2",
    "cpio",
    "dc",
    "dnsutils",
    "dosfstools",
    "ed",
    "file",
    "fdisk",
    "gawk",
    "gettext-base",
    "groff-base",
    "hostname",
    "iproute2",
    "iputils-ping",
    "jq",
    "kmod",
    "less",
    "libarchive-tools",
    "lsb-release",
    "m4",
    "man-db",
    "mawk",
    "mtools",
    "nano",
    "ncal",
    "net-tools",
    "netcat-openbsd",
    "openssh-client",
    "patch",
    "pax",
    "pciutils",
    "psmisc",
    "pv",
    "rsync",
    "screen",
    "sharutils",
    "socat",
    "sqlite3",
    "sudo",
    "tcl",
    "telnet",
    "time",
    "tmux",
    "traceroute",
    "tree",
    "unzip",
    "uuid-runtime",
    "vim-tiny",
    "wget",
    "xxd",
    "zip",
    "zsh",
]
DOCKERFILE = """FROM {base}
RUN apt-get update -qq && apt-get install -y -qq --download-only {packages} >/dev/null
RUN cd /usr/src && apt-get source -qq zlib sqlite3 >/dev/null 2>&1 && mv zlib-*/ zlib \\
    && cd sqlite3-*/ && mkdir /tmp/b && cd /tmp/b && /usr/src/sqlite3-*/configure >/dev/null && make sqlite3.c >/dev/null \\
    && cp sqlite3.c sqlite3.h /usr/src/ && rm -rf /tmp/b
"""


class Debian:
    """directory: for the chroot. Raises debian_root.NoDebian, or RuntimeError without root."""

    def __init__(self, directory: str, ours: Ours, peer: Podman | None) -> None:
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            raise RuntimeError("the host's side of it is a chroot, and that needs root")
        self.ours, self.peer = ours, peer
        self.root = os.path.join(directory, "debian")
        tar = debian_root.obtain()
        context = os.path.join(directory, "context")
        os.makedirs(context)
        Path(context, "Dockerfile").write_text(
            DOCKERFILE.format(base="debian:plain", packages=" ".join(OFFLINE))
        )
        ours("import", str(tar), "debian:plain")
        ours("build", "-q", "-t", IMAGE, context)
        ours("create", "--name", "debian", IMAGE, "true")
        archive = os.path.join(directory, "debian.tar")
        ours("export", "-o", archive, "debian")
        os.makedirs(self.root)
        subprocess.run(["tar", "-xf", archive, "-C", self.root, "--numeric-owner"], check=True)
        if peer is not None:
            peer("import", archive, f"localhost/{IMAGE}")

    def inside(self, script: str, *options: str) -> str:
        """The output of a script in a container."""
        return self.ours("run", "--rm", *options, IMAGE, "bash", "-c", script)

    def host(self, script: str) -> str:
        """... in the chroot, with a process table and mounts of its own."""
        outer = (
            'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount -t tmpfs run "$0/run" &&'
            'exec chroot "$0" bash -c "$1"'
        )
        words = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            outer,
            self.root,
            script,
        ]
        clean = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C",
        }  # fmt: skip
        return command(words, clean)()

    def podman(self, script: str) -> str:
        """... under podman."""
        assert self.peer is not None
        return self.peer(*Podman.RUN, f"localhost/{IMAGE}", "bash", "-c", script)
