"""The whole of a build: read, parse, plan, execute, write the image."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

from pycontain.build.executor import Executor, Options
from pycontain.build.parser import parse
from pycontain.build.planner import FindImage, plan
from pycontain.build.progress import Progress, progress_for
from pycontain.build.workspace import open_workspace
from pycontain.errors import BuildError, NotFound
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference

if TYPE_CHECKING:
    from pycontain.build.running import Kernel
    from pycontain.store import Store
    from pycontain.store.images import Image


def build(
    store: Store,
    context: str,
    dockerfile: str = "",
    *,
    tags: Sequence[str] = (),
    build_args: Mapping[str, str] | None = None,
    target: str = "",
    no_cache: bool = False,
    pull: bool = False,
    platform: Platform | None = None,
    labels: Mapping[str, str] | None = None,
    compression: str = "zstd",
    shm_size: int = 0,
    progress: Progress | None = None,
    find_image: FindImage | None = None,
    start_kernel: Callable[[], Kernel] | None = None,
    stdin: IO[bytes] | None = None,
) -> Image:
    """Build an image from a Dockerfile and tag it.

    context: a directory, or "-" for standard input (a tar, or a Dockerfile alone). dockerfile: its path, "-"
    for standard input, "" for Dockerfile in the context. compression: "zstd", "gzip" or "none". shm_size:
    bytes of /dev/shm of each RUN, 0 for the default. find_image: finds base images; the default looks into the store, then (with pull: only) asks the registry.
    Raises BuildError with file and line; StepFailed (exit code 1) where a RUN failed.
    """
    references = [tag_reference(tag) for tag in tags]
    report = progress or progress_for("plain", sys.stderr)
    with store.lease(), ExitStack() as stack:
        workspace = open_workspace(
            store,
            context,
            dockerfile,
            stdin or sys.stdin.buffer,
            lambda: stack.enter_context(store.tmp_dir("build-context-")),
            report.warn,
        )
        planned = plan(
            parse(workspace.dockerfile, workspace.name),
            find_image or Finder(store, report, pull).find,
            build_args=build_args,
            target=target,
            platform=platform,
            labels=labels,
        )
        for warning in planned.warnings:
            report.warn(warning)
        executor = Executor(
            store,
            planned,
            workspace.source,
            report,
            start_kernel or (lambda: connect(store)),
            Options(no_cache, compression, shm_size),
        )
        try:
            config, layers = executor.build()
        finally:
            workspace.hashes.save()
        image = store.add_image(config, layers, references[0] if references else None)
        for reference in references[1:]:
            store.tags.set(reference, image.descriptor)
        if executor.wrote:
            executor.cache.trim()
    report.result(image.id, [reference.familiar for reference in references])
    return image


def tag_reference(text: str) -> Reference:
    """A name for an image. Raises ImageError, or BuildError for a digest, which names bytes."""
    reference = Reference.parse(text)
    if reference.digest:
        raise BuildError(f"tag {text}: a name for a new image can not have a digest")
    return reference


def connect(store: Store) -> Kernel:
    """The emulated kernel, started where it does not run."""
    from pycontain.kernel.control import KernelClient  # only where something runs

    return KernelClient.ensure(store.root)


class Finder:
    """Finds base images: in the store, else from their registry."""

    def __init__(self, store: Store, progress: Progress, pull: bool) -> None:
        self.store = store
        self.progress = progress
        self.pull = pull

    def find(self, reference: Reference, platform: Platform) -> Image:
        """The image for a platform. Raises NotFound or RegistryError."""
        if not self.pull:
            try:
                return self.store.image(str(reference), platform)
            except NotFound:
                pass  # not here yet
        from pycontain.client import pull  # with http and ssl it is slow to import

        self.progress.step("[internal]", f"pull {reference.familiar}")
        image = pull(self.store, reference, platform, self.progress)
        self.progress.done()
        return image
