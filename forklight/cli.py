"""The command line. Exit status: 0 done, 1 failed, 2 used wrongly (a bad configuration too), 130 interrupted."""

import sys
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import click

from forklight.commands.backup import backup
from forklight.commands.check import check
from forklight.commands.dlq import dlq
from forklight.commands.init import init
from forklight.commands.install import install
from forklight.commands.invoke import invoke
from forklight.commands.keys import keys
from forklight.commands.logs import logs
from forklight.commands.ps import ps
from forklight.commands.reload import reload
from forklight.commands.send import send
from forklight.commands.serve import dev, serve
from forklight.commands.systemd import systemd
from forklight.commands.timers import timers
from forklight.commands.top import top
from forklight.commands.why import why
from forklight.config.hint import did_you_mean
from forklight.config.problem import ConfigError
from forklight.observe.terminal import say, show_error
from forklight.state.directory import StateError
from sandbox.launch import forbid_inspection

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
    sys.exit(status or 0)


def _say_version(ctx: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if is_wanted and not ctx.resilient_parsing:
        try:
            found = metadata.version("forklight")
        except metadata.PackageNotFoundError:
            found = f"of the checkout {Path(__file__).parents[1]}"
        say(f"forklight {found}")
        ctx.exit()


class _Commands(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but the message of an unknown command has the one that is closest."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}{did_you_mean(args[0], self.commands)}")
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
    """Forklight runs Python functions on events.

    \b
    Examples:
      forklight check
      forklight serve
      forklight invoke total -d '{"numbers": [1, 2, 3]}'
    """


cli.add_command(check)
cli.add_command(init)
cli.add_command(dev)
cli.add_command(install)
cli.add_command(serve)
cli.add_command(reload)
cli.add_command(ps)
cli.add_command(top)
cli.add_command(logs)
cli.add_command(why)
cli.add_command(invoke)
cli.add_command(send)
cli.add_command(dlq)
cli.add_command(timers)
cli.add_command(backup)
cli.add_command(keys)
cli.add_command(systemd)
