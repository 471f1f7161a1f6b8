"""From the bytes of a Dockerfile to instructions.

    dockerfile = parse(data, "Dockerfile")
    dockerfile.instructions      # (From(...), Copy(...), ...)

Source: the Dockerfile reference; where it is silent, what BuildKit's own parser does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from pycontain.build.directives import Directives
from pycontain.build.durations import parse_duration
from pycontain.build.heredoc import heredoc_of
from pycontain.build.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from pycontain.build.lines import Line, read_lines
from pycontain.build.request import Request
from pycontain.build.splitting import SPACE, split_instruction, split_json, split_pairs, split_words
from pycontain.errors import BuildError

STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
MINIMUM_INTERVAL = 1_000_000  # ns


class Dockerfile(NamedTuple):
    """A parsed file: its name for messages, its directives, its instructions in order."""

    file: str
    directives: Directives
    instructions: tuple[Instruction, ...]


def parse(data: bytes, file: str = "Dockerfile") -> Dockerfile:
    """Parse a whole Dockerfile. Raises BuildError with the file and line of what is wrong."""
    directives, lines = read_lines(data, file)
    instructions = tuple(parse_line(line, directives.escape, file) for line in lines)
    if not instructions:
        raise BuildError("the file has no instructions", file=file)
    for instruction in instructions:
        if isinstance(instruction, From):
            break
        if not isinstance(instruction, Arg):
            keyword = instruction.source.split(None, 1)[0].upper()
            raise BuildError(
                f"{keyword} before the first FROM: no build stage in current context",
                file=file,
                line=instruction.line,
            )
    else:
        raise BuildError("no build stage: the file has no FROM", file=file)
    return Dockerfile(file, directives, instructions)


def parse_trigger(text: str, file: str, line: int) -> Instruction:
    """One ONBUILD trigger of a base image. Raises BuildError."""
    _, lines = read_lines(text.encode("utf-8", "surrogateescape"), file)
    if len(lines) != 1:
        raise BuildError(f"ONBUILD {text!r}: a trigger is one instruction", file=file, line=line)
    moved = Line(lines[0].text, line, line, lines[0].heredocs)
    instruction = parse_line(moved, "\\", file)
    if isinstance(instruction, OnBuild | From | Maintainer):
        raise BuildError(f"ONBUILD {text!r}: not allowed as a trigger", file=file, line=line)
    return instruction


def parse_line(line: Line, escape: str, file: str) -> Instruction:
    """One logical line as an instruction. Raises BuildError."""
    try:
        keyword, flags, rest = split_instruction(line.text, escape)
        parser = PARSERS.get(keyword)
        if parser is None:
            raise ValueError(f"unknown instruction: {keyword[:60]}{suggestion(keyword, PARSERS)}")
        request = Request(keyword, rest, line, escape, file)
        for flag in flags:
            name, equals, value = flag[2:].partition("=")
            request.flags.setdefault(name, []).append(value if equals else None)
        instruction = parser(request)
        for name in request.flags:
            raise ValueError(f"unknown flag: {keyword} --{name[:60]}{suggestion(name, FLAG_NAMES)}")
        return instruction._replace(source=line.text.strip(), line=line.start, end=line.end)
    except ValueError as error:
        raise BuildError(str(error), file=file, line=line.start) from None


def suggestion(word: str, known: object) -> str:
    """ " (did you mean COPY?)" for a near miss, else ""."""
    from difflib import get_close_matches  # only when something is wrong: it costs a millisecond to import

    near = get_close_matches(word[:60], list(known), 1, 0.6)  # type: ignore[call-overload]
    return f" (did you mean {near[0]}?)" if near else ""


def parse_from(request: Request) -> Instruction:
    platform = request.take("platform")
    words = SPACE.split(request.rest) if request.rest else []
    name = ""
    if len(words) == 3 and words[1].upper() == "AS":
        name = words[2].lower()
        if not STAGE_NAME.fullmatch(name):
            raise ValueError(
                f"invalid name for build stage: {words[2]!r},"
                " name can't start with a number or contain symbols"
            )
    elif len(words) != 1:
        raise ValueError("FROM requires either one or three arguments")
    return From(words[0], name, platform)


def parse_arg(request: Request) -> Instruction:
    words = split_words(request.rest, request.escape)
    if not words:
        raise ValueError("ARG requires at least one argument")
    pairs: list[tuple[str, str | None]] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise ValueError("ARG names can not be blank")
        pairs.append((name, value if equals else None))
    return Arg(tuple(pairs))


def parse_env(request: Request) -> Instruction:
    return Env(tuple(split_pairs(request.rest, request.escape, "ENV")))


def parse_label(request: Request) -> Instruction:
    return Label(tuple(split_pairs(request.rest, request.escape, "LABEL")))


def parse_run(request: Request) -> Instruction:
    request.not_yet("mount")
    request.not_yet("device")
    network = request.take("network") or "default"
    if network not in ("default", "host"):
        if network == "none":
            raise ValueError("not supported yet: RUN --network=none")
        raise ValueError(f"invalid network mode {network!r}: default, host or none")
    security = request.take("security") or "sandbox"
    if security == "insecure":
        raise ValueError("not supported yet: RUN --security=insecure")
    if security != "sandbox":
        raise ValueError(f"security {security!r} is not valid: sandbox or insecure")
    command = request.command()
    if not command.words:
        raise ValueError("RUN requires a command")
    return Run(command, network)


def parse_copy(request: Request) -> Instruction:
    is_add = request.keyword == "ADD"
    chown, chmod = request.take("chown"), request.take("chmod")
    link, exclude = request.take_bool("link"), request.take_all("exclude")
    origin = checksum = ""
    unpack = None
    if is_add:
        request.not_yet("keep-git-dir")
        checksum, unpack = request.take("checksum"), request.take_bool("unpack")
    else:
        if request.take_bool("parents"):
            raise ValueError("not supported yet: COPY --parents")
        origin = request.take("from")
    words = request.words()
    if len(words) < 2:
        raise ValueError(f"{request.keyword} requires at least two arguments: sources and a destination")
    if heredoc_of(words[-1]) is not None:
        raise ValueError(f"{request.keyword} cannot accept a heredoc as a destination")
    bodies = {heredoc.name: heredoc for heredoc in request.line.heredocs}
    sources, heredocs = [], []
    for word in words[:-1]:
        heredoc = heredoc_of(word) if bodies else None
        if heredoc is None:
            sources.append(word)
        else:
            heredocs.append(bodies[heredoc.name])
    return Copy(
        tuple(sources),
        words[-1],
        tuple(heredocs),
        is_add=is_add,
        origin=origin,
        chown=chown,
        chmod=chmod,
        checksum=checksum,
        link=bool(link),
        exclude=exclude,
        unpack=unpack,
    )


def parse_workdir(request: Request) -> Instruction:
    return Workdir(request.one())


def parse_user(request: Request) -> Instruction:
    return User(request.one())


def parse_cmd(request: Request) -> Instruction:
    request.one()
    return Cmd(request.command())


def parse_entrypoint(request: Request) -> Instruction:
    request.one()
    return Entrypoint(request.command())


def parse_shell(request: Request) -> Instruction:
    words = split_json(request.rest)
    if words is None:
        raise ValueError("SHELL requires the arguments to be in JSON form")
    if not words:
        raise ValueError("SHELL requires at least one argument")
    return Shell(tuple(words))


def parse_expose(request: Request) -> Instruction:
    ports = SPACE.split(request.rest) if request.rest else []
    if not ports:
        raise ValueError("EXPOSE requires at least one argument")
    return Expose(tuple(sorted(ports)))


def parse_volume(request: Request) -> Instruction:
    paths = [path.strip() for path in request.words()]
    if not paths:
        raise ValueError("VOLUME requires at least one argument")
    if "" in paths:
        raise ValueError("VOLUME specified can not be an empty string")
    return Volume(tuple(paths))


def parse_stop_signal(request: Request) -> Instruction:
    return StopSignal(request.one())


def parse_healthcheck(request: Request) -> Instruction:
    kind, rest = (*SPACE.split(request.rest, maxsplit=1), "")[:2]
    kind = kind.upper()
    if kind == "NONE":
        if rest:
            raise ValueError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(("NONE",))
    if kind != "CMD":
        raise ValueError(f"unknown type {kind!r} in HEALTHCHECK (try CMD)")
    retries = request.take("retries") or "0"
    if not retries.isdecimal() or len(retries) > 9:
        raise ValueError(f"--retries must be a number that is not negative, not {retries!r}")
    listed = split_json(rest)
    test = ("CMD", *listed) if listed is not None else ("CMD-SHELL", rest)
    if not rest or listed == []:
        raise ValueError("missing command after HEALTHCHECK CMD")
    return Healthcheck(
        test,
        interval=interval(request, "interval"),
        timeout=interval(request, "timeout"),
        start_period=interval(request, "start-period"),
        start_interval=interval(request, "start-interval"),
        retries=int(retries),
    )


def interval(request: Request, name: str) -> int:
    text = request.take(name)
    value = parse_duration(text) if text else 0
    if value and value < MINIMUM_INTERVAL:
        raise ValueError(f"interval --{name}={text} cannot be less than 1ms")
    return value


def parse_onbuild(request: Request) -> Instruction:
    keyword = SPACE.split(request.rest, maxsplit=1)[0].upper()
    if not keyword:
        raise ValueError("ONBUILD requires at least one argument")
    if keyword == "ONBUILD":
        raise ValueError("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("FROM", "MAINTAINER"):
        raise ValueError(f"{keyword} isn't allowed as an ONBUILD trigger")
    if keyword not in PARSERS:
        raise ValueError(f"unknown instruction: {keyword[:60]}{suggestion(keyword, PARSERS)}")
    bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in request.line.heredocs)
    # The trigger is checked now, so that its author sees the error, not the users of the image.
    parse_trigger(request.rest + bodies, request.file, request.line.start)
    return OnBuild(request.rest + bodies)


def parse_maintainer(request: Request) -> Instruction:
    return Maintainer(request.one())


PARSERS: dict[str, Callable[[Request], Instruction]] = {
    "ADD": parse_copy,
    "ARG": parse_arg,
    "CMD": parse_cmd,
    "COPY": parse_copy,
    "ENTRYPOINT": parse_entrypoint,
    "ENV": parse_env,
    "EXPOSE": parse_expose,
    "FROM": parse_from,
    "HEALTHCHECK": parse_healthcheck,
    "LABEL": parse_label,
    "MAINTAINER": parse_maintainer,
    "ONBUILD": parse_onbuild,
    "RUN": parse_run,
    "SHELL": parse_shell,
    "STOPSIGNAL": parse_stop_signal,
    "USER": parse_user,
    "VOLUME": parse_volume,
    "WORKDIR": parse_workdir,
}
FLAG_NAMES = (
    "checksum",
    "chmod",
    "chown",
    "exclude",
    "from",
    "interval",
    "link",
    "network",
    "platform",
    "retries",
    "security",
    "start-interval",
    "start-period",
    "timeout",
    "unpack",
)
