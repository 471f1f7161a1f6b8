"""pycontain push: send an image to a registry."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", metavar="NAME[:TAG]")
@click.option("--all-tags", "-a", is_flag=True, help="Send all tags of the repository.")
@click.option("--quiet", "-q", is_flag=True, help="Print only the image's full name.")
def push(name: str, all_tags: bool, quiet: bool) -> None:
    """Send an image to a registry, as far as the registry does not have it."""
    # http and ssl take 60 ms to load, which `pycontain push --help` need not.
    from pycontain.cli.layer_display import LayerDisplay
    from pycontain.client.progress import Silent
    from pycontain.client.push import push as push_image
    from pycontain.errors import NotFound
    from pycontain.image.reference import Reference
    from pycontain.store import Store

    ref = Reference.parse(name)
    store = Store.open()
    refs = [ref]
    if all_tags:
        if ref.digest or ":" in name.rpartition("/")[2]:
            raise click.UsageError("a tag cannot be given with --all-tags")
        refs = sorted(each for each, _ in store.tags.items() if each.name == ref.name and each.tag)
        if not refs:
            raise NotFound(f"push {ref.familiar_name}: there is no such image")
    if quiet:
        for each in refs:
            push_image(store, each, Silent())
            click.echo(str(each))
        return
    click.echo(f"The push refers to repository [{ref.name}]")
    for each in refs:
        with LayerDisplay() as display:
            descriptor = push_image(store, each, display)
        there = store.tags.get(each)
        if there is not None and there.digest != descriptor.digest:
            click.echo(f"only one platform of {there.digest} is here, so only its manifest was pushed")
        click.echo(f"{each.target}: digest: {descriptor.digest} size: {descriptor.size}")
