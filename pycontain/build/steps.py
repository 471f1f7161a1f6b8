"""A planned build: stages of steps, with all variables replaced and all names looked up. Immutable.

Only what changes the file system is a step (RUN, COPY, ADD, WORKDIR); the other instructions have already
become the stage's config, and are notes in its history. title is shown to the user, created_by goes into the
history, line is where it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from pycontain.image.config import ImageConfig
    from pycontain.image.platform import Platform
    from pycontain.store.images import Image


# What a stage or a COPY starts from: the number of an earlier stage, an image, or nothing of the two.
Origin: TypeAlias = "int | Image | None"


class Note(NamedTuple):
    """An instruction that changed the config only."""

    title: str
    created_by: str
    line: int


class RunStep(NamedTuple):
    """environment is what the program sees; keyed_environment the part of it that the cache looks at
    (proxy settings are not). script: the program is this text, to be found under arguments[0]."""

    title: str
    created_by: str
    line: int
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    keyed_environment: tuple[str, ...]
    user: str
    directory: str
    network: str
    script: str | None = None


class CopyStep(NamedTuple):
    """origin: the number of a stage, an image, or None for the build context. destination is absolute.

    bodies: names and texts of files that stand in the Dockerfile. unpack: archives are unpacked; None: those
    of the context, not those of URLs.
    """

    title: str
    created_by: str
    line: int
    sources: tuple[str, ...]
    bodies: tuple[tuple[str, str], ...]
    destination: bytes
    origin: Origin
    is_add: bool
    chown: str
    chmod: str
    checksum: str
    link: bool
    exclude: tuple[str, ...]
    unpack: bool | None


class WorkdirStep(NamedTuple):
    """Make a directory, and those above it, where they are missing."""

    title: str
    created_by: str
    line: int
    path: str
    user: str


Step: TypeAlias = Note | RunStep | CopyStep | WorkdirStep


class Stage(NamedTuple):
    """base: the number of an earlier stage, an image, or None for scratch.

    config is the final one of the stage, with the diff_ids and history of its base image only.
    """

    number: int
    name: str
    line: int
    base: Origin
    base_title: str
    platform: Platform
    steps: tuple[Step, ...]
    config: ImageConfig

    @property
    def total(self) -> int:
        """Steps that are shown, FROM counted."""
        return 1 + sum(not isinstance(step, Note) for step in self.steps)


class Plan(NamedTuple):
    """stages by number, only those that the target needs. epoch: SOURCE_DATE_EPOCH in seconds."""

    file: str
    stages: dict[int, Stage]
    target: int
    epoch: int | None
    warnings: tuple[str, ...] = ()
