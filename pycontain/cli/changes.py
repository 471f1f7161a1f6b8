"""--change of commit and import: lines of a Dockerfile applied to an image's config."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pycontain.build.arguments import global_arguments
from pycontain.build.evaluation import Evaluation
from pycontain.build.parser import parse
from pycontain.build.steps import Origin
from pycontain.errors import BuildError
from pycontain.image.config import ImageConfig

ALLOWED = "CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR"
_FILE = "--change"


def apply_changes(config: ImageConfig, changes: Sequence[str]) -> ImageConfig:
    """The config after these instructions. BuildError where one cannot be understood or changes files."""
    parsed = parse(os.fsencode("FROM scratch\n" + "\n".join(changes) + "\n"), _FILE)
    escape = parsed.directives.escape
    evaluation = Evaluation(
        config,
        config.config.environment(),
        {},
        global_arguments([], {}, {}, escape, _FILE),
        escape,
        _FILE,
        _no_origin,
    )
    for instruction in parsed.instructions[1:]:
        keyword = instruction.source.split(None, 1)[0].upper()
        if keyword not in ALLOWED.split():
            raise BuildError(f"{keyword}: not one of {ALLOWED}", file=_FILE)
        evaluation.carry_out(instruction)
    return config._replace(config=evaluation.config)


def _no_origin(name: str, line: int) -> Origin:
    raise BuildError(f"{name}: there are no stages here", file=_FILE)
