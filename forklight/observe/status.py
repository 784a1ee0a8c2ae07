"""What `ps`, `top`, `timers` and the metrics show: the server, its functions, queues and timers. Types alone."""

from datetime import datetime

from msgspec import Struct

from sandbox.isolation import Isolation


class Instances(Struct, frozen=True, gc=False):
    """How many instances of a function are in which state, and how many events wait for one."""

    starting: int
    idle: int
    busy: int
    leaving: int
    waiting: int
    calls: int = 0
    """those that the busy ones run"""
    spare: int = 0
    """ready, started ahead, and not used yet; not counted as idle"""


class Reloaded(Struct, frozen=True, kw_only=True):
    """The latest reload, as far as there was one; the start counts as one."""

    ok: bool = True
    at: datetime
    succeeded_at: datetime
    """when one last succeeded"""
    problem: str = ""
    """why the latest failed, in one line"""


class Unread(Struct, frozen=True, kw_only=True):
    """What has changed on disk since it was read, by the start or the latest reload that succeeded."""

    code: tuple[str, ...] = ()
    """names of files of the code"""
    settings: tuple[str, ...] = ()
    """paths of the configuration, and of files of variables and secrets"""
    problem: str = ""
    """why there was no comparison, or only a part of it"""


class FunctionStatus(Struct, frozen=True, kw_only=True):
    """One function. Memory is private: a template's beyond its zygote's, an instance's beyond its template's."""

    name: str
    version: str
    stale: bool = False
    """whether a reload would renew it, because its code has changed on disk"""
    triggers: tuple[str, ...]
    template: str
    """`ready`, `none`, or why it cannot load"""
    problem: str = ""
    """why the latest start failed; empty if it succeeded"""
    loaded_each: str
    """what the import left behind that prevents forking, so that each instance loads the code itself"""
    shared: tuple[str, ...]
    """what the import left behind that all instances share"""
    instances: Instances
    slots: int = 1
    """how many calls one instance runs at once"""
    calls: dict[str, int] = {}
    """how many run now in each busy instance, by its id"""
    starts: dict[str, int]
    outcomes: dict[str, int]
    failures: dict[str, int]
    last_failure: str
    memory_kb: int
    cpu_s: float
    """processor time of all calls so far"""
    ran_s: float
    """run time of all calls so far"""
    waited_s: float
    """time that all calls so far waited for an instance"""


class QueueStatus(Struct, frozen=True, kw_only=True):
    """A queue as one function consumes it. A number is None if its store does not report it; `problem` says why."""

    queue: str
    """with the name of its broker unless that is the bus's own: `orders@shop`"""
    function: str
    dead_letter: str
    """the queue of its dead letters, in the same form; other triggers may share it"""
    ready: int | None = None
    running: int | None = None
    delayed: int | None = None
    dead: int | None = None
    """all messages in `dead_letter`, on the first of the triggers that share it, and 0 on the others"""
    oldest_age_s: float | None = None
    problem: str = ""


class TimerStatus(Struct, frozen=True, kw_only=True):
    """One timer. Times are RFC 3339, in the timer's zone."""

    function: str
    name: str
    schedule: str
    timezone: str
    last: str | None = None
    """the scheduled time of its last run"""
    outcome: str = ""
    """its outcome: `ok`, or kind/code of the failure; empty if it has not run yet, or is running"""
    ended: str | None = None
    """when the latest run ended"""
    succeeded: str | None = None
    """when the latest run ended that succeeded"""
    failed: str | None = None
    """when the latest run ended that failed"""
    failures: int = 0
    """how many runs have failed since the last that succeeded, also before a restart"""
    error: str = ""
    """why the latest one failed"""
    skipped: int = 0
    """missed or overlapping scheduled times since the start of the server, without a run of their own"""
    running: bool = False
    next: tuple[str, ...] = ()
    """the next scheduled times; empty if it never fires again"""


class Status(Struct, frozen=True, kw_only=True):
    """The server and its functions."""

    pid: int
    uptime_s: float
    draining: bool
    isolation: Isolation
    zygotes_kb: int
    functions: tuple[FunctionStatus, ...]
    reload: Reloaded | None = None
    unread: Unread | None = None
    """None unless it was asked for"""
    queues: tuple[QueueStatus, ...] = ()
    timers: tuple[TimerStatus, ...] = ()
