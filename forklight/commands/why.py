"""`forklight why`: explains where the time of one invocation went."""

from pathlib import Path

import click
import msgspec

from forklight.admin.client import get
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.commands.explaining import tell
from forklight.observe.explanation import Explanation
from forklight.observe.terminal import plain_lines, say, say_json


@click.command(short_help="Explain where the time of one invocation went.")
@click.argument("invocation", required=False, metavar="[ID]")
@click.option("--function", metavar="NAME", help="Without an ID: the slowest one of this function.")
@config_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print the record of the invocation as JSON.")
def why(invocation: str | None, function: str | None, path: Path, state: Path | None, *, as_json: bool) -> int:
    """Explain one invocation of a running server: what it waited for, and the decision behind each part of its time.

    ID is an invocation's id, or its end, as each line of the log shows it. The default is the slowest.

    \b
    Examples:
      forklight why
      forklight why 0000001a
      forklight why --function greet
    """
    wanted = {"id": invocation, "function": function}
    with asked():
        answer = get(state_of(path, state), "/why", [(key, value) for key, value in wanted.items() if value])
    if as_json:
        say_json(answer)
        return 0
    for explanation in msgspec.json.decode(answer, type=list[Explanation]):
        say("\n".join(plain_lines(line, "    ") for line in tell(explanation)))
    return 0
