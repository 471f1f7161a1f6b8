"""The instructions of a Dockerfile as plain, immutable operations: what was written, nothing looked up.

Values are as written, variables not replaced. Every instruction knows its source text and its lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from pycontain.build.heredoc import Heredoc


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """source is the instruction as one logical line; line is where it starts, end where it ends."""

    source: str = ""
    line: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A program to run: words (exec form), or one text for the shell (shell form)."""

    words: tuple[str, ...]
    shell: bool
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class From(Instruction):
    """FROM image [AS name]; image may be the name of an earlier stage."""

    image: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    """ARG name[=default] ...; a default of None is not given."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    """ENV name=value ..."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    """LABEL name=value ..."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    """RUN command; network is "default" or "host"."""

    command: CommandLine
    network: str = "default"


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """COPY and ADD.

    origin      --from: a stage, its number, or an image; "" for the build context
    unpack      --unpack of ADD: None where it is not given
    heredocs    sources that stand in the Dockerfile itself
    """

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    is_add: bool = False
    origin: str = ""
    chown: str = ""
    chmod: str = ""
    checksum: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()
    unpack: bool | None = None


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    """WORKDIR path; relative to the one before."""

    path: str


@dataclass(frozen=True, slots=True)
class User(Instruction):
    """USER name|uid[:group|gid]."""

    user: str


@dataclass(frozen=True, slots=True)
class Cmd(Instruction):
    command: CommandLine


@dataclass(frozen=True, slots=True)
class Entrypoint(Instruction):
    command: CommandLine


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    """SHELL ["program", "argument", ...]."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    """EXPOSE port[/protocol] ...; ranges a-b."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Volume(Instruction):
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopSignal(Instruction):
    signal: str


@dataclass(frozen=True, slots=True)
class Healthcheck(Instruction):
    """test is ("NONE",), ("CMD", ...) or ("CMD-SHELL", text); times in nanoseconds, 0 = inherited."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class OnBuild(Instruction):
    """ONBUILD instruction: its text, to be carried out by the build of an image on top of this one."""

    trigger: str


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    name: str
