"""pycontain pull: get an image from a registry."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", metavar="NAME[:TAG|@DIGEST]")
@click.option("--all-tags", "-a", is_flag=True, help="Get all tags of the repository.")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Choose from an image of several platforms.")
@click.option("--quiet", "-q", is_flag=True, help="Print only the image's full name.")
def pull(name: str, all_tags: bool, platform: str | None, quiet: bool) -> None:
    """Get an image from a registry."""
    # http and ssl take 60 ms to load, which `pycontain pull --help` need not.
    from pycontain.cli.layer_display import LayerDisplay
    from pycontain.client.progress import Silent
    from pycontain.client.pull import pull_all
    from pycontain.image.platform import Platform
    from pycontain.image.reference import Reference
    from pycontain.store import Store

    ref = Reference.parse(name)
    if all_tags and (ref.digest or ":" in name.rpartition("/")[2]):
        raise click.UsageError("a tag or digest cannot be given with --all-tags")
    wanted = Platform.parse(platform) if platform else None
    store = Store.open()
    if quiet:
        for pulled in pull_all(store, ref, wanted, Silent(), all_tags):
            click.echo(str(pulled.image.reference or ref))
        return
    if not all_tags and not ref.digest and ":" not in name.rpartition("/")[2]:
        click.echo(f"Using default tag: {ref.tag}")
    if not all_tags:
        click.echo(f"{ref.target}: Pulling from {ref.path}")
    with LayerDisplay() as display:
        for pulled in pull_all(store, ref, wanted, display, all_tags):
            display.settle()
            done = pulled.image.reference or ref
            click.echo(f"Digest: {pulled.digest}")
            word = "Downloaded newer image" if pulled.fresh else "Image is up to date"
            click.echo(f"Status: {word} for {done.familiar}")
            click.echo(str(done))
