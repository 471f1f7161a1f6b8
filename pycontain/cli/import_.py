"""pycontain import: make an image of a root file system's tar."""

from __future__ import annotations

import click

from pycontain.cli.archives import input_file
from pycontain.cli.changes import apply_changes
from pycontain.cli.options import UsageError
from pycontain.engine.engine import Engine
from pycontain.image.config import ImageConfig
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference
from pycontain.store.archive import import_rootfs


@click.command("import")
@click.argument("source", metavar="FILE|-")
@click.argument("repository", metavar="[REPOSITORY[:TAG]]", required=False)
@click.option("-c", "--change", "changes", multiple=True, metavar="LINE", help="Apply a Dockerfile line.")
@click.option("-m", "--message", default="", help="What it is.")
@click.option("--platform", metavar="OS/ARCH", help="What the image is for.")
def import_(
    source: str, repository: str | None, changes: tuple[str, ...], message: str, platform: str | None
) -> None:
    """Make an image of a root file system's tar (plain, gzip, zstd, xz or bzip2)."""
    if source.startswith(("http://", "https://")):
        raise UsageError(
            f"import {source}: an address is not there yet", hint="download it, and import the file"
        )
    store = Engine().store
    reference = Reference.parse(repository) if repository else None
    wanted = Platform.parse(platform) if platform else None
    empty = ImageConfig((wanted or Platform.host()).architecture)
    config = apply_changes(empty, changes).config if changes else None
    with input_file("import", source) as file:
        chunks = iter(lambda: file.read(1 << 20), b"")
        image = import_rootfs(
            store, chunks, reference, config=config, platform=wanted, message=message or None
        )
    print(image.id)
