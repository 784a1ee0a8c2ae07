"""When a Celery task may run: `apply_async(eta=…, countdown=…, expires=…)`, as in its message. Pure.

A Celery worker holds a task until it is due and discards it once it has expired, so such a message must not run at
once. Version 2 of Celery's message protocol has the times in headers, version 1 in the JSON body
(https://docs.celeryq.dev/en/stable/internals/protocol.html). Celery turns a countdown into an eta; some other clients
of the protocol do not. Other messages may have headers of the same names, so only what looks like a task counts as one.
"""

from datetime import UTC, datetime
from typing import Any

from msgspec import DecodeError, Struct, json

from bus.message import Delivery
from triggers.queue.errors import UnreadableError

_LAST_S = 253_402_300_799
"""The end of the year 9999."""
_SINCE_S = 1_000_000_000
"""September 2001: a smaller number is a duration, not a time."""


class Times(Struct, frozen=True):
    """Seconds since the epoch, or None if the message does not say."""

    due_s: float | None = None
    expires_s: float | None = None


NO_TIMES = Times()


class _Task(Struct):
    """The body of version 1."""

    task: str
    id: str
    eta: Any = None
    expires: Any = None
    countdown: Any = None


def task_id(delivery: Delivery) -> str | None:
    """Return the id that all messages of the task share; None if it is not a task."""
    task = _task(delivery)
    return task.id if task is not None else None


def times(delivery: Delivery, now_s: float) -> Times:
    """Return the task's times. Raises UnreadableError if they make no sense."""
    task = _task(delivery)
    if task is None:
        return NO_TIMES
    sent_s = now_s if delivery.stored_at_s is None else delivery.stored_at_s
    eta_s = _time_s("eta", task.eta, sent_s)
    countdown_s = _time_s("countdown", task.countdown, sent_s)
    return Times(countdown_s if eta_s is None else eta_s, _time_s("expires", task.expires, sent_s))


def _task(delivery: Delivery) -> _Task | None:
    headers, body = delivery.message.headers, delivery.message.body
    task, id_ = headers.get("task"), headers.get("id")
    if isinstance(task, str) and isinstance(id_, str) and id_:
        return _Task(task, id_, headers.get("eta"), headers.get("expires"), headers.get("countdown"))
    if b'"task"' not in body or b'"args"' not in body or b'"kwargs"' not in body:
        return None
    try:
        return json.decode(body, type=_Task)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _time_s(what: str, value: Any, sent_s: float) -> float | None:
    """Convert a text (UTC if it has no zone, as in Celery), an AMQP time, a number of seconds or milliseconds since the
    epoch, or a number of seconds after the message was sent."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _counted_s(float(value), sent_s)
    except (ValueError, OverflowError):
        pass
    raise UnreadableError(f"it is a Celery task, but its {what} {value!r:.100} is not a time")


def _counted_s(number: float, sent_s: float) -> float:
    if abs(number) < _SINCE_S:
        return sent_s + number
    seconds = number / 1000 if number > _LAST_S else number
    if not 0 <= seconds <= _LAST_S:
        raise ValueError
    return seconds
