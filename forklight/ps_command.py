"""`forklight ps`: what a running server does, over its control socket."""

from pathlib import Path

import click
import msgspec

from forklight.asking import asked, print_table, state_of, state_option
from forklight.client import get
from forklight.status import FunctionStatus, QueueStatus, Status, TimerStatus
from forklight.timers_command import told_outcome

_HEADINGS = ("FUNCTION", "VERSION", "TEMPLATE", "IDLE", "BUSY", "WAIT", "STARTS", "OK", "FAILED", "MEMORY")
_QUEUE_HEADINGS = ("QUEUE", "FUNCTION", "READY", "RUNNING", "DELAYED", "DEAD", "OLDEST")
_TIMER_HEADINGS = ("TIMER", "FUNCTION", "LAST", "OUTCOME", "NEXT")

_place = click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")


@click.command()
@_place
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print everything the server tells, as JSON.")
def ps(path: Path, state: Path | None, as_json: bool) -> int:
    """Show a running server: its functions (instances, starts so far, failures with reason, memory), queues, timers.

    What a broker cannot tell is unknown. Queues of ours, named forklight., are left out while they are empty.

    \b
    Examples:
      forklight ps
      forklight ps app/ --json | jq '.functions[].starts'
    """
    with asked():
        answer = get(state_of(path, state), "/status")
    if as_json:
        click.echo(answer)
        return 0
    status = msgspec.json.decode(answer, type=Status)
    print_table(_HEADINGS, [_row(function) for function in status.functions])
    _print_more(_QUEUE_HEADINGS, [_queue_row(queue) for queue in _worth_a_row(status.queues)])
    _print_more(_TIMER_HEADINGS, [_timer_row(timer) for timer in status.timers])
    if status.queues or status.timers:
        click.echo()
    for note in _notes(status):
        click.echo(note)
    draining = ", draining" if status.draining else ""
    click.echo(f"pid {status.pid}, up {_duration(status.uptime_s)}, isolation: {status.isolation.level}{draining}")
    return 0


def _print_more(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if rows:
        click.echo()
        print_table(headings, rows)


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


def _worth_a_row(queues: tuple[QueueStatus, ...]) -> list[QueueStatus]:
    """Inboxes only if something lies in them, or if their dead letters are told nowhere else."""
    named = [queue for queue in queues if not queue.queue.startswith("forklight.")]
    told = {queue.dead_letter for queue in named}

    def is_told(queue: QueueStatus) -> bool:
        has_dead = bool(queue.dead) and queue.dead_letter not in told
        return has_dead or any((queue.ready, queue.running, queue.delayed, queue.problem))

    return [queue for queue in queues if queue in named or is_told(queue)]


def _queue_row(queue: QueueStatus) -> tuple[str, ...]:
    counts = (queue.ready, queue.running, queue.delayed, queue.dead)
    oldest = "unknown" if queue.ready is None else "-"
    if queue.oldest_age_s is not None:
        oldest = _duration(queue.oldest_age_s)
    elif queue.ready:
        oldest = "unknown"
    told = ("unknown" if count is None else str(count) for count in counts)
    return (queue.queue, queue.function, *told, oldest)


def _timer_row(timer: TimerStatus) -> tuple[str, ...]:
    return timer.name, timer.function, timer.last or "-", told_outcome(timer), (*timer.next, "never")[0]


def _notes(status: Status) -> list[str]:
    """What does not fit in a column."""
    notes = [f"{function.name}: {note}" for function in status.functions for note in _function_notes(function)]
    return notes + [f"{queue.queue}: {queue.problem}" for queue in status.queues if queue.problem]


def _function_notes(function: FunctionStatus) -> list[str]:
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
