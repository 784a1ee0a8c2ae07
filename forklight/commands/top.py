"""`forklight top`: shows a running server at work, every second."""

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from forklight.admin.client import get
from forklight.commands import rates as looks
from forklight.commands.asking import asked, state_of, state_option
from forklight.commands.rows import QUEUE_HEADINGS, TIMER_HEADINGS, notes, queue_rows, summary, timer_row
from forklight.config.units import parse_duration
from forklight.observe.status import Status

if TYPE_CHECKING:
    from forklight.commands.screen import Screen


@click.command(short_help="Watch a running server at work.")
@click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")
@state_option
@click.option("--interval", default="1s", show_default=True, metavar="DURATION", help="How often to update.")
@click.option("-n", "--count", type=click.IntRange(1), metavar="N", help="End after so many updates.")
def top(path: Path, state: Path | None, interval: str, count: int | None) -> int:
    """Show what a running server does, function by function, until Ctrl-C: rates, waits, cold starts, processors.

    QUEUE is the mean time to an instance, RUN that of the handler, WAIT how many wait; CPU 100% is one processor.

    \b
    Examples:
      forklight top
      forklight top --interval 5s -n 1
    """
    from forklight.commands.screen import Screen

    try:
        interval_s = parse_duration(interval)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--interval") from None
    folder, screen = state_of(path, state), Screen()
    with asked():
        before = _look(folder)
        try:
            with screen.opened():
                for _ in itertools.repeat(None) if count is None else range(count):
                    time.sleep(interval_s)
                    now = _look(folder)
                    _draw(screen, before, now)
                    before = now
        except KeyboardInterrupt:
            return 0
    return 0


def _look(state: Path) -> Status:
    return msgspec.json.decode(get(state, "/status"), type=Status)


def _draw(screen: "Screen", before: Status, now: Status) -> None:
    screen.show(
        f"{summary(now)}, {looks.total_per_s(before, now):,.1f} calls/s",
        [
            (looks.HEADINGS, looks.rows(before, now)),
            (QUEUE_HEADINGS, queue_rows(now.queues)),
            (TIMER_HEADINGS, [timer_row(timer) for timer in now.timers]),
        ],
        notes(now),
    )
