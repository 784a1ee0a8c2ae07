"""What `ps`, `top`, `timers` and the metrics show: the server, its functions, queues and timers. Types alone."""

from msgspec import Struct

from sandbox.isolation import Isolation


class Instances(Struct, frozen=True, gc=False):
    """How many instances of a function are in which state, and how many events wait for one."""

    starting: int
    idle: int
    busy: int
    leaving: int
    waiting: int


class FunctionStatus(Struct, frozen=True, kw_only=True):
    """One function. Memory is private: a template's beyond its zygote's, an instance's beyond its template's."""

    name: str
    version: str
    triggers: tuple[str, ...]
    template: str
    """`ready`, `none`, or why it cannot load"""
    problem: str = ""
    """why its latest start failed; empty if it went well"""
    loaded_each: str
    """what the import left behind, if instances are loaded one by one instead of forked because of it"""
    shared: tuple[str, ...]
    """what the import left behind that all instances share"""
    instances: Instances
    starts: dict[str, int]
    outcomes: dict[str, int]
    failures: dict[str, int]
    last_failure: str
    memory_kb: int
    cpu_s: float
    """processor time of its calls so far"""
    ran_s: float
    """run time of its calls so far"""
    waited_s: float
    """what they waited for an instance"""


class QueueStatus(Struct, frozen=True, kw_only=True):
    """A queue as one function consumes it. None is what its store cannot tell; `problem` says why it did not."""

    queue: str
    """with its broker's name if it is not the bus's own: `orders@shop`"""
    function: str
    dead_letter: str
    """the queue of its dead letters, written likewise; other triggers may share it"""
    ready: int | None = None
    running: int | None = None
    delayed: int | None = None
    dead: int | None = None
    """all that lie in `dead_letter`, told with the first of the triggers that share it, and 0 with the others"""
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
    """how that ended: `ok`, or kind/code of the failure; empty if it has not run, or runs"""
    running: bool = False
    next: tuple[str, ...] = ()
    """the scheduled times to come; none if it never fires again"""


class Status(Struct, frozen=True, kw_only=True):
    """The server and its functions."""

    pid: int
    uptime_s: float
    draining: bool
    isolation: Isolation
    zygotes_kb: int
    functions: tuple[FunctionStatus, ...]
    queues: tuple[QueueStatus, ...] = ()
    timers: tuple[TimerStatus, ...] = ()
