"""pycontain exec: run a further program in a running container."""

from __future__ import annotations

from pycontain.cli.options import FLAG, LATER_FLAG, LIST, VALUE, Option, Table, parse
from pycontain.engine.attach import DETACH_KEYS
from pycontain.engine.containers import find
from pycontain.engine.engine import Engine
from pycontain.engine.execute import ExecOptions, execute

TABLE = Table(
    "exec",
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    2,
    "Run a further program in a running container.",
    (
        Option("detach", "d", FLAG, "Run the program in the background"),
        Option("detach-keys", "", VALUE, "The keys that leave the program running", "KEYS"),
        Option("env", "e", LIST, "Set an environment variable", "NAME[=VALUE]"),
        Option("env-file", "", LIST, "Read environment variables from a file", "FILE"),
        Option("interactive", "i", FLAG, "Keep standard input open"),
        Option("privileged", "", LATER_FLAG, ""),
        Option("tty", "t", FLAG, "Give the program a terminal"),
        Option("user", "u", VALUE, "Run as this user", "NAME|UID[:GROUP|GID]"),
        Option("workdir", "w", VALUE, "The program's working directory", "PATH"),
    ),
)


def main(arguments: list[str]) -> int:
    """Carry out the verb; the exit code."""
    values, words = parse(TABLE, arguments)
    engine = Engine()
    container = find(engine, words[0])
    options = ExecOptions(words[1:])
    options.env = values.texts("env")
    options.env_files = values.texts("env_file")
    options.interactive = values.flag("interactive")
    options.tty = values.flag("tty")
    options.user = values.text("user")
    options.working_dir = values.text("workdir")
    if values.flag("detach"):
        execute(engine, container, options, attach=False).close()
        return 0
    from pycontain.cli.interact import interact  # not for -d
    from pycontain.cli.terminal import parse_detach_keys

    keys = values.text("detach_keys")
    return interact(
        "exec",
        lambda stdin, size: execute(engine, container, options, attach=True, stdin=stdin, size=size),
        interactive=options.interactive,
        terminal=options.tty,
        detach_keys=DETACH_KEYS if keys is None else parse_detach_keys(keys),
    )
