"""`forklight why`: explains where the time of one invocation went, from a running server or what the last one kept."""

from pathlib import Path

import click
import msgspec

from forklight.admin.client import NotRunning, get
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.commands.explaining import tell
from forklight.observe.entry import Selection
from forklight.observe.explanation import Explanation, choose, invocations
from forklight.observe.kept.files import has_kept, read_kept
from forklight.observe.kept.merge import of_ended_servers, of_latest_server
from forklight.observe.terminal import plain_lines, say, say_json


@click.command(short_help="Explain where the time of one invocation went.")
@click.argument("invocation", required=False, metavar="[ID]")
@click.option("--function", metavar="NAME", help="Without an ID: the slowest one of this function.")
@config_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print the record of the invocation as JSON.")
def why(invocation: str | None, function: str | None, path: Path, state: Path | None, *, as_json: bool) -> int:
    """Explain one invocation: what it waited for, and the decision behind each part of its time.

    ID is an invocation's id, or its end, as each line of the log shows it. The default is the slowest. If no server
    runs, the invocation is one that the last one has kept ([log] keep).

    \b
    Examples:
      forklight why
      forklight why 0000001a
      forklight why --function greet
    """
    wanted, place = {"id": invocation, "function": function}, state_of(path, state)
    with asked():
        try:
            answer = get(place, "/why", [(key, value) for key, value in wanted.items() if value])
        except NotRunning:
            if not has_kept(place):
                raise
            say(f"no server runs on {place}: this is what the last one has kept", err=True)
            answer = msgspec.json.encode(_kept(place, function, invocation))
    if as_json:
        say_json(answer)
        return 0
    for explanation in msgspec.json.decode(answer, type=list[Explanation]):
        say("\n".join(plain_lines(line, "    ") for line in tell(explanation)))
    return 0


def _kept(state: Path, function: str | None, wanted: str | None) -> list[Explanation]:
    """Explain from the files what a server explains from its memory, as far as they tell."""
    selection = Selection(function=function, invocation=wanted or "")
    try:
        found = list(of_ended_servers(read_kept(state, selection)))
        chosen = choose(of_latest_server(found), wanted)
    except OSError as error:
        raise click.ClickException(f"the kept log cannot be read: {error}") from None
    except (LookupError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    entries = [entry for entry in found if entry.invocation == chosen]
    lines = sum(not entry.outcome for entry in entries)
    return [Explanation(entry=entry, lines=lines) for entry in invocations(entries)]
