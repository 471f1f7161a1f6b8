"""The registry's commands: serve, gc, htpasswd."""

from __future__ import annotations

import os
import signal
import sys
import threading

import click

import registry
from registry.app import log_to_stderr
from registry.storage.content import Content
from registry.storage.sweep import sweep


def default_root() -> str:
    """$PYCONTAIN_REGISTRY_ROOT, else pycontain-registry in the user's data directory (XDG)."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.environ.get("PYCONTAIN_REGISTRY_ROOT") or os.path.join(data, "pycontain-registry")


def _parse_address(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise click.BadParameter(f"{address!r} is not HOST:PORT", param_hint="--address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host or "0.0.0.0", int(port)


_root = click.option("--root", metavar="DIRECTORY", help="Where the registry keeps what it has.")


@click.command()
@click.option(
    "--address", default="127.0.0.1:5000", show_default=True, metavar="HOST:PORT", help="Where to listen."
)
@_root
@click.option("--read-only", is_flag=True, help="Refuse every change.")
@click.option("--htpasswd", metavar="FILE", help="Let in only the users of this file.")
@click.option("--tls-cert", metavar="FILE", help="Serve TLS with this certificate chain (PEM).")
@click.option("--tls-key", metavar="FILE", help="The certificate's key, if it is not in the same file.")
@click.option("--no-sync", is_flag=True, help="Faster, but a power cut may lose what was acknowledged.")
@click.option("--quiet", "-q", is_flag=True, help="No line per request.")
def serve(
    address: str,
    root: str | None,
    read_only: bool,
    htpasswd: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    no_sync: bool,
    quiet: bool,
) -> None:
    """Serve images to pycontain, docker, podman, skopeo and others, until SIGTERM or Ctrl-C."""
    if tls_key and not tls_cert:
        raise click.UsageError("--tls-key needs --tls-cert")
    host, port = _parse_address(address)
    if htpasswd and not tls_cert and host not in ("127.0.0.1", "localhost", "::1"):
        click.echo("warning: passwords cross the network in clear text without --tls-cert", err=True)
    stop = threading.Event()
    server = registry.serve(
        root or default_root(),
        host,
        port,
        read_only=read_only,
        htpasswd=htpasswd,
        tls_cert=tls_cert,
        tls_key=tls_key,
        durable=not no_sync,
        log=None if quiet else log_to_stderr,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    click.echo(f"serving {root or default_root()} at {server.url}", err=True)
    stop.wait()
    server.close()


@click.command()
@_root
@click.option("--untagged", is_flag=True, help="Also remove manifests that no tag leads to.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="Keep blobs and uploads that are younger.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
def gc(root: str | None, untagged: bool, grace: float, dry_run: bool) -> None:
    """Remove content that nothing refers to. The registry must not run meanwhile."""
    directory = root or default_root()
    if not os.path.isdir(directory):
        raise click.UsageError(f"there is no registry at {directory}")
    swept = sweep(Content(directory), grace=grace, untagged=untagged, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    click.echo(
        f"{verb} {swept.blobs} blobs ({swept.size} bytes), {swept.links} links, "
        f"{swept.manifests} manifests, {swept.uploads} uploads"
    )


@click.command()
@click.argument("user")
def htpasswd(user: str) -> None:
    """Read a password and print the line that lets USER in (--htpasswd)."""
    from registry.htpasswd import hash_password  # loads a C library

    if ":" in user or not user:
        raise click.BadParameter("a user's name has no colon", param_hint="USER")
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    click.echo(f"{user}:{hash_password(password)}")
