"""The command line. Exit status: 0 done, 1 failed, 2 used wrongly (a bad configuration too), 130 interrupted."""

import gc
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from forklight.config.hint import did_you_mean
from forklight.config.problem import ConfigError
from forklight.observe.terminal import say, show_error
from forklight.state.directory import StateError
from sandbox.launch import forbid_inspection

_COMMANDS = (
    *("abort", "alias", "backup", "check", "deploy", "dev", "dlq", "doctor", "init", "install", "invoke", "keys"),
    *("logs", "promote", "ps", "record", "reload", "rollback", "send", "serve", "systemd", "timers", "top"),
    *("undeploy", "versions", "why"),
)
_MODULES = {"dev": "serve"}
"""The modules in `forklight.commands` of commands that are not named like their module."""

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main() -> NoReturn:
    """Run the command line and exit."""
    forbid_inspection()  # before anything is started, or a secret read
    try:
        status = cli.main(prog_name="forklight", standalone_mode=False)
    except click.ClickException as error:
        show_error(error)
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except (ConfigError, StateError) as error:
        say(str(error), err=True)
        status = 2 if isinstance(error, ConfigError) else 1
    gc.freeze()  # or the interpreter looks for garbage in all modules before it ends
    sys.exit(status or 0)


def _say_version(ctx: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if is_wanted and not ctx.resilient_parsing:
        from importlib import metadata

        try:
            found = metadata.version("forklight")
        except metadata.PackageNotFoundError:
            found = f"of the checkout {Path(__file__).parents[1]}"
        is_compiled = any(Path(__file__).parents[1].glob("forklight__mypyc.*"))  # hatch_build.py makes it
        say(f"forklight {found}{' (compiled)' if is_compiled else ''}")
        ctx.exit()


class _Commands(click.Group):
    """Imports a command's module when the command is used: most only ask a server and need none of its modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, in the order of `--help`."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None if there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module = _MODULES.get(cmd_name, cmd_name)
        gc.disable()  # what imports make is no garbage
        try:
            command: click.Command = getattr(import_module(f"forklight.commands.{module}"), cmd_name)
        finally:
            gc.enable()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does, but suggest the closest name for an unknown command."""
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}{did_you_mean(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings=_CONTEXT)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Forklight runs functions on events: requests, messages and timers.

    \b
    Examples:
      forklight check
      forklight serve
      forklight invoke total -d '{"numbers": [1, 2, 3]}'
    """
