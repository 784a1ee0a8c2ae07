"""`forklight timers`: shows when the timers of a running server last fired, how that ended, and when they fire next."""

from pathlib import Path

import click
import msgspec

from forklight.admin.client import get
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.commands.rows import told_outcome
from forklight.commands.tables import print_table
from forklight.observe.status import TimerStatus
from forklight.observe.terminal import say, say_json

HEADINGS = ("FUNCTION", "TIMER", "SCHEDULE", "ZONE", "LAST", "OUTCOME", "NEXT")


@click.command()
@click.option("--next", "count", type=click.IntRange(1, 1000), default=1, metavar="N", help="How many next times.")
@config_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print them as a JSON array.")
def timers(count: int, path: Path, state: Path | None, as_json: bool) -> int:
    """Show the timers of a running server. Times are in each timer's zone.

    \b
    Examples:
      forklight timers
      forklight timers --next 5
      forklight timers --json | jq '.[] | select(.outcome != "ok")'
    """
    with asked():
        answer = get(state_of(path, state), "/timers", [("next", str(count))])
    if as_json:
        say_json(answer)
        return 0
    found = msgspec.json.decode(answer, type=list[TimerStatus])
    print_table(HEADINGS, [line for timer in found for line in _lines(timer)])
    if not found:
        say("no function here has a timer", err=True)
    return 0


def _lines(timer: TimerStatus) -> list[tuple[str, ...]]:
    """Return a line for a timer, and one more for each further time."""
    first, *further = timer.next or ("never",)
    head = (timer.function, timer.name, timer.schedule, timer.timezone, timer.last or "-", told_outcome(timer), first)
    return [head, *(("",) * (len(HEADINGS) - 1) + (at,) for at in further)]
