"""`forklight logs`: shows the latest lines of a running server's functions, over its control socket."""

import sys
from pathlib import Path

import click
import msgspec

from forklight.admin.client import lines
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.observe.entry import Entry
from forklight.observe.formats import as_text
from forklight.observe.terminal import say_json, say_lines
from sandbox.guest._forklight.wire import LEVELS


@click.command(short_help="Show the latest lines of functions, and follow them.")
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines until Ctrl-C.")
@click.option("-n", "--lines", "last", type=click.IntRange(1, 1_000_000), metavar="N", help="Only the last N.")
@click.option("--id", "invocation", default="", metavar="ID", help="Of one invocation: its id or the id's end.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    help="The lowest. Printed lines are info, failures error.",
)
@config_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print each line as a JSON object.")
def logs(
    *,
    name: str | None,
    follow: bool,
    last: int | None,
    invocation: str,
    level: str | None,
    path: Path,
    state: Path | None,
    as_json: bool,
) -> int:
    """Show the latest lines of a running server's functions, or only those of the function NAME.

    \b
    Examples:
      forklight logs
      forklight logs -f greet
      forklight logs --level error -n 20
      forklight logs --id 0000001a
      forklight logs --json | jq 'select(.outcome)'
    """
    wanted = {"function": name, "level": level, "id": invocation, "last": last, "follow": 1 if follow else None}
    query = {key: str(value) for key, value in wanted.items() if value}
    colour = sys.stdout.isatty()
    with asked():
        for line in lines(state_of(path, state), "/logs", **query):
            if as_json:
                say_json(line.rstrip(b"\n"))
            else:
                say_lines(as_text(msgspec.json.decode(line, type=Entry), colour=colour))
    return 0
