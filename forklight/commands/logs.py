"""`forklight logs`: shows the latest lines of functions, from a running server or from what the last one has kept."""

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import click
import msgspec

from forklight.admin.client import NotRunning, lines
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.config.units import parse_duration
from forklight.observe.entry import Entry, Selection
from forklight.observe.formats import Days, as_text
from forklight.observe.kept.files import has_kept, read_kept
from forklight.observe.kept.merge import Tail, of_ended_servers
from forklight.observe.terminal import say, say_json, say_lines
from sandbox.guest._forklight.wire import LEVELS


class _Moment(click.ParamType[float]):
    """A duration before now, or a local time, as seconds since the epoch."""

    name = "moment"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises click's error."""
        try:
            return time.time() - parse_duration(value)
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is neither a duration, such as 10m or 2d, nor a time, such as 2026-11-25T10:00")


def _split(name: str | None, release: int | None) -> tuple[str | None, int | None]:
    """`ship@8`, as `ps` writes a version, is the function `ship` and the version 8."""
    function, at, number = (name or "").rpartition("@")
    if not (at and number.isascii() and number.isdecimal() and len(number) < 10):
        return name, release
    if release not in (None, int(number)):
        raise click.UsageError(f"{name} is version {int(number)}, and --version says {release}: leave one out")
    return function, int(number)


@click.command(short_help="Show the latest lines of functions, and follow them.")
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines until Ctrl-C.")
@click.option("-n", "--lines", "last", type=click.IntRange(1, 1_000_000), metavar="N", help="Only the last N.")
@click.option(
    "--since", "since_s", type=_Moment(), metavar="TIME", help="A duration, or a local time: 10m, 2026-11-25."
)
@click.option("--id", "invocation", default="", metavar="ID", help="Of one invocation: its id or the id's end.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    help="The lowest. Printed lines are info, failures error.",
)
@click.option(
    "--version", "release", type=click.IntRange(1), metavar="NUMBER", help="Of one version of what is deployed."
)
@config_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print each line as a JSON object.")
def logs(
    *,
    name: str | None,
    follow: bool,
    last: int | None,
    since_s: float | None,
    invocation: str,
    level: str | None,
    release: int | None,
    path: Path,
    state: Path | None,
    as_json: bool,
) -> int:
    """Show the latest lines of functions, or only those of the function NAME, also from before a restart.

    NAME@8 is version 8 of it, as --version 8.

    If no server runs, they are those that the last one has kept ([log] keep).

    \b
    Examples:
      forklight logs
      forklight logs -f greet
      forklight logs --level error -n 20
      forklight logs --since 2h
      forklight logs --id 0000001a
      forklight logs checkout --version 8 --level error
      forklight logs --json | jq 'select(.outcome)'
    """
    place = state_of(path, state)
    name, release = _split(name, release)
    wanted = {"function": name, "level": level, "id": invocation, "last": last, "since": since_s, "version": release}
    query = {key: str(value) for key, value in wanted.items() if value} | ({"follow": "1"} if follow else {})
    with asked():
        try:
            _print((msgspec.json.decode(line, type=Entry) for line in lines(place, "/logs", **query)), as_json=as_json)
        except NotRunning:
            if follow or not has_kept(place):
                raise
            say(f"no server runs on {place}: this is what the last one has kept", err=True)
            selection = Selection(
                function=name, level=level or "", invocation=invocation, since_s=since_s or 0.0, release=release or 0
            )
            _print(_kept(place, selection, last), as_json=as_json)
    return 0


def _kept(state: Path, selection: Selection, last: int | None) -> Iterator[Entry]:
    try:
        if last is None:
            yield from of_ended_servers(read_kept(state, selection))
        else:
            tail = Tail(last)
            tail.feed(of_ended_servers(read_kept(state, selection)))
            yield from tail.entries
    except OSError as error:
        raise click.ClickException(f"the kept log cannot be read: {error}") from None


def _print(entries: Iterable[Entry], *, as_json: bool) -> None:
    colour, days = sys.stdout.isatty(), Days(time.time())
    for entry in entries:
        if as_json:
            say_json(msgspec.json.encode(entry))
            continue
        day = days.line(entry, colour=colour)
        if day is not None and not entry.started:  # that line has its date
            say_lines(day)
        say_lines(as_text(entry, colour=colour))
