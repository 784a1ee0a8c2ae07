"""The counters of requests, queues and timers, and their metrics."""

import time
from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from bus import Event, Failed, Ok, QueueSection, TimerSection
from bus.bus import Bus
from bus.invocation import Invocation, QueueVerdict
from bus.outcome import Timings
from bus.retry import Ack, Dead, Retry
from forklight.observe.entry import Selection
from forklight.observe.formats import json_lines
from forklight.observe.journal import Journal
from forklight.observe.metrics import text
from forklight.observe.observer import Observer
from forklight.observe.status import QueueStatus
from triggers.http.exchange import Exchange

MESSAGE = Event(source="/test", type="t", function="f", queue=QueueSection(name="orders"))
FAILED = Failed(kind="timeout", code="Timeout", message="late")


def _fire(scheduled_at: str) -> Event:
    timer = TimerSection(name="nightly", schedule="@daily", timezone="UTC", scheduled_at=scheduled_at)
    return Event(source="/test", type="forklight.timer", function="f", timer=timer)


def _observed(observer: Observer) -> Bus:
    bus = Bus()
    observer.subscribe_to(bus)
    return bus


def _samples(scraped: bytes) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(scraped.decode())
    return {(one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples}


def test_what_became_of_messages_is_counted_and_told() -> None:
    observer = Observer(Journal(json_lines, -1), {})
    bus = _observed(observer)
    bus.report(Invocation(MESSAGE, Ok(), QueueVerdict((Ack(),))))
    bus.report(Invocation(MESSAGE, Ok(), QueueVerdict((Ack(), Retry(1.0, "e"), Dead("Attempts", "e")))))
    bus.report(Invocation(MESSAGE, FAILED, QueueVerdict(())))
    samples = _samples(text(observer.metrics((), ())))
    assert samples["forklight_settled_total", "ack", "f"] == 2
    assert samples["forklight_settled_total", "f", "retry"] == 1
    assert samples["forklight_settled_total", "dead", "f"] == 1
    assert samples["forklight_dead_letters_total", "f"] == 1
    assert [entry.outcome for entry in observer.journal.latest(Selection(function="f"))] == [
        "ok",
        "ok",
        "timeout/Timeout",
    ]


def test_requests_are_counted_by_class_and_reason() -> None:
    observer = Observer(Journal(json_lines, -1, invocations=False), {})
    bus = _observed(observer)
    for status, reason in [(200, "function"), (204, "function"), (404, "no_route"), (499, "left"), (503, "stopping")]:
        bus.report(Exchange("127.0.0.1", 0).ended(status, reason))
    samples = _samples(text(observer.metrics((), ())))
    counted = {key[1:]: value for key, value in samples.items() if key[0] == "forklight_http_requests_total"}
    assert counted == {
        ("2xx", "function"): 2,
        ("4xx", "no_route"): 1,
        ("4xx", "left"): 1,
        ("5xx", "stopping"): 1,
    }
    assert observer.journal.latest(Selection()) == []


def test_runs_of_timers_are_counted_with_their_lateness() -> None:
    observer = Observer(Journal(json_lines, -1), {})
    bus = _observed(observer)
    scheduled = datetime.fromtimestamp(time.time() - 60, UTC).isoformat()
    bus.report(Invocation(_fire(scheduled), Ok(timings=Timings(accepted_ns=time.monotonic_ns()))))
    bus.report(Invocation(_fire(scheduled), FAILED))
    bus.report(Invocation(_fire(scheduled), None))
    samples = _samples(text(observer.metrics((), ())))
    for outcome in ("ok", "timeout", "left"):
        assert samples["forklight_timer_fires_total", *sorted(("f", "nightly", outcome))] == 1
    assert 60 <= samples["forklight_timer_lateness_seconds", "f", "nightly"] < 120
    assert [entry.timer for entry in observer.journal.latest(Selection(function="f"))] == ["nightly"] * 3


def test_what_a_store_cannot_tell_has_no_sample() -> None:
    known = QueueStatus(
        queue="orders", function="f", dead_letter="dead", ready=3, running=1, delayed=2, dead=4, oldest_age_s=1.5
    )
    unknown = QueueStatus(queue="other@shop", function="f", dead_letter="dead@shop", ready=5, problem="")
    scraped = text(Observer(Journal(json_lines, -1), {}).metrics((), (known, known, unknown)))
    samples = _samples(scraped)
    messages = {key[1:]: value for key, value in samples.items() if key[0] == "forklight_queue_messages"}
    assert messages == {
        ("orders", "ready"): 3,
        ("orders", "running"): 1,
        ("delayed", "orders"): 2,
        ("dead", "dead"): 4,
        ("other@shop", "ready"): 5,
    }
    assert samples["forklight_queue_oldest_age_seconds", "orders"] == 1.5
    assert scraped.count(b'forklight_queue_messages{queue="orders",state="ready"}') == 1
