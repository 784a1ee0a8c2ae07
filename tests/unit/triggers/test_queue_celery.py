"""Tasks of Celery, as Celery 5 and others write them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import json

from bus.message import Delivery, Message
from bus.rabbitmq.fields import Instant
from bus.retry import LONGEST_DELAY_S, Dead, Retry
from triggers.queue.celery import Times, task_id, times
from triggers.queue.errors import UnreadableError
from triggers.queue.settling import postpone

NOW_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
HEADERS = {
    "lang": "py",
    "task": "shop.ship",
    "id": "4f4e8f2c",
    "root_id": "4f4e8f2c",
    "parent_id": None,
    "group": None,
    "argsrepr": "(7,)",
    "kwargsrepr": "{}",
    "origin": "gen1@shop",
    "retries": 0,
    "timelimit": [None, None],
    "eta": None,
    "expires": None,
}


def task(stored_at_s: float | None = NOW_S, body: bytes = b"[[7], {}, {}]", **headers: Any) -> Delivery:
    return Delivery(
        queue="celery", message=Message(body=body, headers=HEADERS | headers), lease=None, stored_at_s=stored_at_s
    )


@pytest.mark.parametrize(
    ("value", "after_s"),
    [
        ("2026-01-01T00:01:00+00:00", 60),
        ("2026-01-01T00:01:00.500000Z", 60.5),
        ("2026-01-01T01:01:00+01:00", 60),
        ("2026-01-01T00:01:00", 60),
        (datetime(2026, 1, 1, 0, 1, tzinfo=UTC), 60),
        (datetime(2026, 1, 1, 0, 1), 60),
        (int(NOW_S) + 60, 60),
        ((int(NOW_S) + 60) * 1000, 60),
        (Instant((int(NOW_S) + 60) * 1000), 60),
        (60, 60),
        (0.5, 0.5),
    ],
)
@pytest.mark.parametrize(("header", "field"), [("eta", "due_s"), ("expires", "expires_s"), ("countdown", "due_s")])
def test_times_are_read_however_a_client_writes_them(header: str, field: str, value: Any, after_s: float) -> None:
    assert times(task(**{header: value}), NOW_S + 10) == Times(**{field: NOW_S + after_s})


def test_a_task_without_times_may_run() -> None:
    assert times(task(), NOW_S) == Times()
    assert times(task(eta="", expires=""), NOW_S) == Times()
    assert task_id(task()) == "4f4e8f2c"


def test_a_duration_counts_from_when_the_message_was_first_seen() -> None:
    assert times(task(stored_at_s=None, countdown=60), NOW_S) == Times(due_s=NOW_S + 60)
    assert times(task(stored_at_s=NOW_S - 50, countdown=60), NOW_S) == Times(due_s=NOW_S + 10)


@pytest.mark.parametrize("value", ["soon", "9" * 5000, {"a": 1}, [1], True, b"x", 1e300, float("nan"), -1e18])
@pytest.mark.parametrize("header", ["eta", "expires", "countdown"])
def test_what_is_no_time_is_refused(header: str, value: Any) -> None:
    with pytest.raises(UnreadableError, match=f"its {header} .* is not a time"):
        times(task(**{header: value}), NOW_S)


def test_version_1_has_all_in_its_body() -> None:
    body = {"task": "t", "id": "i", "args": [1], "kwargs": {}, "retries": 0, "eta": "2026-01-01T00:01:00", "utc": True}
    old = Delivery(queue="celery", message=Message(body=json.encode(body)), lease=None)
    assert times(old, NOW_S) == Times(due_s=NOW_S + 60)
    assert task_id(old) == "i"


@pytest.mark.parametrize(
    "message",
    [
        Message(headers={"eta": "2027-01-01T00:00:00Z", "id": "7"}),
        Message(headers={"eta": "soon", "task": 7, "id": "7"}),
        Message(body=b'{"eta": "2027-01-01T00:00:00Z", "task": "t"}'),
        Message(body=b'{"task": "args", "args": "kwargs", "kwargs": 1'),
        Message(body=b'["task", "args", "kwargs"]'),
        Message(body=b'{"task":' + b"[" * 100_000 + b'"args""kwargs"'),
    ],
)
def test_nobody_elses_message_is_a_task(message: Message) -> None:
    other = Delivery(queue="celery", message=message, lease=None)
    assert times(other, NOW_S) == Times()
    assert task_id(other) is None


def test_what_is_not_due_waits_and_what_has_expired_is_dead() -> None:
    assert postpone(Times(), NOW_S) is None
    assert postpone(Times(due_s=NOW_S, expires_s=NOW_S + 1), NOW_S) is None
    waiting = postpone(Times(due_s=NOW_S + 60), NOW_S)
    assert isinstance(waiting, Retry)
    assert (waiting.delay_s, waiting.counts) == (60, False)
    far = postpone(Times(due_s=NOW_S + 10 * LONGEST_DELAY_S), NOW_S)
    assert isinstance(far, Retry)
    assert far.delay_s == LONGEST_DELAY_S
    dead = postpone(Times(due_s=NOW_S + 60, expires_s=NOW_S), NOW_S)
    assert isinstance(dead, Dead)
    assert dead.reason == "Expired"
