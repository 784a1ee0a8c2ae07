"""The command line. Exit status: 0 done, 1 failed, 2 used wrongly (a bad configuration too), 130 interrupted."""

import json
import mimetypes
import os
import sys
from pathlib import Path
from typing import NoReturn

import anyio
import click
import msgspec

import bus
from forklight import check as checks
from forklight.config import Config, load
from forklight.hint import did_you_mean
from forklight.init_command import init
from forklight.problem import ConfigError
from forklight.ps_command import logs, ps
from forklight.serve_command import serve
from forklight.state import StateError, state_path

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
      forklight invoke greet --here -d '{"name": "Ada"}'
    """


@cli.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: ok, functions, problems, warnings.")
def check(path: Path, as_json: bool) -> int:
    """Check a configuration and the code of its functions, without running any of it.

    \b
    Examples:
      forklight check                  the forklight.toml of this directory
      forklight check app/             the one of another
      forklight check hello.py         a single file needs no configuration
      forklight check --json | jq .problems
    """
    try:
        config, warnings = checks.check(path, os.environ)
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


@cli.command()
@click.argument("name")
@click.option("--here", is_flag=True, help="Run the function in processes of its own, without a server.")
@click.option("-d", "--data", metavar="JSON", help="The body: a JSON value.")
@click.option("-f", "--file", metavar="FILE|-", help="The body: a file, its type by its name, or standard input, JSON.")
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), default=Path(), metavar="DIR|FILE")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state directory.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole outcome as one JSON object.")
def invoke(
    *, name: str, here: bool, data: str | None, file: str | None, path: Path, state: Path | None, as_json: bool
) -> int:
    """Run the function NAME once and print what it returns.

    \b
    Examples:
      forklight invoke greet --here
      forklight invoke greet --here -d '{"name": "Ada"}'
      forklight invoke thumbnail --here -f photo.jpg > small.jpg
      forklight invoke hello --here -c hello.py --json
      cat order.json | forklight invoke orders --here -f -
    """
    if not here:
        raise click.UsageError("say --here: the function then runs in processes of its own, without a server")
    body, content_type = _body(data, file)
    config = load(path, os.environ)
    if name not in config.functions:
        hint = did_you_mean(name, config.functions)
        raise click.UsageError(f"there is no function {name!r} in {config.path}{hint}")
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
    outcome = _run_here(config, name, body, content_type, state_path(state, os.environ, config.path))
    if as_json:
        _print_json(_outcome_as_json(outcome))
    else:
        _print_outcome(name, outcome)
    return 0 if isinstance(outcome, bus.Ok) else 1


cli.add_command(init)
cli.add_command(serve)
cli.add_command(ps)
cli.add_command(logs)


def _run_here(config: Config, name: str, body: bytes, content_type: str | None, state: Path) -> bus.Outcome:
    from forklight.here import invoke_here

    return anyio.run(invoke_here, config, name, body, content_type, state, backend_options={"use_uvloop": True})


def _body(data: str | None, file: str | None) -> tuple[bytes, str | None]:
    """Return the body and its content type; without -d and -f an empty one of no type."""
    if data is not None and file is not None:
        raise click.UsageError("give -d or -f, not both")
    if file is not None and file != "-":
        try:
            return Path(file).read_bytes(), mimetypes.guess_type(file)[0] or "application/octet-stream"
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read: {error.strerror}") from error
    if data is None and file is None:
        return b"", None
    body = sys.stdin.buffer.read() if data is None else os.fsencode(data)
    try:
        json.loads(body)
    except ValueError as error:
        raise click.UsageError(f"the data is no JSON: {error}") from error
    return body, "application/json"


def _print_outcome(name: str, outcome: bus.Outcome) -> None:
    if isinstance(outcome, bus.Failed):
        click.echo(f"{name}: {outcome.kind}/{outcome.code}: {outcome.message}", err=True)
        if outcome.traceback:
            click.echo(outcome.traceback.rstrip("\n"), err=True)
        return
    click.echo(outcome.body, nl=sys.stdout.isatty() and not outcome.body.endswith(b"\n"))


def _outcome_as_json(outcome: bus.Outcome) -> dict[str, object]:
    """Return the outcome's own fields, and `ok`; a body that is no UTF-8 is `body_base64` instead of `body`."""
    fields: dict[str, object] = {"ok": isinstance(outcome, bus.Ok)} | msgspec.structs.asdict(outcome)
    if isinstance(outcome, bus.Ok):
        try:
            fields["body"] = outcome.body.decode()
        except UnicodeDecodeError:
            fields["body_base64"] = fields.pop("body")
    return fields


def _print_json(value: object) -> None:
    click.echo(msgspec.json.encode(value))
