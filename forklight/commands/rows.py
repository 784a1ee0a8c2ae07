"""Rows of the tables that `ps` and `top` print: functions, queues and timers of a running server. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from dispatcher.machine_state import MachineState
from forklight.commands.tables import Cell, Row, count
from forklight.observe.status import FunctionStatus, QueueStatus, Status, TimerStatus

_MOST_NAMES = 5
MIB = 1024 * 1024

FUNCTION_HEADINGS = ("FUNCTION", "VERSION", "TEMPLATE", "IDLE", "BUSY", "WAIT", "STARTS", "OK", "FAILED", "MEMORY")
QUEUE_HEADINGS = ("QUEUE", "FUNCTION", "READY", "RUNNING", "DELAYED", "DEAD", "OLDEST")
TIMER_HEADINGS = ("TIMER", "FUNCTION", "LAST", "OUTCOME", "NEXT")


def function_row(function: FunctionStatus) -> Row:
    """Return the row for FUNCTION_HEADINGS."""
    pool, outcomes = function.instances, function.outcomes
    return (
        function.name,
        version(function),
        template(function),
        idle(function),
        busy(function),
        count(pool.waiting, "yellow"),
        starts(function),
        str(outcomes.get("ok", 0)),
        count(failures(function), "red"),
        memory(function),
    )


def version(function: FunctionStatus) -> Cell:
    """Return the hash of the version; of a deployed function also the number, and the share of events if not all."""
    share = f"{function.share * 100:.3g}%" if function.share != 1 else ""
    told = " ".join(filter(None, [str(function.release or ""), share, function.version]))
    return Cell(f"{told} stale", "yellow") if function.stale else Cell(told, "dim")


def starts(function: FunctionStatus) -> str:
    """Return how many events reached an instance by each start kind; those that met a spare are counted apart."""
    counts = {**function.starts, "spare": function.spares}
    counts["warm"] = counts.get("warm", 0) - function.spares
    return " ".join(f"{kind}:{number}" for kind, number in sorted(counts.items()) if number) or "-"


def idle(function: FunctionStatus) -> Cell:
    """Return how many instances are idle, and how many spare ones are ready beside them: `2+1`."""
    pool = function.instances
    return Cell(f"{pool.idle}+{pool.spare}") if pool.spare else count(pool.idle)


def busy(function: FunctionStatus) -> Cell:
    """Return how many instances are busy or start; with several slots each, how many are taken too: `1 120/500`."""
    pool = function.instances
    cell = count(pool.busy + pool.starting, "green")
    if function.slots == 1 or not pool.busy:
        return cell
    return Cell(f"{pool.busy + pool.starting} {pool.calls}/{pool.busy * function.slots}", "green")


def template(function: FunctionStatus) -> Cell:
    """Return `ready`, `none` or `failed`."""
    tones = {"ready": "", "none": "dim"}
    known = function.template in tones
    return Cell(function.template, tones[function.template]) if known else Cell("failed", "red")


def failures(function: FunctionStatus) -> int:
    """Return how many of its events failed."""
    return sum(count for outcome, count in function.outcomes.items() if outcome != "ok")


def memory(function: FunctionStatus) -> str:
    """Return the private memory of all its processes."""
    return f"{function.memory_kb / 1024:.1f} MiB"


def queue_rows(queues: tuple[QueueStatus, ...]) -> list[Row]:
    """Return the rows for QUEUE_HEADINGS.

    Inboxes are left out unless they hold something, or their dead letters are counted in no other row.
    """
    named = [queue for queue in queues if not queue.queue.startswith("forklight.")]
    counted = {queue.dead_letter for queue in named}

    def has_row(queue: QueueStatus) -> bool:
        has_dead = bool(queue.dead) and queue.dead_letter not in counted
        return has_dead or any((queue.ready, queue.running, queue.delayed, queue.problem))

    return [_queue_row(queue) for queue in queues if queue in named or has_row(queue)]


def _queue_row(queue: QueueStatus) -> Row:
    oldest = "unknown" if queue.ready is None else "-"
    if queue.oldest_age_s is not None:
        oldest = duration(queue.oldest_age_s)
    elif queue.ready:
        oldest = "unknown"
    dead = queue.dead if queue.dead_letter else 0
    counts = ((queue.ready, ""), (queue.running, "green"), (queue.delayed, "yellow"), (dead, "red"))
    cells = (Cell("unknown", "yellow") if number is None else count(number, tone) for number, tone in counts)
    return (queue.queue, queue.function or "-", *cells, oldest)


def timer_row(timer: TimerStatus) -> Row:
    """Return the row for TIMER_HEADINGS."""
    return timer.name, timer.function, timer.last or "-", told_outcome(timer), (*timer.next, "never")[0]


def told_outcome(timer: TimerStatus) -> Cell:
    """Return how the latest run ended, or `running`."""
    if timer.running:
        return Cell("running", "green")
    has_failed = timer.failures > 0 or timer.outcome not in ("", "ok")
    return Cell(timer.outcome or "-", "red" if has_failed else "")


def notes(status: Status) -> list[str]:
    """Return what does not fit in a column, a line each."""
    told = [f"{function.name}: {note}" for function in status.functions for note in _function_notes(function)]
    if status.machine.waiting:
        told.append(f"waiting for room on the machine: {waiting_for_room(status.machine)}")
    told += [f"{queue.queue}: {queue.problem}" for queue in status.queues if queue.problem]
    told += [note for timer in status.timers for note in _timer_notes(timer)]
    return told + list(_server_notes(status))


def _timer_notes(timer: TimerStatus) -> list[str]:
    """Return how often and why its latest runs failed, and how many times were skipped."""
    told, name = [], f"timer {timer.name} of {timer.function}"
    if timer.failures:
        runs = "the latest run" if timer.failures == 1 else f"the latest {timer.failures} runs"
        success = f"; the last success was at {timer.succeeded}" if timer.succeeded else "; none has succeeded yet"
        told.append(f"{name}: {runs} failed, at {timer.failed}: {timer.error}{success}")
    if timer.skipped:
        told.append(f"{name}: {timer.skipped} scheduled times were skipped since the start of the server")
    return told


def _server_notes(status: Status) -> Iterator[str]:
    """Yield why what is served is not what is on disk."""
    reload, unread = status.reload, status.unread
    if reload is not None and not reload.ok:
        yield f"the reload at {reload.at:%Y-%m-%d %H:%M:%S} UTC failed, and nothing has changed: {reload.problem}"
    for one in status.unserved:
        yield f"version {one.version} of {one.application} does not serve: {one.problem}"
    if unread is None:
        return
    changed = [*unread.settings, *unread.code]
    if changed:
        yield f"changed on disk, and not yet served: {listed(changed)}; run: forklight reload"
    if unread.problem:
        yield f"the files on disk cannot be compared with what is served: {unread.problem}"


def _function_notes(function: FunctionStatus) -> list[str]:
    """Return why it cannot load or start, what its import left behind, what was replaced, and its last failure."""
    told = []
    if function.template not in ("ready", "none"):
        told.append(function.template)
    elif function.problem:
        told.append(f"no instance could be started: {function.problem}")
    if function.loaded_each:
        told.append(f"instances are loaded one by one, not forked: the import left {function.loaded_each}")
    if function.shared:
        told.append(f"all instances share what the import left: {', '.join(function.shared)}")
    told += rehearsal_notes(function.rehearsed, function.left_out, function.rehearsal)
    if function.retired:
        limits = {"memory": "for their memory (retire_memory)", "invocations": "after their max_invocations"}
        replaced = " and ".join(f"{count} {limits[limit]}" for limit, count in function.retired.items())
        told.append(f"instances replaced: {replaced}")
    if function.last_failure:
        told.append(f"last failure: {function.last_failure}")
    return told


def rehearsal_notes(rehearsed: Sequence[str], left_out: Mapping[str, str], given_up: str) -> list[str]:
    """Return what the template imports ahead of the calls that would import it, and what it does not."""
    told = [f"imported ahead of calls: {listed(rehearsed)}"] if rehearsed else []
    if given_up:
        told.append(f"nothing is imported ahead of calls: {given_up}")
    if left_out:
        told.append(f"not imported ahead of calls: {listed([f'{name} ({why})' for name, why in left_out.items()])}")
    return told


def listed(names: Sequence[str]) -> str:
    """Return the first few of the names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"


def summary(status: Status) -> str:
    """Return one line about the server itself."""
    draining = ", draining" if status.draining else ""
    levels = told_levels({one.name: one.isolation for one in status.functions}) or status.isolation.level
    return f"pid {status.pid}, up {duration(status.uptime_s)}, isolation: {levels}{draining}"


def told_levels(levels: Mapping[str, str]) -> str:
    """Return the isolation levels of functions by name: the one of all, or each with the names of its functions."""
    by_level: dict[str, list[str]] = defaultdict(list)
    for name, level in levels.items():
        by_level[level].append(name)
    if len(by_level) == 1:
        return next(iter(by_level))
    return ", ".join(f"{level} ({listed(names)})" for level, names in sorted(by_level.items()))


def machine(status: Status) -> str:
    """Return one line about what all processes hold, and what they may hold."""
    now = status.machine
    memory = f"{now.memory_bytes / MIB:.1f} MiB"
    if now.memory_limit_bytes is not None:
        memory += f" of {now.memory_limit_bytes / MIB:,.0f} MiB"
    instances = f"{now.instances} instance{'s' * (now.instances != 1)}"
    if now.max_instances is not None:
        instances = f"{now.instances} of {now.max_instances} instances"
    evicted = f", {sum(now.evictions.values())} ended for others" if any(now.evictions.values()) else ""
    pressure = f", memory pressure {now.pressure:g}%" if now.pressure else ""
    return f"machine: {memory}, {instances}{evicted}{pressure}"


def waiting_for_room(now: MachineState) -> str:
    """Return the names of the functions that wait, and for what."""
    more = f" and {len(now.waiting) - _MOST_NAMES} more" if len(now.waiting) > _MOST_NAMES else ""
    what = f" ({now.lack} of [machine])" if now.lack else " (other starts are under way)"
    return ", ".join(now.waiting[:_MOST_NAMES]) + more + what


def duration(seconds: float) -> str:
    """Return a text such as `1h02m` or `3m04s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
