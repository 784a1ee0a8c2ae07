"""What `ps`, `top`, `timers` and the metrics show: the server, its functions, queues and timers. Types alone."""

from datetime import datetime

from msgspec import Struct

from dispatcher.machine_state import MachineState


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


class Unserved(Struct, frozen=True, kw_only=True):
    """A release that should serve and cannot be loaded, or does not go together with what serves."""

    application: str
    version: int
    problem: str


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
    """a version beside the one that serves has a status of its own, as `ship@8`"""
    version: str
    release: int = 0
    """the number of its release, 0 if it was not deployed; then `starts`, `outcomes`, `failures` and the sums of times
    are those since this release serves"""
    share: float = 1.0
    """of the function's events that ask for no version, which part it gets"""
    isolation: str = "limits"
    """the level in force"""
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
    rehearsed: tuple[str, ...] = ()
    """modules that the template has imported ahead, because the first call of a fork did"""
    left_out: dict[str, str] = {}
    """modules that it does not import ahead, and why"""
    rehearsal: str = ""
    """why it imports nothing ahead any more; empty if it may"""
    instances: Instances
    slots: int = 1
    """how many calls one instance runs at once"""
    calls: dict[str, int] = {}
    """how many run now in each busy instance, by its id"""
    retired: dict[str, int] = {}
    """how many instances were replaced, by the limit that they had reached: `memory` or `invocations`"""
    starts: dict[str, int]
    spares: int = 0
    """how many of the `warm` starts met a spare"""
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


class StartUsage(Struct, frozen=True, gc=False):
    """The events of one start kind. Waits: until the handler began, for `warm` and `spare` until they were sent."""

    events: int
    share: float
    """of all events that reached an instance"""
    p50_ms: float
    p99_ms: float


class FunctionUsage(Struct, frozen=True, kw_only=True):
    """One function, or several together, since the start of the server. Memory is private, as in `FunctionStatus`."""

    name: str
    served_s: float = 0.0
    """for how long the configuration has had it"""
    most_used: int = 0
    """the most instances at one time that had run an event"""
    held_mib_s: float
    """the memory of its processes, added up over time"""
    always_on_mib_s: float
    cpu_s: float
    """processor time of all its processes"""
    calls_cpu_s: float = 0.0
    """that of the calls alone"""
    events: int = 0
    """those that reached an instance"""
    starts: dict[str, StartUsage] = {}
    """by start kind; `spare` apart from `warm`"""


class Usage(Struct, frozen=True, kw_only=True):
    """All functions, the runtimes that they share, and the sum."""

    functions: tuple[FunctionUsage, ...]
    """those that are served"""
    removed: FunctionUsage | None = None
    """all that a reload has removed, together"""
    runtimes: FunctionUsage
    """the zygotes"""
    total: FunctionUsage
    used: int = 0
    """how many functions had events, the removed ones included"""
    server_cpu_s: float = 0.0
    """of the server's own process, which is in no sum"""
    server_mib: float = 0.0


class Isolation(Struct, frozen=True):
    """What the machine has to contain functions: the best level that they can have, and its mechanisms.

    `missing` maps each mechanism that is not in force to the reason, `remedies` some of them to how to get it.
    """

    level: str
    in_force: tuple[str, ...]
    missing: dict[str, str]
    remedies: dict[str, str] = {}


class Status(Struct, frozen=True, kw_only=True):
    """The server and its functions."""

    pid: int
    uptime_s: float
    draining: bool
    isolation: Isolation
    zygotes_kb: int
    machine: MachineState = MachineState()
    functions: tuple[FunctionStatus, ...]
    reload: Reloaded | None = None
    unread: Unread | None = None
    """None unless it was asked for"""
    unserved: tuple[Unserved, ...] = ()
    """releases of deployed applications that should serve and do not"""
    queues: tuple[QueueStatus, ...] = ()
    timers: tuple[TimerStatus, ...] = ()
    usage: Usage | None = None
    """None unless it was asked for"""
