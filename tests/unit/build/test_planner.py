"""Stages, variables and config: what a Dockerfile means before anything is executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from pycontain.build.evaluation import DEFAULT_PATH
from pycontain.build.parser import parse
from pycontain.build.planner import plan
from pycontain.build.steps import CopyStep, Plan, RunStep, Stage, WorkdirStep
from pycontain.errors import BuildError, NotFound
from pycontain.image.config import Healthcheck, ImageConfig, RunConfig
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference

AMD64 = Platform("linux", "amd64")


@dataclass(frozen=True)
class FakeImage:
    """As much of an image as the planner looks at."""

    reference: Reference
    config: ImageConfig


class Images:
    """Finds images by name, and remembers what was asked for."""

    def __init__(self, **configs: RunConfig) -> None:
        self.configs = configs
        self.asked: list[tuple[str, Platform]] = []

    def __call__(self, reference: Reference, platform: Platform) -> Any:
        self.asked.append((reference.familiar, platform))
        name = reference.repository.rpartition("/")[2]
        if name not in self.configs:
            raise NotFound(f"no image {reference.familiar}", hint="pull it")
        return FakeImage(reference, ImageConfig(platform.architecture, config=self.configs[name]))


def planned(text: str, images: Images | None = None, **options: Any) -> Plan:
    options.setdefault("platform", AMD64)
    return plan(parse(text.encode()), images or Images(base=RunConfig()), **options)


def target(text: str, images: Images | None = None, **options: Any) -> Stage:
    made = planned(text, images, **options)
    return made.stages[made.target]


def config(text: str, images: Images | None = None, **options: Any) -> RunConfig:
    return target(text, images, **options).config.config


def runs(stage: Stage) -> list[RunStep]:
    return [step for step in stage.steps if isinstance(step, RunStep)]


def test_scratch() -> None:
    stage = target("FROM scratch")
    assert stage.base is None
    assert stage.config.architecture == "amd64"
    assert stage.config.config == RunConfig(working_dir="/", env=(f"PATH={DEFAULT_PATH}",))


def test_config_of_every_kind() -> None:
    run = config("""FROM scratch
LABEL a=1 "b c"='$d'
EXPOSE 80 53/UDP 7000-7001
VOLUME /a /b
VOLUME ["/b", "/c d"]
STOPSIGNAL SIGUSR1
USER me:them
WORKDIR /one
WORKDIR two
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=5s CMD true
CMD a b
ENTRYPOINT ["/e"]
ONBUILD RUN x
MAINTAINER me <m@e>
""")
    assert run.labels == {"a": "1", "b c": "$d"}
    assert sorted(run.exposed_ports) == ["53/udp", "7000/tcp", "7001/tcp", "80/tcp"]
    assert run.volumes == ("/a", "/b", "/c d")
    assert (run.stop_signal, run.user, run.working_dir) == ("SIGUSR1", "me:them", "/one/two")
    assert run.healthcheck == Healthcheck(("CMD-SHELL", "true"), interval=5 * 10**9)
    assert run.cmd == ("/bin/bash", "-c", "a b")
    assert run.entrypoint == ("/e",)
    assert run.on_build == ("RUN x",)


def test_history_is_that_of_buildkit() -> None:
    stage = target(
        """FROM scratch
ARG v=1
ENV a=b c="d e"
LABEL l=1
RUN x y
COPY --chown=1:2 --chmod=644 a b /d/
COPY <<EOF /e
EOF
WORKDIR w
EXPOSE 2 1
VOLUME /v
USER u
STOPSIGNAL 9
SHELL ["s", "t"]
HEALTHCHECK --interval=90s CMD z
CMD ["a", "b\\"c"]
ENTRYPOINT e
MAINTAINER m
"""
    )
    assert [step.created_by for step in stage.steps] == [
        "ARG v=1",
        "ENV a=b c=d e",
        "LABEL l=1",
        "RUN |1 v=1 /bin/sh -c x y # buildkit",
        "COPY --chown=1:2 --chmod=644 a b /d/ # buildkit",
        "COPY <<EOF /e # buildkit",
        "WORKDIR /w",
        "EXPOSE map[1/tcp:{} 2/tcp:{}]",
        "VOLUME [/v]",
        "USER u",
        "STOPSIGNAL 9",
        "SHELL [s t]",
        "HEALTHCHECK {Test:[CMD-SHELL z] Interval:1m30s Timeout:0s StartPeriod:0s"
        " StartInterval:0s Retries:0}",
        'CMD ["a" "b\\"c"]',
        'ENTRYPOINT ["s" "t" "e"]',
        "MAINTAINER m",
    ]
    assert stage.config.author == "m"


def test_entrypoint_clears_an_inherited_cmd_only() -> None:
    images = Images(base=RunConfig(cmd=("old",), entrypoint=("e",)))
    assert config("FROM base", images).cmd == ("old",)
    assert config("FROM base\nENTRYPOINT x", images).cmd is None
    assert config('FROM base\nCMD ["new"]\nENTRYPOINT x', images).cmd == ("new",)
    assert config("FROM base\nENTRYPOINT []", images).entrypoint is None


def test_one_instruction_sees_the_variables_before_it() -> None:
    run = config("FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc")
    assert run.environment() | {"PATH": ""} == {"abc": "bye", "def": "hello", "ghi": "bye", "PATH": ""}


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("FROM scratch\nARG x=1\nENV r=$x", {}, "1"),
        ("FROM scratch\nARG x=1\nENV r=$x", {"x": "2"}, "2"),
        ("FROM scratch\nARG x\nENV r=${x:-none}", {}, "none"),
        ("FROM scratch\nARG x\nENV r=$x", {"x": ""}, ""),
        ("FROM scratch\nENV r=${x:-none}\nARG x", {"x": "2"}, "none"),
        ("ARG x=g\nFROM scratch\nENV r=${x:-none}", {}, "none"),
        ("ARG x=g\nFROM scratch\nARG x\nENV r=$x", {}, "g"),
        ("ARG x=g\nFROM scratch\nARG x=s\nENV r=$x", {}, "s"),
        ("ARG x=g\nARG y=${x}2\nFROM scratch\nARG y\nENV r=$y", {}, "g2"),
        ("ARG x=g\nARG y=${x}2\nFROM scratch\nARG y\nENV r=$y", {"x": "c"}, "c2"),
        ("FROM scratch\nARG x=1 y=${x}2\nENV r=$y", {}, "12"),
        # the later of ENV and ARG
        ("FROM scratch\nARG x=1\nENV x=2\nENV r=$x", {"x": "3"}, "2"),
        ("FROM scratch\nENV x=2\nARG x=1\nENV r=$x", {}, "1"),
        ("FROM scratch\nENV x=2\nARG x\nENV r=$x", {}, "2"),
        # stages
        ("FROM scratch AS a\nARG x=1\nFROM a\nENV r=${x:-none}", {}, "1"),
        ("FROM scratch AS a\nARG x=1\nFROM scratch\nENV r=${x:-none}", {}, "none"),
        ("FROM scratch AS a\nENV x=1\nFROM a\nENV r=$x", {}, "1"),
        # predefined
        ("FROM scratch\nARG TARGETARCH\nENV r=$TARGETARCH", {}, "amd64"),
        ("FROM scratch\nENV r=${TARGETARCH:-none}", {}, "none"),
        (
            "FROM scratch AS it\nARG TARGETPLATFORM TARGETSTAGE\nENV r=$TARGETPLATFORM,$TARGETSTAGE",
            {},
            "linux/amd64,default",
        ),
    ],
)
def test_arguments(text: str, given: dict[str, str], expected: str) -> None:
    assert config(text, build_args=given).environment()["r"] == expected


def test_what_a_run_sees() -> None:
    images = Images(base=RunConfig(env=("A=1",), user="u", working_dir="/w"))
    given = {"http_proxy": "p", "B": "3"}
    (step,) = runs(target("FROM base\nARG B=2 C\nRUN x", images, build_args=given))
    assert step.arguments == ("/bin/sh", "-c", "x")
    assert set(step.environment) == {"A=1", "B=3", f"PATH={DEFAULT_PATH}", "http_proxy=p"}
    assert set(step.keyed_environment) == {"A=1", "B=3", f"PATH={DEFAULT_PATH}"}
    assert (step.user, step.directory) == ("u", "/w")
    assert step.created_by == "RUN |2 B=3 C= /bin/sh -c x # buildkit"


def test_run_with_heredocs() -> None:
    stage = target(
        "FROM scratch\nRUN <<EOF\na\nb\nEOF\nRUN <<EOF\n#!/usr/bin/env python3\nx\nEOF\n"
        "RUN cat <<'A' && cat <<B\n1\nA\n2\nB\nRUN <<-EOF\n\ta\n\tEOF\n"
    )
    plain, script, shell, tabs = runs(stage)
    assert plain.arguments == ("/bin/sh", "-c", "a\nb\n")
    assert (script.arguments, script.script) == (("/dev/pipes/EOF",), "#!/usr/bin/env python3\nx\n")
    assert shell.arguments[2] == "cat <<'A' && cat <<B\n1\nA\n2\nB"
    assert tabs.arguments[2] == "a\n"


def test_copy() -> None:
    stage = target(
        "FROM scratch\nENV d=/x o=7\nWORKDIR $d\n"
        "COPY --chown=$o:8 --chmod=${o}00 --exclude=*.$o a$o ./\nADD b .\nCOPY c sub\nCOPY d /e/.\n"
    )
    workdir, *copies = [step for step in stage.steps if isinstance(step, CopyStep | WorkdirStep)]
    assert isinstance(workdir, WorkdirStep)
    assert workdir.path == "/x"
    first, added, third, fourth = (step for step in copies if isinstance(step, CopyStep))
    assert (first.sources, first.destination) == (("a7",), b"/x/")
    assert (first.chown, first.chmod, first.exclude, first.unpack) == ("7:8", "700", ("*.7",), False)
    assert (added.destination, added.unpack) == (b"/x/", None)
    assert (third.destination, fourth.destination) == (b"/x/sub", b"/e/")


def test_bodies_of_copy() -> None:
    text = "FROM scratch\nENV x=1\nCOPY <<a <<'b' <<-c /\n$x \"q\"\na\n$x\nb\n\t\\$x\n\tc\n"
    (step,) = (step for step in target(text).steps if isinstance(step, CopyStep))
    assert step.bodies == (("a", '1 "q"\n'), ("b", "$x\n"), ("c", "$x\n"))


def test_only_the_stages_that_the_target_needs() -> None:
    text = """FROM base AS a
FROM base AS unused
COPY --from=missing x y
FROM a AS b
COPY --from=0 x y
FROM scratch AS c
COPY --from=B x y
FROM nowhere AS d
"""
    made = planned(text, target="c")
    assert sorted(made.stages) == [0, 2, 3]
    assert made.target == 3
    assert made.stages[2].base == 0
    assert planned(text, target="0").target == 0
    with pytest.raises(BuildError, match="no image nowhere"):
        planned(text)


def test_from_uses_global_arguments_and_platforms() -> None:
    images = Images(base=RunConfig())
    planned("ARG n=ba\nARG t\nFROM --platform=linux/$t ${n}se:${t:-x}\n", images, build_args={"t": "arm64"})
    assert images.asked == [("base:arm64", Platform("linux", "arm64"))]
    images = Images(base=RunConfig())
    planned("FROM --platform=$BUILDPLATFORM base AS a\nFROM base\nCOPY --from=a x y", images)
    assert images.asked == [("base:latest", Platform.host()), ("base:latest", AMD64)]


def test_a_stage_inherits_from_its_base_stage() -> None:
    stage = target(
        "FROM scratch AS a\nENV x=1\nLABEL l=1\nUSER u\nWORKDIR /w\n"
        'CMD ["c"]\nONBUILD RUN y\nFROM a\nLABEL m=2'
    )
    run = stage.config.config
    assert (run.labels, run.user, run.working_dir, run.cmd) == ({"l": "1", "m": "2"}, "u", "/w", ("c",))
    assert run.on_build == ()


def test_onbuild_triggers_come_first() -> None:
    images = Images(base=RunConfig(on_build=("ENV a=1", "RUN echo $a", "COPY --from=other /x /y")))
    made = planned("FROM scratch AS other\nFROM base\nRUN last", images)
    stage = made.stages[made.target]
    assert [step.title for step in stage.steps] == [
        "ENV a=1",
        "RUN echo $a",
        "COPY --from=other /x /y",
        "RUN last",
    ]
    assert stage.config.config.on_build == ()
    assert 0 in made.stages
    assert isinstance(stage.steps[2], CopyStep)
    assert stage.steps[2].origin == 0


def test_labels_of_the_command_line() -> None:
    assert config("FROM scratch\nLABEL a=1 b=2", labels={"a": "3"}).labels == {"a": "3", "b": "2"}


@pytest.mark.parametrize(
    ("text", "given", "epoch"),
    [
        ("FROM scratch", {}, None),
        ("FROM scratch", {"SOURCE_DATE_EPOCH": "5"}, 5),
        ("ARG SOURCE_DATE_EPOCH=7\nFROM scratch", {}, 7),
        ("ARG SOURCE_DATE_EPOCH=7\nFROM scratch", {"SOURCE_DATE_EPOCH": "0"}, 0),
        ("FROM scratch", {"SOURCE_DATE_EPOCH": ""}, None),
    ],
)
def test_epoch(text: str, given: dict[str, str], epoch: int | None) -> None:
    assert planned(text, build_args=given).epoch == epoch


def test_arguments_that_nobody_declares() -> None:
    made = planned("ARG a\nFROM scratch\nARG b", build_args={"a": "", "b": "", "c": "", "no_proxy": ""})
    assert made.warnings == ("the build argument c was given, but no ARG declares it",)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("FROM $x", 1, "base name ($x) should not be blank"),
        ("FROM ${x", 1, "missing '}'"),
        ("FROM UPPER", 1, "lower case"),
        ("FROM --platform=$x scratch", 1, "empty platform value"),
        ("FROM --platform=l!nux scratch", 1, "not os/architecture"),
        ("FROM scratch AS a\nCOPY --from=a x y", 2, "needs to be defined before"),
        ("FROM scratch\nCOPY --from=b x y\nFROM scratch AS b\nCOPY --from=0 x y", 2, "needs to be defined"),
        ("FROM scratch\nCOPY --from=0 x y", 2, "needs to be defined before"),
        ("FROM scratch\nCOPY --from=$x x y", 2, "variable expansion is not supported for --from"),
        ("FROM scratch AS builder\nFROM scratch\nCOPY --from=bilder x y", 3, "did you mean builder?"),
        ("FROM scratch\nENV a=${b:?why}", 2, "b: why"),
        ("FROM scratch\nENV $x=1", 2, "can not be blank"),
        ("FROM scratch\nEXPOSE 70000", 2, "invalid port"),
        ("FROM scratch\nEXPOSE 8-7", 2, "invalid port range"),
        ("FROM scratch\nEXPOSE 80/icmp", 2, "invalid port"),
        ("FROM scratch\nSTOPSIGNAL SIGNOT", 2, "invalid signal"),
        ("FROM scratch\nSTOPSIGNAL 0", 2, "invalid signal"),
        ("FROM scratch\nVOLUME $x", 2, "empty string"),
        ("FROM scratch\nWORKDIR $x", 2, "empty string"),
        ("FROM scratch\nCOPY http://x/y /", 2, "can't be a URL for COPY"),
        ("FROM scratch\nADD https://x/y.git /", 2, "not supported yet: ADD https://x/y.git"),
        ("FROM scratch\nADD git@github.com:x/y.git /", 2, "not supported yet"),
        ("FROM scratch\nADD --checksum=sha256:00 x /", 2, "requires an HTTP(S) source"),
        ("ARG SOURCE_DATE_EPOCH=context\nFROM scratch", 0, "SOURCE_DATE_EPOCH=context"),
        ("ARG SOURCE_DATE_EPOCH=253402300800\nFROM scratch", 0, "must be seconds since 1970"),
    ],
)
def test_errors(text: str, line: int, reason: str) -> None:
    with pytest.raises(BuildError) as caught:
        planned(text)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"Dockerfile:{line}: " if line else "Dockerfile: ")


@pytest.mark.parametrize("name", ["SIGTERM", "term", "9", "RTMIN+3", "SIGRTMAX-1", "SIGRTMIN"])
def test_signals(name: str) -> None:
    assert config(f"FROM scratch\nSTOPSIGNAL {name}").stop_signal == name


def test_an_unknown_target_is_suggested() -> None:
    with pytest.raises(BuildError, match=r"could not be found \(did you mean builder"):
        planned("FROM scratch AS builder", target="build")
