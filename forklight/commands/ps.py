"""`forklight ps`: shows what a running server does, over its control socket."""

from pathlib import Path

import click
import msgspec

from forklight.admin.client import get
from forklight.commands import usage_rows
from forklight.commands.asking import asked, state_of, state_option
from forklight.commands.rows import (
    FUNCTION_HEADINGS,
    QUEUE_HEADINGS,
    TIMER_HEADINGS,
    function_row,
    machine,
    notes,
    queue_rows,
    summary,
    timer_row,
)
from forklight.commands.tables import Row, print_table
from forklight.observe.status import Status, Usage
from forklight.observe.terminal import plain_lines, say, say_json

_place = click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")


@click.command(short_help="Show the functions, queues and timers of a running server.")
@_place
@state_option
@click.option("--usage", "with_usage", is_flag=True, help="Show what functions have held and used so far.")
@click.option("--json", "as_json", is_flag=True, help="Print everything the server reports, as JSON.")
def ps(path: Path, state: Path | None, with_usage: bool, as_json: bool) -> int:
    """Show a running server: its functions (instances, starts so far, failures with reason, memory), queues, timers.

    Figures that a broker cannot report are shown as unknown. Forklight's own queues are left out while they are empty.

    With --usage, show what each function has held (memory over time) and used (CPU) since the server started, beside
    what it would have held if as many instances as it ever used at one time had always been kept, and what its events
    waited for.

    \b
    Examples:
      forklight ps
      forklight ps --usage
      forklight ps app/ --json | jq '.functions[].starts'
    """
    with asked():
        asks = [("unread", "1"), *([("usage", "1")] if with_usage else [])]
        answer = get(state_of(path, state), "/status", asks)
    if as_json:
        say_json(answer)
        return 0
    status = msgspec.json.decode(answer, type=Status)
    if status.usage is not None:
        return _print_usage(status, status.usage)
    print_table(FUNCTION_HEADINGS, [function_row(function) for function in status.functions])
    _print_more(QUEUE_HEADINGS, queue_rows(status.queues))
    _print_more(TIMER_HEADINGS, [timer_row(timer) for timer in status.timers])
    if status.queues or status.timers:
        say()
    for note in notes(status):
        say(plain_lines(note, "  "))
    say(machine(status))
    say(summary(status))
    return 0


def _print_usage(status: Status, usage: Usage) -> int:
    print_table(usage_rows.HEADINGS, usage_rows.rows(usage))
    for note in usage_rows.notes(usage):
        say(note)
    say(summary(status))
    return 0


def _print_more(headings: Row, rows: list[Row]) -> None:
    if rows:
        say()
        print_table(headings, rows)
