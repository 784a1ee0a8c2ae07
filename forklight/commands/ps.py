"""`forklight ps`: shows what a running server does, over its control socket."""

from pathlib import Path

import click
import msgspec

from forklight.admin.client import get
from forklight.commands.asking import asked, state_of, state_option
from forklight.commands.rows import (
    FUNCTION_HEADINGS,
    QUEUE_HEADINGS,
    TIMER_HEADINGS,
    function_row,
    notes,
    queue_rows,
    summary,
    timer_row,
)
from forklight.commands.tables import Row, print_table
from forklight.observe.status import Status
from forklight.observe.terminal import plain_lines, say, say_json

_place = click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")


@click.command(short_help="Show the functions, queues and timers of a running server.")
@_place
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print everything the server reports, as JSON.")
def ps(path: Path, state: Path | None, as_json: bool) -> int:
    """Show a running server: its functions (instances, starts so far, failures with reason, memory), queues, timers.

    Figures that a broker cannot report are shown as unknown. Forklight's own queues are left out while they are empty.

    \b
    Examples:
      forklight ps
      forklight ps app/ --json | jq '.functions[].starts'
    """
    with asked():
        answer = get(state_of(path, state), "/status", [("unread", "1")])
    if as_json:
        say_json(answer)
        return 0
    status = msgspec.json.decode(answer, type=Status)
    print_table(FUNCTION_HEADINGS, [function_row(function) for function in status.functions])
    _print_more(QUEUE_HEADINGS, queue_rows(status.queues))
    _print_more(TIMER_HEADINGS, [timer_row(timer) for timer in status.timers])
    if status.queues or status.timers:
        say()
    for note in notes(status):
        say(plain_lines(note, "  "))
    say(summary(status))
    return 0


def _print_more(headings: Row, rows: list[Row]) -> None:
    if rows:
        say()
        print_table(headings, rows)
