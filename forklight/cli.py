"""The command line. Exit status: 0 done, 1 failed, 2 used wrongly (a bad configuration too), 130 interrupted."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from forklight import check as checks
from forklight.dlq_command import dlq
from forklight.init_command import init
from forklight.install_command import install
from forklight.invoke_command import invoke
from forklight.problem import ConfigError
from forklight.ps_command import logs, ps
from forklight.reload_command import reload
from forklight.send_command import send
from forklight.serve_command import dev, serve
from forklight.state import StateError
from forklight.timers_command import timers

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        status = cli.main(prog_name="forklight", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except (ConfigError, StateError) as error:
        click.echo(error, err=True)
        status = 2 if isinstance(error, ConfigError) else 1
    sys.exit(status or 0)


@click.group(context_settings=_CONTEXT)
def cli() -> None:
    """Forklight runs Python functions on events.

    \b
    Examples:
      forklight check
      forklight serve
      forklight invoke greet -d '{"name": "Ada"}'
    """


@cli.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: ok, functions, problems, warnings.")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state directory.")
def check(path: Path, as_json: bool, state: Path | None) -> int:
    """Check a configuration and the code of its functions, without running any of it.

    \b
    Examples:
      forklight check                  the forklight.toml of this directory
      forklight check app/             the one of another
      forklight check hello.py         a single file needs no configuration
      forklight check --json | jq .problems
    """
    try:
        config, warnings = checks.check(path, os.environ, state)
    except ConfigError as error:
        if not as_json:
            raise
        _print_json({"ok": False, "functions": [], "problems": error.problems, "warnings": []})
        return 2
    if as_json:
        _print_json({"ok": True, "functions": sorted(config.functions), "problems": [], "warnings": warnings})
        return 0
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    count = len(config.functions)
    click.echo(f"ok: {count} function{'s' * (count != 1)} ({', '.join(sorted(config.functions))})")
    return 0


cli.add_command(init)
cli.add_command(dev)
cli.add_command(install)
cli.add_command(serve)
cli.add_command(reload)
cli.add_command(ps)
cli.add_command(logs)
cli.add_command(invoke)
cli.add_command(send)
cli.add_command(dlq)
cli.add_command(timers)


def _print_json(value: object) -> None:
    click.echo(msgspec.json.encode(value))
