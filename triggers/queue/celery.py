"""When a task of Celery may run: `apply_async(eta=…, countdown=…, expires=…)`, as its message says. Pure.

A worker of Celery holds a task until it is due and discards one that has expired; so a message that says so may not be
run as it comes. Version 2 of Celery's message protocol has the times in its headers, version 1 in its JSON body
(https://docs.celeryq.dev/en/stable/internals/protocol.html). A countdown is made an eta by Celery itself, but not by
every other client that speaks its protocol. Only what looks like a task is believed to be one: other people's messages
may have headers of such names.
"""

from datetime import UTC, datetime
from typing import Any

from msgspec import DecodeError, Struct, json

from bus.message import Delivery
from triggers.queue.errors import UnreadableError

_LAST_S = 253_402_300_799
"""The end of the year 9999."""
_SINCE_S = 1_000_000_000
"""2001: a smaller number is no time but a duration."""


class Times(Struct, frozen=True):
    """Seconds since the epoch; None: it says nothing."""

    due_s: float | None = None
    expires_s: float | None = None


class _Task(Struct):
    """The body of version 1."""

    task: str
    id: str
    eta: Any = None
    expires: Any = None
    countdown: Any = None


def task_id(delivery: Delivery) -> str | None:
    """The task's own id, the same in each of its messages; None if it is no task."""
    task = _task(delivery)
    return task.id if task is not None else None


def times(delivery: Delivery, now_s: float) -> Times:
    """What the message says of a task's times. Raises UnreadableError if it is nothing that could be obeyed."""
    task = _task(delivery)
    if task is None:
        return Times()
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
    """A time as text (without a zone it is UTC, as in Celery), AMQP's, seconds or milliseconds since the epoch, or a
    number of seconds from when the message was sent."""
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
    raise UnreadableError(f"it is a task of Celery, and its {what} {value!r:.100} is no time")


def _counted_s(number: float, sent_s: float) -> float:
    if abs(number) < _SINCE_S:
        return sent_s + number
    seconds = number / 1000 if number > _LAST_S else number
    if not 0 <= seconds <= _LAST_S:
        raise ValueError
    return seconds
