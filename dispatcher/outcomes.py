"""Outcomes of events that reached no instance: unknown function, throttled, or the function cannot load."""

import time

from bus import Failed
from bus.outcome import Code
from dispatcher.settings import Function, PoolSettings
from sandbox.errors import LoadFailed

RETRY_AFTER_S = 1.0
"""`Retry-After` of throttled events. Capacity returns when running events end, which cannot be predicted."""


def unknown_function(name: str | None) -> Failed:
    return Failed(kind="unknown_function", code="UnknownFunction", message=f"there is no function {name!r}")


def throttled(code: Code, function: Function, waiting: int, problem: str) -> Failed:
    """`QueueFull` or `WaitExpired`: `waiting` events wait. `problem`: why no instance could start, if none could."""
    name, pool = function.spec.name, function.pool
    return queue_full(name, pool, waiting) if code == "QueueFull" else wait_expired(name, pool, problem)


def queue_full(name: str, pool: PoolSettings, waiting: int) -> Failed:
    """`waiting` events wait: `max_waiting` or `max_waiting_memory` is reached."""
    bound = f"max_waiting = {pool.max_waiting}"
    if waiting < pool.max_waiting:
        bound = f"they hold max_waiting_memory, {pool.max_waiting_memory_bytes} bytes"
    them = f"all {pool.max_instances}"
    if pool.slots > 1:
        them = f"all {pool.slots} slots (concurrency) of each of the {pool.max_instances}"
    taken = f"{them} instances of {name!r} (max_instances) are taken"
    message = f"{taken}, and {waiting} events wait already ({bound})"
    return Failed(kind="throttled", code="QueueFull", message=message, retry_after_s=RETRY_AFTER_S)


def wait_expired(name: str, pool: PoolSettings, problem: str = "") -> Failed:
    """The event waited for `max_wait`. `problem`: why no instance could start, if none could."""
    what, slots = "instance", ""
    if pool.slots > 1:
        what, slots = "slot", f" instances (max_instances) with {pool.slots} slots each (concurrency)"
    waited = f"no {what} of {name!r} came free within {pool.max_wait_s:g} s (max_wait)"
    may_have = f"it may have {pool.max_instances}{slots or ' (max_instances)'}"
    bounds = f"{may_have}, and {pool.max_waiting} events may wait (max_waiting)"
    message = f"{waited}: {problem}" if problem else f"{waited}; {bounds}"
    return Failed(kind="throttled", code="WaitExpired", message=message, retry_after_s=RETRY_AFTER_S)


def draining() -> Failed:
    message = "the server is shutting down"
    return Failed(kind="throttled", code="Draining", message=message, retry_after_s=RETRY_AFTER_S)


def gone_twice(name: str) -> Failed:
    return Failed(
        kind="crash", code="Exit", message=f"two instances of {name!r} were dead before the event reached them"
    )


def unwritable(reason: str) -> Failed:
    """Something in the event has no encoding on the wire, such as a header that is not text."""
    return Failed(kind="error", code="Undecodable", message=f"the event cannot be handed to a handler: {reason}")


def not_loaded(error: LoadFailed) -> Failed:
    """The function cannot load. During its back-off the reason is that of the last attempt."""
    wait_ns = 0 if error.retry_at_ns is None else error.retry_at_ns - time.monotonic_ns()
    return Failed(
        kind="load",
        code=error.code,
        message=error.message,
        traceback=error.traceback,
        retry_after_s=max(0.0, wait_ns / 1e9) or None,
    )
