"""The click group: which verb is which module. A module is imported when its verb is used."""

from __future__ import annotations

import click

from pycontain.cli.options import UsageError

VERBS: dict[str, tuple[str, str]] = {
    "attach": ("attach:attach", "Attach to a running container"),
    "bootstrap": ("bootstrap:bootstrap", "Make an image out of the host's own programs"),
    "build": ("build:build", "Build an image from a Dockerfile"),
    "commit": ("commit:commit", "Make an image of a container's changes"),
    "compare": ("compare:compare", "Measure an image as container, as virtual machine and more"),
    "container": ("container:container", "The verbs that work on containers"),
    "cp": ("cp:cp", "Copy files between a container and the host"),
    "create": ("create:", "Create a container, and do not start it"),
    "diff": ("diff:diff", "Show what a container changed in its files"),
    "exec": ("exec:", "Run a further program in a running container"),
    "export": ("export:export", "Write a container's files as a tar"),
    "history": ("history:history", "Show how an image was made"),
    "image": ("image:image", "The verbs that work on images"),
    "images": ("images:images", "List images"),
    "import": ("import_:import_", "Make an image of a root file system's tar"),
    "info": ("info:info", "Show what this installation has and where"),
    "inspect": ("inspect:inspect", "Show everything about containers or images"),
    "kernel": ("kernel:kernel", "Look at the emulated kernel"),
    "kill": ("kill:kill", "Send a signal to containers"),
    "load": ("load:load", "Load images from a tar"),
    "login": ("login:login", "Log in to a registry"),
    "logout": ("logout:logout", "Log out of a registry"),
    "logs": ("logs:logs", "Show what a container has printed"),
    "pause": ("pause:pause", "Stop all programs of containers for a while"),
    "port": ("port:port", "Show a container's published ports"),
    "ps": ("ps:ps", "List containers"),
    "pull": ("pull:pull", "Get an image from a registry"),
    "push": ("push:push", "Send an image to a registry"),
    "registry": ("registry:registry", "Serve images"),
    "rename": ("rename:rename", "Give a container another name"),
    "restart": ("restart:restart", "Stop containers and start them again"),
    "rm": ("rm:rm", "Remove containers"),
    "rmi": ("rmi:rmi", "Remove images"),
    "run": ("run:", "Create a container from an image and run its program"),
    "save": ("save:save", "Write images as a tar"),
    "start": ("start:start", "Start containers"),
    "stats": ("stats:stats", "Show what containers use"),
    "stop": ("stop:stop", "Stop containers"),
    "system": ("system:system", "The verbs that work on everything"),
    "tag": ("tag:tag", "Give an image another name"),
    "top": ("top:top", "List a container's processes"),
    "unpause": ("pause:unpause", "Let the programs of paused containers go on"),
    "update": ("update:update", "Change the limits of containers"),
    "version": ("version:version", "Show versions"),
    "vm": ("vm:vm", "Virtual machines: make the host ready, snapshots, clones"),
    "wait": ("wait:wait", "Wait until containers end; print their exit codes"),
}
"""verb -> (module:attribute, what it does). No attribute: the module has TABLE and main (the hot verbs)."""


class LazyGroup(click.Group):
    """A group whose commands are named by a table: name -> (module:attribute, short help)."""

    def __init__(self, name: str, table: dict[str, tuple[str, str]], help: str) -> None:
        super().__init__(name, help=help)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, sorted."""
        return sorted(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command; its module is imported now."""
        if cmd_name not in self._table:
            return None
        module_name, _, attribute = self._table[cmd_name][0].partition(":")
        module = __import__(f"pycontain.cli.{module_name}", fromlist=["_"])
        if not attribute:
            from pycontain.cli.table_command import TableCommand

            return TableCommand(module.TABLE, module.main)
        command: click.Command = getattr(module, attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """UsageError with the nearest verb where there is no such one."""
        if args and args[0] not in self._table and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], list(self._table), 1)
            raise UsageError(
                f"{args[0]}: there is no such verb",
                hint=f"did you mean {close[0]}?" if close else "pycontain --help lists them",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing a module per line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._table[name][1]) for name in sorted(self._table)])


def run_group(arguments: list[str]) -> int:
    """Carry out a command line through click; the exit code."""
    group = LazyGroup("pycontain", VERBS, "Build, ship and run containers without privileges.")
    group.params.append(
        click.Option(["--root"], metavar="DIRECTORY", help="Where everything is kept ($PYCONTAIN_ROOT).")
    )
    group.params.append(
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version)
    )
    group.callback = lambda root=None: None
    try:
        code = group.main(arguments, "pycontain", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "pycontain"
        raise UsageError(error.format_message().rstrip("."), hint=f"see {path} --help") from None
    except click.ClickException as error:
        raise UsageError(error.format_message()) from None
    except click.Abort:
        return 130
    except click.exceptions.Exit as end:
        return end.exit_code
    return code if isinstance(code, int) else 0


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from pycontain import __version__

        click.echo(f"pycontain version {__version__}")
        context.exit()
