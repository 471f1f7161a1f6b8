"""The instructions of a Dockerfile as plain, immutable operations: what was written, nothing looked up.

Values are as written, variables not replaced. Every instruction has its source (one logical line), the line
where it starts and the end where it ends.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from pycontain.build.heredoc import Heredoc


class CommandLine(NamedTuple):
    """A program to run: words (exec form), or one text for the shell (shell form)."""

    words: tuple[str, ...]
    shell: bool
    heredocs: tuple[Heredoc, ...] = ()


class From(NamedTuple):
    """FROM image [AS name]; image may be the name of an earlier stage."""

    image: str
    name: str = ""
    platform: str = ""
    source: str = ""
    line: int = 0
    end: int = 0


class Arg(NamedTuple):
    """ARG name[=default] ...; a default of None is not given."""

    pairs: tuple[tuple[str, str | None], ...]
    source: str = ""
    line: int = 0
    end: int = 0


class Env(NamedTuple):
    """ENV name=value ..."""

    pairs: tuple[tuple[str, str], ...]
    source: str = ""
    line: int = 0
    end: int = 0


class Label(NamedTuple):
    """LABEL name=value ..."""

    pairs: tuple[tuple[str, str], ...]
    source: str = ""
    line: int = 0
    end: int = 0


class Run(NamedTuple):
    """RUN command; network is "default" or "host"."""

    command: CommandLine
    network: str = "default"
    source: str = ""
    line: int = 0
    end: int = 0


class Copy(NamedTuple):
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
    source: str = ""
    line: int = 0
    end: int = 0


class Workdir(NamedTuple):
    """WORKDIR path; relative to the one before."""

    path: str
    source: str = ""
    line: int = 0
    end: int = 0


class User(NamedTuple):
    """USER name|uid[:group|gid]."""

    user: str
    source: str = ""
    line: int = 0
    end: int = 0


class Cmd(NamedTuple):
    command: CommandLine
    source: str = ""
    line: int = 0
    end: int = 0


class Entrypoint(NamedTuple):
    command: CommandLine
    source: str = ""
    line: int = 0
    end: int = 0


class Shell(NamedTuple):
    """SHELL ["program", "argument", ...]."""

    words: tuple[str, ...]
    source: str = ""
    line: int = 0
    end: int = 0


class Expose(NamedTuple):
    """EXPOSE port[/protocol] ...; ranges a-b."""

    ports: tuple[str, ...]
    source: str = ""
    line: int = 0
    end: int = 0


class Volume(NamedTuple):
    paths: tuple[str, ...]
    source: str = ""
    line: int = 0
    end: int = 0


class StopSignal(NamedTuple):
    signal: str
    source: str = ""
    line: int = 0
    end: int = 0


class Healthcheck(NamedTuple):
    """test is ("NONE",), ("CMD", ...) or ("CMD-SHELL", text); times in nanoseconds, 0 = inherited."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0
    source: str = ""
    line: int = 0
    end: int = 0


class OnBuild(NamedTuple):
    """ONBUILD instruction: its text, to be carried out by the build of an image on top of this one."""

    trigger: str
    source: str = ""
    line: int = 0
    end: int = 0


class Maintainer(NamedTuple):
    name: str
    source: str = ""
    line: int = 0
    end: int = 0


Instruction: TypeAlias = (
    From
    | Arg
    | Env
    | Label
    | Run
    | Copy
    | Workdir
    | User
    | Cmd
    | Entrypoint
    | Shell
    | Expose
    | Volume
    | StopSignal
    | Healthcheck
    | OnBuild
    | Maintainer
)
