"""`forklight ps` and `forklight logs`: what a running server tells over its control socket."""

import os
import sys
from pathlib import Path

import click
import msgspec

from forklight.client import NoServer, get, lines
from forklight.config import FILE_NAME
from forklight.formats import as_text
from forklight.journal import Entry
from forklight.state import state_path
from forklight.status import FunctionStatus, Status

_HEADINGS = ("FUNCTION", "VERSION", "TEMPLATE", "IDLE", "BUSY", "WAIT", "STARTS", "OK", "FAILED", "MEMORY")

_place = click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")
_state = click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state directory.")


@click.command()
@_place
@_state
@click.option("--json", "as_json", is_flag=True, help="Print everything the server tells, as JSON.")
def ps(path: Path, state: Path | None, as_json: bool) -> int:
    """Show the functions of a running server: instances, starts so far, failures with reason, memory.

    \b
    Examples:
      forklight ps
      forklight ps app/ --json | jq '.functions[].starts'
    """
    answer = _ask(path, state)
    if as_json:
        click.echo(answer)
        return 0
    status = msgspec.json.decode(answer, type=Status)
    rows = [_HEADINGS, *(_row(function) for function in status.functions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    for function in status.functions:
        for note in _notes(function):
            click.echo(f"{function.name}: {note}")
    draining = ", draining" if status.draining else ""
    click.echo(f"pid {status.pid}, up {_duration(status.uptime_s)}, isolation: {status.isolation.level}{draining}")
    return 0


@click.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), default=Path(), metavar="DIR|FILE")
@_state
@click.option("--json", "as_json", is_flag=True, help="Print each line as a JSON object.")
def logs(name: str | None, follow: bool, path: Path, state: Path | None, as_json: bool) -> int:
    """Show the latest lines of the functions of a running server, or of the function NAME alone.

    \b
    Examples:
      forklight logs
      forklight logs -f greet
      forklight logs --json | jq 'select(.outcome)'
    """
    query = {"follow": "1"} if follow else {}
    if name is not None:
        query["function"] = name
    colour = sys.stdout.isatty()
    try:
        for line in lines(_state_of(path, state), "/logs", **query):
            entry = msgspec.json.decode(line, type=Entry)
            click.echo(line.rstrip(b"\n") if as_json else as_text(entry, colour=colour))
    except NoServer as error:
        raise click.ClickException(str(error)) from None
    return 0


def _ask(path: Path, state: Path | None) -> bytes:
    try:
        return get(_state_of(path, state), "/status")
    except NoServer as error:
        raise click.ClickException(str(error)) from None


def _state_of(path: Path, state: Path | None) -> Path:
    """The state directory of the server of this configuration, which need not be readable or right for this."""
    source = path / FILE_NAME if path.is_dir() else path
    return state_path(state, os.environ, source)


def _row(function: FunctionStatus) -> tuple[str, ...]:
    pool, outcomes = function.instances, function.outcomes
    starts = " ".join(f"{kind}:{count}" for kind, count in sorted(function.starts.items())) or "-"
    failed = sum(count for outcome, count in outcomes.items() if outcome != "ok")
    return (
        function.name,
        function.version,
        function.template if function.template in ("ready", "none") else "failed",
        str(pool.idle),
        str(pool.busy + pool.starting),
        str(pool.waiting),
        starts,
        str(outcomes.get("ok", 0)),
        str(failed),
        f"{function.memory_kb / 1024:.1f} MiB",
    )


def _notes(function: FunctionStatus) -> list[str]:
    """What does not fit in a column: why it cannot load, who keeps threads, the last failure."""
    notes = []
    if function.template not in ("ready", "none"):
        notes.append(function.template)
    if function.threads:
        notes.append(
            f"instances are loaded one by one, not forked: threads of {function.threads} live after the import"
        )
    if function.last_failure:
        notes.append(f"last failure: {function.last_failure}")
    return notes


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
