"""Functions, queues and timers of a running server as rows of tables, for `ps` and `top`. Pure."""

from forklight.commands.tables import Cell, Row, count
from forklight.observe.status import FunctionStatus, QueueStatus, Status, TimerStatus

FUNCTION_HEADINGS = ("FUNCTION", "VERSION", "TEMPLATE", "IDLE", "BUSY", "WAIT", "STARTS", "OK", "FAILED", "MEMORY")
QUEUE_HEADINGS = ("QUEUE", "FUNCTION", "READY", "RUNNING", "DELAYED", "DEAD", "OLDEST")
TIMER_HEADINGS = ("TIMER", "FUNCTION", "LAST", "OUTCOME", "NEXT")


def function_row(function: FunctionStatus) -> Row:
    """Under FUNCTION_HEADINGS."""
    pool, outcomes = function.instances, function.outcomes
    starts = " ".join(f"{kind}:{count}" for kind, count in sorted(function.starts.items())) or "-"
    return (
        function.name,
        Cell(function.version, "dim"),
        template(function),
        count(pool.idle),
        count(pool.busy + pool.starting, "green"),
        count(pool.waiting, "yellow"),
        starts,
        str(outcomes.get("ok", 0)),
        count(failures(function), "red"),
        memory(function),
    )


def template(function: FunctionStatus) -> Cell:
    """`ready`, `none` or `failed`."""
    tones = {"ready": "", "none": "dim"}
    known = function.template in tones
    return Cell(function.template, tones[function.template]) if known else Cell("failed", "red")


def failures(function: FunctionStatus) -> int:
    """How many of its events had no good outcome."""
    return sum(count for outcome, count in function.outcomes.items() if outcome != "ok")


def memory(function: FunctionStatus) -> str:
    """Private memory of all its processes."""
    return f"{function.memory_kb / 1024:.1f} MiB"


def queue_rows(queues: tuple[QueueStatus, ...]) -> list[Row]:
    """Under QUEUE_HEADINGS; inboxes only if something lies in them, or if their dead letters are told nowhere else."""
    named = [queue for queue in queues if not queue.queue.startswith("forklight.")]
    told = {queue.dead_letter for queue in named}

    def is_told(queue: QueueStatus) -> bool:
        has_dead = bool(queue.dead) and queue.dead_letter not in told
        return has_dead or any((queue.ready, queue.running, queue.delayed, queue.problem))

    return [_queue_row(queue) for queue in queues if queue in named or is_told(queue)]


def _queue_row(queue: QueueStatus) -> Row:
    oldest = "unknown" if queue.ready is None else "-"
    if queue.oldest_age_s is not None:
        oldest = duration(queue.oldest_age_s)
    elif queue.ready:
        oldest = "unknown"
    dead = queue.dead if queue.dead_letter else 0
    counts = ((queue.ready, ""), (queue.running, "green"), (queue.delayed, "yellow"), (dead, "red"))
    told = (Cell("unknown", "yellow") if number is None else count(number, tone) for number, tone in counts)
    return (queue.queue, queue.function or "-", *told, oldest)


def timer_row(timer: TimerStatus) -> Row:
    """Under TIMER_HEADINGS."""
    return timer.name, timer.function, timer.last or "-", told_outcome(timer), (*timer.next, "never")[0]


def told_outcome(timer: TimerStatus) -> Cell:
    """What the latest run came to, or that it goes."""
    if timer.running:
        return Cell("running", "green")
    return Cell(timer.outcome or "-", "" if timer.outcome in ("", "ok") else "red")


def notes(status: Status) -> list[str]:
    """What does not fit in a column."""
    told = [f"{function.name}: {note}" for function in status.functions for note in _function_notes(function)]
    return told + [f"{queue.queue}: {queue.problem}" for queue in status.queues if queue.problem]


def _function_notes(function: FunctionStatus) -> list[str]:
    """Why it cannot load or start, who keeps threads, the last failure."""
    told = []
    if function.template not in ("ready", "none"):
        told.append(function.template)
    elif function.problem:
        told.append(f"no instance could be started: {function.problem}")
    if function.loaded_each:
        told.append(f"instances are loaded one by one, not forked: the import left {function.loaded_each}")
    if function.shared:
        told.append(f"all instances share what the import left: {', '.join(function.shared)}")
    if function.last_failure:
        told.append(f"last failure: {function.last_failure}")
    return told


def summary(status: Status) -> str:
    """The server itself, in one line."""
    draining = ", draining" if status.draining else ""
    return f"pid {status.pid}, up {duration(status.uptime_s)}, isolation: {status.isolation.level}{draining}"


def duration(seconds: float) -> str:
    """`1h02m`, `3m04s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
