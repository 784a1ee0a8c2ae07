"""What the server is doing now, function by function: what `ps`, `/functions` and the metrics tell."""

import time

from msgspec import Struct

from dispatcher.dispatcher import Dispatcher
from dispatcher.pool import Statistics
from sandbox import memory
from sandbox.errors import LoadFailed
from sandbox.isolation import Isolation
from sandbox.template import Template
from sandbox.tree import Tree

LEAST_KB = 1024
"""What a process costs at least: page tables and the like, which no RSS shows."""


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
    instances: Statistics
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


def function_statuses(
    dispatcher: Dispatcher, tree: Tree, triggers: dict[str, tuple[str, ...]]
) -> tuple[FunctionStatus, ...]:
    """All functions, by name. Reads /proc once per live process."""
    return tuple(_status(name, dispatcher, tree, triggers.get(name, ())) for name in sorted(dispatcher.runners()))


def _status(name: str, dispatcher: Dispatcher, tree: Tree, triggers: tuple[str, ...]) -> FunctionStatus:
    runner, record = dispatcher.runners()[name], dispatcher.records[name]
    spec = runner.function.spec
    template = tree.template_of(spec)
    live = template if isinstance(template, Template) else None
    loaded_each, shared = tree.leftovers_of(spec)
    return FunctionStatus(
        name=name,
        version=spec.version,
        triggers=triggers,
        template=_told(template),
        problem=tree.problem_of(spec),
        loaded_each=loaded_each,
        shared=shared,
        instances=runner.statistics(),
        starts=dict(record.starts),
        outcomes=dict(record.outcomes),
        failures=dict(record.failures),
        last_failure=record.last_failure,
        memory_kb=_memory_kb(live, [instance.pid for instance in runner.instances()]),
        cpu_s=record.cpu_ns / 1e9,
        ran_s=record.ran.sum_ns / 1e9,
        waited_s=record.waited.sum_ns / 1e9,
    )


def _told(template: Template | LoadFailed | None) -> str:
    if isinstance(template, LoadFailed):
        wait_s = max(0.0, ((template.retry_at_ns or 0) - time.monotonic_ns()) / 1e9)
        again = f"; again in {wait_s:.0f} s" if wait_s else ""
        return f"{template.code}: {template.message}{again}"
    return "none" if template is None else "ready"


def _memory_kb(template: Template | None, pids: list[int]) -> int:
    shared_kb = template.loaded.rss_kb if template is not None else 0
    own_kb = max(LEAST_KB, shared_kb - template.zygote.rss_kb) if template is not None else 0
    return own_kb + sum(max(LEAST_KB, memory.used_kb(pid, shared_kb)) for pid in pids)
