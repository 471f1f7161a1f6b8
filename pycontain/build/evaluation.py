"""Carries out a stage's instructions on its config and variables, which leaves the steps to be executed."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

from pycontain.build import gotext
from pycontain.build import instructions as ops
from pycontain.build.arguments import BuildArguments
from pycontain.build.heredoc import Heredoc, heredoc_of
from pycontain.build.placing import destination_of
from pycontain.build.steps import CopyStep, Note, Origin, RunStep, Step, WorkdirStep
from pycontain.build.urls import is_url
from pycontain.build.words import Expander, WordError
from pycontain.errors import BuildError
from pycontain.image.config import Healthcheck, ImageConfig, RunConfig

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")
SCRIPTS = "/dev/pipes"
PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
GIT = re.compile(r"(?:git://|git@|ssh://|https?://[^?#]+\.git(?:[?#]|$))")


class Evaluation:
    """One stage while it is planned.

    config      as it will be in the image, without new layers
    variables   ENV and ARG values that words may use and RUN sees
    declared    the stage's ARGs in order, with their values
    """

    def __init__(
        self,
        config: ImageConfig,
        variables: dict[str, str],
        declared: dict[str, str],
        arguments: BuildArguments,
        escape: str,
        file: str,
        find_origin: Callable[[str, int], Origin],
    ) -> None:
        self.image = config
        self.variables = variables
        self.declared = declared
        self.arguments = arguments
        self.escape = escape
        self.file = file
        self.find_origin = find_origin
        self.steps: list[Step] = []
        self.cmd_is_set = False

    @property
    def config(self) -> RunConfig:
        return self.image.config

    @config.setter
    def config(self, config: RunConfig) -> None:
        self.image = self.image._replace(config=config)

    def carry_out(self, instruction: ops.Instruction) -> None:
        """Apply one instruction. Raises BuildError with its line."""
        handler = HANDLERS[type(instruction)]
        try:
            handler(self, instruction)
        except (WordError, ValueError) as error:
            keyword = instruction.source.split(None, 1)[0].upper()
            raise BuildError(f"{keyword}: {error}", file=self.file, line=instruction.line) from None

    def word(self, text: str) -> str:
        return Expander(self.variables, self.escape).word(text)

    def note(self, instruction: ops.Instruction, text: str) -> None:
        self.steps.append(Note(title=text, created_by=text, line=instruction.line))

    def title(self, instruction: ops.Instruction) -> str:
        return " ".join(instruction.source.split())

    # -- config

    def env(self, instruction: ops.Env) -> None:
        # All values see the variables as they were before this instruction.
        pairs = [(self.word(name), self.word(value)) for name, value in instruction.pairs]
        env = list(self.config.env)
        for name, value in pairs:
            if not name:
                raise ValueError("names can not be blank")
            for index, item in enumerate(env):
                if item.partition("=")[0] == name:
                    env[index] = f"{name}={value}"
                    break
            else:
                env.append(f"{name}={value}")
            self.variables[name] = value
        self.config = self.config._replace(env=tuple(env))
        self.note(instruction, "ENV " + " ".join(f"{name}={value}" for name, value in pairs))

    def label(self, instruction: ops.Label) -> None:
        pairs = [(self.word(name), self.word(value)) for name, value in instruction.pairs]
        self.config = self.config._replace(labels={**self.config.labels, **dict(pairs)})
        self.note(instruction, "LABEL " + " ".join(f"{name}={value}" for name, value in pairs))

    def arg(self, instruction: ops.Arg) -> None:
        texts = []
        for name, default in instruction.pairs:
            self.arguments.used.add(name)
            value = self.arguments.given.get(name)
            if value is None and default is not None:
                value = self.word(default)
            if value is None:
                value = self.arguments.globals.get(name)
            if value is not None:
                # The later of ENV and ARG counts, as in BuildKit; an ARG without a value changes nothing.
                self.variables[name] = value
            self.declared.pop(name, None)
            self.declared[name] = self.variables.get(name, "")
            texts.append(name if value is None else f"{name}={value}")
        self.note(instruction, "ARG " + " ".join(texts))

    def user(self, instruction: ops.User) -> None:
        user = self.word(instruction.user)
        self.config = self.config._replace(user=user)
        self.note(instruction, f"USER {user}")

    def command_line(self, command: ops.CommandLine) -> tuple[str, ...]:
        if command.shell:
            return (*(self.config.shell or DEFAULT_SHELL), " ".join(command.words))
        return command.words

    def cmd(self, instruction: ops.Cmd) -> None:
        words = self.command_line(instruction.command)
        self.cmd_is_set = True
        extra = {**self.config.extra, "ArgsEscaped": True}
        self.config = self.config._replace(cmd=words, extra=extra)
        self.note(instruction, f"CMD {gotext.quoted_list(words)}")

    def entrypoint(self, instruction: ops.Entrypoint) -> None:
        words = self.command_line(instruction.command)
        self.config = self.config._replace(entrypoint=words or None)
        if not self.cmd_is_set:
            self.config = self.config._replace(cmd=None)
        self.note(instruction, f"ENTRYPOINT {gotext.quoted_list(words)}")

    def shell(self, instruction: ops.Shell) -> None:
        self.config = self.config._replace(shell=instruction.words)
        self.note(instruction, f"SHELL {gotext.plain_list(instruction.words)}")

    def expose(self, instruction: ops.Expose) -> None:
        expander = Expander(self.variables, self.escape)
        ports: list[str] = []
        for text in instruction.ports:
            for word in expander.words(text):
                ports.extend(port for port in port_range(word) if port not in ports)
        known = self.config.exposed_ports
        self.config = self.config._replace(
            exposed_ports=(*known, *(port for port in ports if port not in known))
        )
        self.note(instruction, f"EXPOSE map[{' '.join(f'{port}:{{}}' for port in sorted(ports))}]")

    def volume(self, instruction: ops.Volume) -> None:
        paths = [self.word(path) for path in instruction.paths]
        if "" in paths:
            raise ValueError("a volume can not be an empty string")
        known = self.config.volumes
        new = dict.fromkeys(path for path in paths if path not in known)
        self.config = self.config._replace(volumes=(*known, *new))
        self.note(instruction, f"VOLUME {gotext.plain_list(paths)}")

    def stop_signal(self, instruction: ops.StopSignal) -> None:
        name = self.word(instruction.signal)
        check_signal(name)
        self.config = self.config._replace(stop_signal=name)
        self.note(instruction, f"STOPSIGNAL {name}")

    def healthcheck(self, instruction: ops.Healthcheck) -> None:
        check = Healthcheck(
            instruction.test,
            instruction.interval,
            instruction.timeout,
            instruction.start_period,
            instruction.start_interval,
            instruction.retries,
        )
        self.config = self.config._replace(healthcheck=check)
        self.note(instruction, f"HEALTHCHECK {gotext.health(check)}")

    def on_build(self, instruction: ops.OnBuild) -> None:
        self.config = self.config._replace(on_build=(*self.config.on_build, instruction.trigger))

    def maintainer(self, instruction: ops.Maintainer) -> None:
        self.image = self.image._replace(author=instruction.name)
        self.note(instruction, f"MAINTAINER {instruction.name}")

    # -- steps

    def workdir(self, instruction: ops.Workdir) -> None:
        given = self.word(instruction.path)
        if not given:
            raise ValueError("a working directory can not be an empty string")
        path = posixpath.normpath(posixpath.join("/", self.config.working_dir, given))
        path = "/" + path.lstrip("/")
        self.config = self.config._replace(working_dir=path)
        text = f"WORKDIR {path}"
        if path == "/":
            self.note(instruction, text)
            return
        self.steps.append(
            WorkdirStep(title=text, created_by=text, line=instruction.line, path=path, user=self.config.user)
        )

    def run(self, instruction: ops.Run) -> None:
        command, script = instruction.command, None
        arguments = self.command_line(command)
        title = self.title(instruction)
        if command.heredocs:
            first = command.heredocs[0]
            if is_only_heredoc(command.words[0]):
                title += f" ({summary(first.text)})"
                if first.text.startswith("#!"):
                    script = first.text
                    arguments = (f"{SCRIPTS}/{first.name}",)
                else:
                    arguments = (*arguments[:-1], first.text)
            else:
                # The shell reads its own here-documents.
                bodies = "".join(f"\n{body.content}{body.name}" for body in command.heredocs)
                arguments = (*arguments[:-1], arguments[-1] + bodies)
        shown = [f"{name}={self.variables.get(name, value)}" for name, value in self.declared.items()]
        prefix = [f"|{len(shown)}", *shown] if shown else []
        keyed = {"PATH": DEFAULT_PATH, **self.variables}
        self.steps.append(
            RunStep(
                title=title,
                created_by=" ".join(["RUN", *prefix, *arguments, "# buildkit"]),
                line=instruction.line,
                arguments=arguments,
                environment=pairs({**self.arguments.proxies(), **keyed}),
                keyed_environment=pairs(keyed),
                user=self.config.user,
                directory=self.config.working_dir or "/",
                network=instruction.network,
                script=script,
            )
        )

    def copy(self, instruction: ops.Copy) -> None:
        keyword = "ADD" if instruction.is_add else "COPY"
        sources = tuple(self.word(source) for source in instruction.sources)
        destination = self.word(instruction.destination)
        chown, chmod = self.word(instruction.chown), self.word(instruction.chmod)
        checksum = self.word(instruction.checksum)
        check_sources(keyword, sources, checksum)
        bodies = tuple((body.name, self.heredoc(body)) for body in instruction.heredocs)
        flags = [f"--chown={chown}"] if chown else []
        flags += [f"--chmod={chmod}"] if chmod else []
        words = [keyword, *flags, *sources, *(f"<<{name}" for name, _ in bodies), destination]
        self.steps.append(
            CopyStep(
                title=self.title(instruction),
                created_by=" ".join([*words, "# buildkit"]),
                line=instruction.line,
                sources=sources,
                bodies=bodies,
                destination=destination_of(destination, self.config.working_dir),
                origin=self.find_origin(instruction.origin, instruction.line),
                is_add=instruction.is_add,
                chown=chown,
                chmod=chmod,
                checksum=checksum,
                link=instruction.link,
                exclude=tuple(self.word(pattern) for pattern in instruction.exclude),
                unpack=instruction.unpack if instruction.is_add else False,
            )
        )

    def heredoc(self, body: Heredoc) -> str:
        if not body.expand:
            return body.text
        return Expander(self.variables, skip_quotes=True).word(body.text)


def pairs(variables: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in variables.items())


def is_only_heredoc(text: str) -> bool:
    """Whether a RUN is nothing but `<<EOF`."""
    return heredoc_of(text) is not None


def summary(text: str) -> str:
    """The first line of a heredoc."""
    lines = text.strip().splitlines() or [""]
    return lines[0] + ("..." if len(lines) > 1 else "")


def check_sources(keyword: str, sources: tuple[str, ...], checksum: str) -> None:
    """Refuse sources that the instruction cannot take."""
    for source in sources:
        if GIT.match(source):
            if keyword == "COPY":
                raise ValueError("a source can't be a git repository for COPY")
            raise ValueError(f"not supported yet: ADD {source} (a git repository)")
        if keyword == "COPY" and is_url(source):
            raise ValueError("a source can't be a URL for COPY")
    if checksum:
        if len(sources) != 1:
            raise ValueError("a checksum can't be specified for multiple sources")
        if not is_url(sources[0]):
            raise ValueError("a checksum requires an HTTP(S) source")


def port_range(text: str) -> list[str]:
    """`80`, `53/udp`, `7000-7002/tcp` as single ports with their protocol. Raises ValueError."""
    match = PORT.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid port {text!r}: must be port[-port][/tcp|udp|sctp]")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last or last > 65535:
        raise ValueError(f"invalid port range {text!r}")
    return [f"{port}/{(match[3] or 'tcp').lower()}" for port in range(first, last + 1)]


def check_signal(name: str) -> None:
    """Refuse a signal that does not exist; names with or without SIG, numbers, RTMIN+n."""
    import signal  # with enum it costs milliseconds, and few files say STOPSIGNAL

    if name.isdecimal():
        if len(name) < 4 and 0 < int(name) <= 64:
            return
    else:
        plain = name.upper().removeprefix("SIG")
        base, _, offset = plain.partition("+") if "+" in plain else plain.partition("-")
        if plain in ("CLD", "POLL", "IOT") or f"SIG{plain}" in signal.Signals.__members__:
            return
        if base in ("RTMIN", "RTMAX") and offset.isdecimal() and int(offset[:3]) <= 30:
            return
    raise ValueError(f"invalid signal: {name}")


HANDLERS: dict[type[ops.Instruction], Callable[..., None]] = {
    ops.Arg: Evaluation.arg,
    ops.Cmd: Evaluation.cmd,
    ops.Copy: Evaluation.copy,
    ops.Entrypoint: Evaluation.entrypoint,
    ops.Env: Evaluation.env,
    ops.Expose: Evaluation.expose,
    ops.Healthcheck: Evaluation.healthcheck,
    ops.Label: Evaluation.label,
    ops.Maintainer: Evaluation.maintainer,
    ops.OnBuild: Evaluation.on_build,
    ops.Run: Evaluation.run,
    ops.Shell: Evaluation.shell,
    ops.StopSignal: Evaluation.stop_signal,
    ops.User: Evaluation.user,
    ops.Volume: Evaluation.volume,
    ops.Workdir: Evaluation.workdir,
}
