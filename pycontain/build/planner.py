"""From instructions to a plan: stages that the target needs, base images looked up, variables replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pycontain.build.arguments import EPOCH, BuildArguments, global_arguments, predefined
from pycontain.build.evaluation import DEFAULT_PATH, Evaluation
from pycontain.build.instructions import Arg, Copy, From, Instruction
from pycontain.build.parser import Dockerfile, parse_trigger, suggestion
from pycontain.build.steps import Origin, Plan, Stage
from pycontain.build.words import Expander, WordError
from pycontain.errors import BuildError, ImageError, PycontainError
from pycontain.image.config import ImageConfig, RunConfig
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference

if TYPE_CHECKING:
    from pycontain.store.images import Image

MAX_STAGES = 200
NUMBER = re.compile(r"\d{1,9}")
FindImage = Callable[[Reference, Platform], "Image"]


class Draft:
    """A stage as it is written."""

    def __init__(self, head: From) -> None:
        self.head = head
        self.body: list[Instruction] = []


def plan(
    dockerfile: Dockerfile,
    find_image: FindImage,
    *,
    build_args: Mapping[str, str] | None = None,
    target: str = "",
    platform: Platform | None = None,
    labels: Mapping[str, str] | None = None,
) -> Plan:
    """Plan a build. find_image finds or fetches a base image.

    Raises BuildError with file and line, and whatever find_image raises.
    """
    return Planner(dockerfile, find_image, build_args or {}, target, platform or Platform.host()).plan(labels)


class Planner:
    """One planning."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        find_image: FindImage,
        build_args: Mapping[str, str],
        target: str,
        platform: Platform,
    ) -> None:
        self.dockerfile = dockerfile
        self.file = dockerfile.file
        self.escape = dockerfile.directives.escape
        self.find_image = find_image
        self.platform = platform
        self.drafts, heads = split(dockerfile)
        if len(self.drafts) > MAX_STAGES:
            raise BuildError(f"more than {MAX_STAGES} stages", file=self.file)
        self.numbers: dict[str, int] = {}  # the last stage of a name counts
        for index, draft in enumerate(self.drafts):
            if draft.head.name:
                self.numbers[draft.head.name] = index
        self.target = self._target(target)
        values = predefined(Platform.host(), platform, target)
        self.arguments: BuildArguments = global_arguments(heads, build_args, values, self.escape, self.file)
        if EPOCH in build_args:
            self.arguments.globals[EPOCH] = build_args[EPOCH]
        self.stages: dict[int, Stage] = {}
        self.ends: dict[int, Evaluation] = {}

    def plan(self, labels: Mapping[str, str] | None) -> Plan:
        try:
            epoch = self.arguments.epoch()
        except ValueError as error:
            raise BuildError(str(error), file=self.file) from None
        for index in sorted(self._needed()):
            self._stage(index)
        if labels:
            stage = self.stages[self.target]
            run = stage.config.config
            config = stage.config._replace(config=run._replace(labels={**run.labels, **labels}))
            self.stages[self.target] = stage._replace(config=config)
        warnings = tuple(
            f"the build argument {name} was given, but no ARG declares it" for name in self.arguments.unused()
        )
        return Plan(self.file, self.stages, self.target, epoch, warnings)

    def _target(self, name: str) -> int:
        """The number of the stage to build."""
        if not name:
            return len(self.drafts) - 1
        if name.lower() in self.numbers:
            return self.numbers[name.lower()]
        if NUMBER.fullmatch(name) and int(name) < len(self.drafts):
            return int(name)
        raise BuildError(
            f"target stage {name!r} could not be found{suggestion(name, self.numbers)}", file=self.file
        )

    def _needed(self) -> set[int]:
        """The stages that the target is made of. A stage only refers to earlier ones."""
        needed = {self.target}
        for index in range(self.target, -1, -1):
            if index in needed:
                draft = self.drafts[index]
                base = self._earlier(self._base_name(draft.head), index)
                if base is not None:
                    needed.add(base)
                for instruction in draft.body:
                    if isinstance(instruction, Copy) and instruction.origin:
                        origin = self._earlier(instruction.origin, index, numbers=True)
                        if origin is not None:
                            needed.add(origin)
        return needed

    def _earlier(self, name: str, index: int, *, numbers: bool = False) -> int | None:
        """The number of the earlier stage that a name means."""
        found = None
        for number, draft in enumerate(self.drafts[:index]):
            if draft.head.name and draft.head.name == name.lower():
                found = number
        if found is None and numbers and NUMBER.fullmatch(name) and int(name) < index:
            found = int(name)
        return found

    def _base_name(self, head: From) -> str:
        name = self._global_word(head.image, head)
        if not name:
            raise BuildError(f"base name ({head.image}) should not be blank", file=self.file, line=head.line)
        return name

    def _global_word(self, text: str, head: From) -> str:
        try:
            return Expander(self.arguments.globals, self.escape).word(text)
        except WordError as error:
            raise BuildError(f"FROM {head.image}: {error}", file=self.file, line=head.line) from None

    def _stage(self, index: int) -> Stage:
        """Plan one stage; those that it stands on are planned before."""
        if index in self.stages:
            return self.stages[index]
        draft = self.drafts[index]
        head = draft.head
        name = self._base_name(head)
        platform = self._platform(head)
        base: Origin = self._earlier(name, index)
        triggers: Sequence[str] = ()
        variables: dict[str, str]
        declared: dict[str, str] = {}
        if isinstance(base, int):
            self._stage(base)
            under = self.ends[base]
            platform = self.stages[base].platform
            run = under.config._replace(on_build=())
            config = under.image._replace(config=run)
            variables, declared = dict(under.variables), dict(under.declared)
        else:
            if name == "scratch":
                config = ImageConfig(platform.architecture, platform.os, platform.variant)
                config = config._replace(config=RunConfig(working_dir="/"))
            else:
                base = image = self._image(name, platform, head.line)
                config = image.config
                triggers = config.config.on_build
            run = with_path(config.config)._replace(on_build=())
            config = config._replace(config=run)
            variables = run.environment()
        evaluation = Evaluation(
            config,
            variables,
            declared,
            self.arguments,
            self.escape,
            self.file,
            lambda origin, line: self._origin(origin, index, platform, line),
        )
        for trigger in triggers:
            evaluation.carry_out(parse_trigger(trigger, self.file, head.line))
        for instruction in draft.body:
            evaluation.carry_out(instruction)
        self.ends[index] = evaluation
        stage = self.stages[index] = Stage(
            index,
            head.name,
            head.line,
            base,
            name,
            platform,
            tuple(evaluation.steps),
            evaluation.image,
        )
        return stage

    def _platform(self, head: From) -> Platform:
        text = self._global_word(head.platform, head)
        if not text:
            if head.platform:
                raise BuildError(
                    f"empty platform value from expression {head.platform}", file=self.file, line=head.line
                )
            return self.platform
        try:
            return Platform.parse(text)
        except ImageError as error:
            raise BuildError(f"FROM --platform: {error}", file=self.file, line=head.line) from None

    def _image(self, name: str, platform: Platform, line: int) -> Image:
        try:
            reference = Reference.parse(name)
        except ImageError as error:
            raise BuildError(str(error), file=self.file, line=line) from None
        try:
            return self.find_image(reference, platform)
        except PycontainError as error:
            near = suggestion(name, self.numbers)
            raise BuildError(error.message + near, file=self.file, line=line, hint=error.hint) from error

    def _origin(self, name: str, index: int, platform: Platform, line: int) -> Origin:
        """What COPY --from means: an earlier stage by name or number, else an image."""
        if not name:
            return None
        if "$" in name:
            raise BuildError(
                "variable expansion is not supported for --from",
                file=self.file,
                line=line,
                hint="give the image a stage of its own: FROM with an ARG before the first FROM",
            )
        earlier = self._earlier(name, index, numbers=True)
        if earlier is not None:
            self._stage(earlier)
            return earlier
        if name.lower() in self.numbers or NUMBER.fullmatch(name):
            raise BuildError(
                f"cannot copy from stage {name!r}: it needs to be defined before the current stage",
                file=self.file,
                line=line,
            )
        return self._image(name, platform, line)


def split(dockerfile: Dockerfile) -> tuple[list[Draft], list[Arg]]:
    """The stages, and the ARGs before the first."""
    drafts: list[Draft] = []
    heads: list[Arg] = []
    for instruction in dockerfile.instructions:
        if isinstance(instruction, From):
            drafts.append(Draft(instruction))
        elif drafts:
            drafts[-1].body.append(instruction)
        elif isinstance(instruction, Arg):
            heads.append(instruction)
    return drafts, heads


def with_path(run: RunConfig) -> RunConfig:
    """The config with a PATH, which every image has."""
    if any(item.startswith("PATH=") for item in run.env):
        return run
    return run._replace(env=(*run.env, f"PATH={DEFAULT_PATH}"))
