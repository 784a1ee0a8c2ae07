"""From a message to the event a handler sees."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json, structs

from bus.event import CallSection, Event
from bus.message import Delivery, Envelope, Message, inbox
from sandbox import wire
from sandbox.guest._forklight.events import make_event
from sandbox.guest._forklight.wire import LENGTHS, MAX_HEADER_BYTES, Frames
from triggers.queue import codec, headers
from triggers.queue.errors import UnreadableError
from triggers.queue.settings import QueueTrigger

TRIGGER = QueueTrigger(function="f", queue="orders", broker="shop", dead_letter="dead", slots=4, decode="json")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def delivery(*, queue: str = "orders", attempt: int = 1, stored_at_s: float | None = 0.0, **fields: Any) -> Delivery:
    message = Message(**({"id": "m1", "body": b"{}", "content_type": "application/json"} | fields))
    return Delivery(queue=queue, message=message, lease=None, attempt=attempt, stored_at_s=stored_at_s)


def event(trigger: QueueTrigger = TRIGGER, **fields: Any) -> Event:
    return codec.to_event(delivery(**fields), trigger)


def section(made: Event) -> dict[str, Any]:
    assert made.queue is not None
    return made.queue.headers


def test_a_message_becomes_an_event() -> None:
    made = codec.to_event(
        Delivery(
            queue="orders",
            message=Message(
                id="m1",
                body=b"[1]",
                content_type="application/json",
                headers={"x-a": 1, "forklight-hops": 3, "traceparent": TRACE},
                correlation_id="c",
                reply_to="answers",
            ),
            lease=None,
            attempt=2,
            redelivered=True,
            stored_at_s=1.5,
            exchange="sales",
            routing_key="eu.orders",
        ),
        TRIGGER,
    )
    assert (made.id, made.source, made.type) == ("m1", "/forklight/queue/orders", "forklight.queue")
    assert (made.time, made.datacontenttype, made.body) == ("1970-01-01T00:00:01.500000Z", "application/json", b"[1]")
    assert (made.function, made.decode, made.attempt, made.hops, made.traceparent) == ("f", "json", 2, 3, TRACE)
    assert json.decode(json.encode(made.queue)) == {
        "name": "orders",
        "broker": "shop",
        "message_id": "m1",
        "attempt": 2,
        "redelivered": True,
        "headers": {"x-a": 1, "traceparent": TRACE},
        "correlation_id": "c",
        "reply_to": "answers",
        "exchange": "sales",
        "routing_key": "eu.orders",
        "content_encoding": None,
        "type": None,
        "app_id": None,
        "user_id": None,
        "priority": None,
        "timestamp": None,
        "expiration": None,
    }
    assert [made.http, made.timer, made.topic, made.call, made.items] == [None] * 5


@pytest.mark.parametrize("prefix", ["ce-", "cloudEvents_", "cloudEvents:"])
def test_a_cloud_event_keeps_its_attributes_under_each_naming(prefix: str) -> None:
    given_ = {"id": "e1", "source": "/shop", "type": "shop.sold", "time": "2026-01-01T00:00:00Z", "subject": "17"}
    made = event(headers={prefix + name: value for name, value in (given_ | {"traceparent": TRACE}).items()})
    assert {name: getattr(made, name) for name in given_} == given_
    assert made.traceparent == TRACE
    assert section(made)[prefix + "id"] == "e1", "the headers are shown as they came"
    assert made.queue is not None
    assert made.queue.message_id == "m1"


def test_the_naming_that_is_written_here_counts_first() -> None:
    assert event(headers={"cloudEvents_id": "a", "ce-id": "b", "cloudEvents:id": "c"}).id == "b"


def test_a_broken_attribute_is_left_out_and_the_message_is_not_lost() -> None:
    bad = {"ce-id": 7, "ce-source": "", "ce-type": ["x"], "ce-time": "yesterday", "ce-subject": {"a": 1}}
    made = event(headers=bad | {"ce-traceparent": "00-0-0-0", "traceparent": b"\xff"})
    assert (made.id, made.source, made.type) == ("m1", "/forklight/queue/orders", "forklight.queue")
    assert (made.time, made.subject, made.traceparent) == ("1970-01-01T00:00:00Z", None, None)


@pytest.mark.parametrize(
    ("value", "hops"),
    [(5, 5), (-5, 0), (True, 0), ("7", 7), (b"7", 7), ("x", 0), ("9" * 5000, 0), (None, 0), (1.5, 0), ({}, 0)],
)
def test_what_is_no_count_of_hops_is_none(value: Any, hops: int) -> None:
    assert event(headers={"forklight-hops": value}).hops == hops


@pytest.mark.parametrize("stored_at_s", [1e300, float("inf"), float("nan"), -1e18])
def test_an_absurd_time_of_storing_is_now(stored_at_s: float) -> None:
    assert event(stored_at_s=stored_at_s).time > "2026"


def test_an_event_has_what_amqp_says_of_a_message() -> None:
    said = {"type": "order.created", "app_id": "shop", "user_id": "guest", "priority": 5, "expiration": "60000"}
    envelope = Envelope(content_encoding="gzip", timestamp_s=2.0, **said)  # type: ignore[arg-type]
    made = codec.to_event(structs.replace(delivery(), envelope=envelope), TRIGGER)
    told = json.decode(json.encode(made.queue))
    assert told | said | {"content_encoding": "gzip", "timestamp": "1970-01-01T00:00:02Z"} == told
    assert made.coding == "gzip"
    absurd = structs.replace(delivery(), envelope=Envelope(timestamp_s=1e300))
    assert codec.to_event(absurd, TRIGGER).queue.timestamp is None  # type: ignore[union-attr]


def test_what_is_compressed_otherwise_is_bytes_unless_the_queue_says_what_it_is() -> None:
    packed = structs.replace(delivery(), envelope=Envelope(content_encoding="br"))
    assert codec.to_event(packed, structs.replace(TRIGGER, decode=None)).decode == "bytes"
    assert codec.to_event(packed, TRIGGER).decode == "json"
    structured = delivery(content_type="application/cloudevents+json")
    with pytest.raises(UnreadableError, match="compressed"):
        codec.to_event(structs.replace(structured, envelope=Envelope(content_encoding="gzip")), TRIGGER)


def test_a_message_in_the_inbox_is_a_call() -> None:
    call = {"ce-id": "e1", "ce-type": "forklight.call", "forklight-caller": "orders"}
    made = event(queue=inbox("f"), headers=call, attempt=3)
    assert (made.call, made.queue, made.attempt) == (CallSection(caller="orders"), None, 3)


def test_nobody_elses_queue_makes_a_call() -> None:
    made = event(headers={"ce-type": "forklight.call", "forklight-caller": "orders"})
    assert (made.call, made.queue is not None) == (None, True)
    assert event(queue=inbox("f"), headers={"ce-type": "shop.sold"}).queue is not None


def test_a_message_without_an_id_gets_one_that_it_keeps() -> None:
    known = delivery()
    assert codec.identified(known) is known
    without = codec.identified(delivery(id=None))
    assert without.message.id
    assert without.message.id == codec.to_event(without, TRIGGER).id


def test_a_message_without_an_id_has_the_same_one_each_time_it_comes() -> None:
    def id_of(**fields: Any) -> str | None:
        return codec.identified(delivery(id=None, **fields)).message.id

    own = {"tenant": "acme", "when": datetime(2026, 1, 1, tzinfo=UTC), "deep": {"list": [b"\xff"]}}
    first = id_of(headers=own, correlation_id="c")
    assert id_of(headers=own | {"x-delivery-count": 2, "x-death": [{"count": 1}]}, correlation_id="c") == first
    others: list[dict[str, Any]] = [{"body": b"[]"}, {"headers": {}}, {"correlation_id": "d"}, {"content_type": None}]
    assert first not in [id_of(**({"headers": own, "correlation_id": "c"} | other)) for other in others]
    again = structs.replace(delivery(id=None), redelivered=True, exchange="dlx", routing_key="other")
    assert codec.identified(again).message.id == id_of()


@pytest.mark.invariant("I22")
@pytest.mark.parametrize(("given_id", "taken"), [("4f4e", True), ("x" * 300, False), ("a\n", False)])
def test_a_task_of_celery_has_its_own_id(given_id: str, taken: bool) -> None:
    task = codec.identified(delivery(id=None, headers={"task": "shop.ship", "id": given_id})).message.id
    assert (task == given_id) is taken
    assert task


def test_a_bare_event_says_which_message_it_was() -> None:
    made = codec.bare_event(delivery(attempt=2), TRIGGER)
    assert (made.id, made.function, made.attempt) == ("m1", "f", 2)
    assert made.queue is not None
    assert (made.queue.name, made.queue.broker, made.queue.attempt) == ("orders", "shop", 2)


def test_each_kind_of_header_is_something_json_can_hold() -> None:
    berlin = timezone(timedelta(hours=1))
    made = event(
        headers={
            "text": "ä",
            "none": None,
            "true": True,
            "half": 0.5,
            "big": 2**63 - 1,
            "bigger": 2**63,
            "bytes": b"\xc3\xa4",
            "binary": bytearray(b"\xff\x00"),
            "decimal": Decimal("1.10"),
            "utc": datetime(2026, 1, 1, tzinfo=UTC),
            "naive": datetime(2026, 1, 1),
            "berlin": datetime(2026, 1, 1, tzinfo=berlin),
            "table": {"list": [b"x", {"deep": Decimal(2)}], 7: 8},
            "Forklight-Caller": "hidden",
        }
    )
    assert section(made) == {
        "text": "ä",
        "none": None,
        "true": True,
        "half": 0.5,
        "big": 2**63 - 1,
        "bigger": "9223372036854775808",
        "bytes": "ä",
        "binary": "/wA=",
        "decimal": "1.10",
        "utc": "2026-01-01T00:00:00Z",
        "naive": "2026-01-01T00:00:00Z",
        "berlin": "2026-01-01T00:00:00+01:00",
        "table": {"list": ["x", {"deep": "2"}], "7": 8},
    }


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def test_too_much_of_headers_is_a_dead_letter_that_says_so() -> None:
    assert event(headers={"a": nested(headers.MAX_DEPTH - 1)})
    with pytest.raises(UnreadableError, match="nested more than 32 deep"):
        event(headers={"a": nested(headers.MAX_DEPTH)})
    with pytest.raises(UnreadableError, match="nested more than 32 deep"):
        event(headers={"a": nested(100_000)})
    assert event(headers={"a": "x" * 500_000})
    with pytest.raises(UnreadableError, match="more than 524288 bytes of JSON"):
        event(headers={"a": "x" * 600_000})
    with pytest.raises(UnreadableError, match="more than 524288 bytes of JSON"):
        event(headers={"a": "\0" * 100_000})
    with pytest.raises(UnreadableError, match="cannot be represented as JSON"):
        event(correlation_id="\udc80")


amqp = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(
    ["ce-id", "ce-time", "ce-type", "cloudEvents:source", "forklight-hops", "forklight-caller", "traceparent"]
)


def as_told(frame: bytes) -> tuple[dict[str, Any], bytes]:
    """The event's fields and its body, as the guest reads them."""
    frames = Frames()
    frames.feed(frame)
    header, body = frames.next() or ({}, b"")
    return header["event"], body


@pytest.mark.invariant("I22")
@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(names | st.text(max_size=9), amqp, max_size=6),
    st.binary(),
    st.sampled_from([None, "", "application/json", "application/cloudevents+json", "\0;=", "a/b; charset"]),
    st.sampled_from(["orders", inbox("f")]),
)
def test_whatever_comes_is_an_event_or_a_dead_letter(
    absurd: dict[str, Any], body: bytes, content_type: str | None, queue: str
) -> None:
    try:
        made = event(queue=queue, headers=absurd, body=body, content_type=content_type)
    except UnreadableError:
        return
    (frame,) = wire.invoke(1, 1, made.attempt, "warm", made)
    length, _ = LENGTHS.unpack_from(frame)
    assert length <= MAX_HEADER_BYTES
    told, _ = as_told(frame)
    assert (told["id"], "queue" in told) == (made.id, made.call is None)


def test_a_batch_is_one_event_of_its_items() -> None:
    items = [event(id="a", body=b"[1]"), event(id="b", attempt=3, headers={"forklight-hops": 4}, body=b"2")]
    made = codec.batch_event(items, TRIGGER)
    assert (made.attempt, made.hops, made.function, made.traceparent) == (3, 4, "f", None)
    assert made.queue is not None
    assert (made.queue.name, made.queue.broker, made.queue.attempt) == ("orders", "shop", 3)
    assert made.id == codec.batch_event(items, TRIGGER).id != codec.batch_event(items[:1], TRIGGER).id


def test_a_handler_sees_a_batch_as_a_list_of_events() -> None:
    items = [event(id="a", body=b"[1]"), event(id="b", attempt=3, body=b""), event(id="c", body=b'{"x":2}')]
    (frame,) = wire.invoke(1, 1, 3, "warm", codec.batch_event(items, TRIGGER))
    seen = make_event(*as_told(frame))
    assert [each["data"] for each in seen["data"]] == [[1], None, {"x": 2}]
    assert [each["id"] for each in seen["data"]] == ["a", "b", "c"]
    assert [each["queue"]["attempt"] for each in seen["data"]] == [1, 3, 1]
    assert seen["queue"]["name"] == "orders"


def test_a_batch_is_cut_where_a_frame_would_be_too_large() -> None:
    small, large = event(), event(headers={"a": "x" * 400_000})
    assert codec.fit([small] * 100) == [range(100)]
    assert codec.fit([large]) == [range(1)]
    assert codec.fit([large, large, large, small]) == [range(2), range(2, 4)]
    assert codec.fit([small, large, large, large]) == [range(3), range(3, 4)]
