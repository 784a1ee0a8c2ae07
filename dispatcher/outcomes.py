"""Outcomes of events that reached no instance: unknown, throttled, or of a function that cannot load."""

import time

from bus import Failed
from dispatcher.settings import PoolSettings
from sandbox.errors import LoadFailed

RETRY_AFTER_S = 1.0
"""What a throttled client is told to wait: capacity comes back when running events end, which nobody can foretell."""


def unknown_function(name: str | None) -> Failed:
    """No function of that name is served here."""
    return Failed(kind="unknown_function", code="UnknownFunction", message=f"there is no function {name!r}")


def queue_full(name: str, pool: PoolSettings, waiting: int) -> Failed:
    """As many events wait as may, or they take as much memory as they may."""
    bound = f"max_waiting = {pool.max_waiting}"
    if waiting < pool.max_waiting:
        bound = f"they hold max_waiting_memory, {pool.max_waiting_memory_bytes} bytes"
    taken = f"all {pool.max_instances} instances of {name!r} (max_instances) are taken"
    message = f"{taken}, and {waiting} events wait already ({bound})"
    return Failed(kind="throttled", code="QueueFull", message=message, retry_after_s=RETRY_AFTER_S)


def wait_expired(name: str, pool: PoolSettings, problem: str = "") -> Failed:
    """It waited for an instance as long as it may. `problem`: why none could be started, if that is why."""
    waited = f"no instance of {name!r} came free within {pool.max_wait_s:g} s (max_wait)"
    bounds = f"it may have {pool.max_instances} (max_instances), and {pool.max_waiting} events may wait (max_waiting)"
    message = f"{waited}: {problem}" if problem else f"{waited}; {bounds}"
    return Failed(kind="throttled", code="WaitExpired", message=message, retry_after_s=RETRY_AFTER_S)


def draining() -> Failed:
    """The server is about to end."""
    message = "the server is shutting down"
    return Failed(kind="throttled", code="Draining", message=message, retry_after_s=RETRY_AFTER_S)


def gone_twice(name: str) -> Failed:
    """Two instances in a row were found dead before the event reached them."""
    return Failed(
        kind="crash", code="Exit", message=f"two instances of {name!r} were dead before the event reached them"
    )


def unwritable(reason: str) -> Failed:
    """Something in the event cannot be told to any handler, as a header that is not text."""
    return Failed(kind="error", code="Undecodable", message=f"the event cannot be handed to a handler: {reason}")


def not_loaded(error: LoadFailed) -> Failed:
    """The function cannot load; while it backs off, the stored reason."""
    wait_ns = 0 if error.retry_at_ns is None else error.retry_at_ns - time.monotonic_ns()
    return Failed(
        kind="load",
        code=error.code,
        message=error.message,
        traceback=error.traceback,
        retry_after_s=max(0.0, wait_ns / 1e9) or None,
    )
