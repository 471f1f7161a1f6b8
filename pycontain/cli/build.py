"""pycontain build: make an image from a Dockerfile."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

import click

from pycontain.build.builder import build as build_image
from pycontain.build.progress import progress_for
from pycontain.cli.options import UsageError
from pycontain.engine.engine import Engine
from pycontain.engine.images import obtain
from pycontain.engine.mounts import parse_size
from pycontain.errors import BuildError
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference
from pycontain.store.images import Image

LATER = {
    "--add-host": "a RUN uses the host's own /etc/hosts",
    "--build-context": "copy what is needed into the context",
    "--cache-from": "the cache is local",
    "--cache-to": "the cache is local",
    "--cgroup-parent": "",
    "--memory": "",
    "--output": "use save or export afterwards",
    "--push": "use push afterwards",
    "--secret": "",
    "--squash": "",
    "--ssh": "",
    "--ulimit": "",
}
"""Options of docker build that are not there yet -> what to do without them."""


def refuse(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """An option that is not there yet is an error, not ignored."""
    if value:
        name = parameter.opts[0]
        raise UsageError(f"build: not supported yet: {name}", hint=LATER[name] or None)


@click.command()
@click.argument("context", metavar="PATH|-", default=".")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", help="A name for the image.")
@click.option("-f", "--file", default="", metavar="FILE", help="The Dockerfile; - reads standard input.")
@click.option("--build-arg", "build_args", multiple=True, metavar="NAME[=VALUE]", help="A value for an ARG.")
@click.option("--target", default="", metavar="STAGE", help="The stage to build; the last one otherwise.")
@click.option("--no-cache", is_flag=True, help="Carry out every step.")
@click.option("--pull", is_flag=True, help="Ask the registry for newer base images.")
@click.option("--platform", default="", metavar="OS/ARCH", help="What the image is for.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label for the image.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image's id only.")
@click.option("--iidfile", default="", metavar="FILE", help="Write the image's id to a file.")
@click.option(
    "--progress", type=click.Choice(["auto", "plain", "tty"]), default="auto", help="How to show it."
)
@click.option("--compression", type=click.Choice(["zstd", "gzip", "none"]), default="zstd", help="Of layers.")
@click.option("--network", default="default", metavar="MODE", help="The network of RUN: default or host.")
@click.option("--shm-size", default="", metavar="SIZE", help="The size of /dev/shm of a RUN (64m).")
@click.option("--rm/--no-rm", default=True, help="Nothing is left behind in either case.")
@click.option("--load", is_flag=True, help="The image goes to the local store in any case.")
def build(
    context: str,
    tags: tuple[str, ...],
    file: str,
    build_args: tuple[str, ...],
    target: str,
    no_cache: bool,
    pull: bool,
    platform: str,
    labels: tuple[str, ...],
    quiet: bool,
    iidfile: str,
    progress: str,
    compression: str,
    network: str,
    shm_size: str,
    rm: bool,
    load: bool,
) -> None:
    """Make an image from a Dockerfile.

    PATH is the directory whose files COPY may take; - reads a tar of it, or a Dockerfile alone, from standard
    input.
    """
    if network not in ("default", "host"):
        raise UsageError(
            f"build: not supported yet: --network {network}", hint="default and host are the host's"
        )
    # A context of 50,000 files is as many long-lived objects: looking through them for garbage again and again
    # doubles the time of a cached build.
    gc.set_threshold(200_000, 50, 50)
    report = progress_for(progress, sys.stderr, quiet=quiet)
    engine = Engine()

    def find(reference: Reference, wanted: Platform) -> Image:
        announced = False

        def announce(found: Reference) -> Any:
            nonlocal announced
            announced = True
            report.step("[internal]", f"pull {found.familiar}")
            return report

        image = obtain(
            engine.store,
            str(reference),
            platform=str(wanted),
            pull="always" if pull else "missing",
            progress=announce,
        )
        if announced:
            report.done()
        return image

    image = build_image(
        engine.store,
        context,
        file,
        tags=tags,
        build_args=arguments(build_args),
        target=target,
        no_cache=no_cache,
        platform=Platform.parse(platform) if platform else None,
        labels=dict(label.partition("=")[::2] for label in labels),
        compression=compression,
        progress=report,
        shm_size=size_of(shm_size),
        find_image=find,
        start_kernel=engine.kernel,
    )
    if iidfile:
        try:
            with open(iidfile, "w") as out:
                out.write(image.id)
        except OSError as error:
            raise BuildError(f"write {iidfile}: {error.strerror}") from None
    if quiet:
        print(image.id)


for option in LATER:
    build.params.append(click.Option([option], hidden=True, expose_value=False, callback=refuse))


def size_of(text: str) -> int:
    """--shm-size in bytes, 0 where it was not given."""
    size = parse_size(text) if text else 0
    if size < 0:
        raise UsageError(f"build: --shm-size {text}: less than 0")
    return size


def arguments(given: tuple[str, ...]) -> dict[str, str]:
    """--build-arg values; a name alone takes our own environment's value, if there is one."""
    values = {}
    if "SOURCE_DATE_EPOCH" in os.environ:
        values["SOURCE_DATE_EPOCH"] = os.environ["SOURCE_DATE_EPOCH"]
    for text in given:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"build: --build-arg {text!r} has no name")
        if equals:
            values[name] = value
        elif name in os.environ:
            values[name] = os.environ[name]
    return values
