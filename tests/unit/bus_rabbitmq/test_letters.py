"""Messages to AMQP and back, and what their copies keep."""

import datetime
import struct
import time
from decimal import Decimal
from typing import Any

import pytest
from pamqp.commands import Basic

from bus.message import ATTEMPT, FIRST_ERROR, LAST_ERROR, REASON, STORED_AT, Delivery, Envelope, Message
from bus.rabbitmq import fields
from bus.rabbitmq.delays import TO
from bus.rabbitmq.fields import Instant, RawName
from bus.rabbitmq.letters import (
    ERROR_BYTES,
    PROPERTIES,
    Letter,
    Origin,
    dead_copy,
    delivery_of,
    digest,
    letter,
    message_of,
    retry_copy,
    trimmed,
    unrun_copy,
    with_more_properties,
)
from bus.retry import Dead, Retry

fields.install()

SENT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
FOREIGN: dict[str, Any] = {"nested": {"list": [1, Decimal("-1.5"), None]}, "when": SENT, "raw": b"\xff"}
DEATHS: dict[str, Any] = {"x-death": [{"queue": "work"}], "x-first-death-queue": "work"}


def original(**more: Any) -> Basic.Properties:
    fields: dict[str, Any] = {
        "headers": FOREIGN | DEATHS,
        "content_encoding": "gzip",
        "message_type": "order",
        "timestamp": SENT,
        "expiration": "1000",
        "user_id": "somebody",
    }
    return Basic.Properties(**(fields | more))


def delivery(properties: Basic.Properties, *, is_retry: bool = False) -> Delivery:
    return delivery_of("work", properties, b"body", Origin("ex", "key", redelivered=False, is_retry=is_retry), None)


def test_a_foreign_message_arrives_whole() -> None:
    got = delivery(original())
    assert got.message == Message(body=b"body", headers=FOREIGN | DEATHS)
    assert (got.attempt, got.exchange, got.routing_key, got.stored_at_s) == (1, "ex", "key", SENT.timestamp())


def test_bookkeeping_of_a_stranger_is_never_believed() -> None:
    received = Basic.Properties(
        headers={"forklight-user-id": "root", "forklight-expiration": "1", ATTEMPT: 7, "own": 1}
    )
    first = delivery(received)
    assert first.message.headers == {"own": 1}
    back = delivery(unrun_copy(received, first).properties, is_retry=True)
    assert (back.message, back.attempt) == (first.message, 1)
    assert (back.envelope.user_id, back.envelope.expiration) == (None, None)


def test_a_retry_counts_on_and_keeps_the_rest() -> None:
    first = delivery(original())
    properties = retry_copy(original(), first, Retry(2.0, "first"), "retry").properties
    assert properties.headers is not None
    assert properties.headers[TO] == "retry"
    assert (properties.content_encoding, properties.message_type, properties.delivery_mode) == ("gzip", "order", 2)
    assert (properties.expiration, properties.user_id) == (None, None)
    second = delivery(properties, is_retry=True)
    assert (second.attempt, second.first_error, second.stored_at_s) == (2, "first", first.stored_at_s)
    assert (second.exchange, second.routing_key) == ("ex", "key")
    assert second.message.headers == FOREIGN
    third = delivery(retry_copy(properties, second, Retry(0.0, "second"), "").properties, is_retry=True)
    assert (third.attempt, third.first_error) == (3, "first")


def test_attempts_are_believed_only_in_our_own_queue() -> None:
    forged = original(headers={ATTEMPT: 5, STORED_AT: 1.0, FIRST_ERROR: "no"})
    assert (delivery(forged).attempt, delivery(forged).first_error) == (1, "")
    assert delivery(original(headers={ATTEMPT: "nonsense"}), is_retry=True).attempt == 1


def test_a_dead_letter_says_why_and_has_no_deaths_of_the_broker() -> None:
    dead = dead_copy(original(), delivery(original()), Dead("Attempts", "last"), "f").properties.headers
    assert dead is not None
    assert (dead[REASON], dead[FIRST_ERROR], dead[LAST_ERROR], dead[ATTEMPT]) == ("Attempts", "last", "last", 1)
    assert not DEATHS.keys() & dead.keys()
    assert FOREIGN.items() <= dead.items()


def test_long_errors_are_cut() -> None:
    dead = dead_copy(original(), delivery(original()), Dead("Attempts", "ä" * 10_000), "f").properties.headers
    assert dead is not None
    assert len(str(dead[LAST_ERROR]).encode()) == ERROR_BYTES


def test_a_copy_that_does_not_fit_loses_its_largest_headers() -> None:
    headers = FOREIGN | {"large": "x" * 3000, "larger": "y" * 4000}
    copy = dead_copy(original(), delivery(original(headers=headers)), Dead("Attempts", "e"), "f")
    assert trimmed(copy, 131072)[1] == []
    copy, dropped = trimmed(copy, 4096)
    assert dropped == ["larger"]
    assert copy.size_bytes <= 4096
    assert copy.properties.headers is not None
    assert copy.properties.headers[REASON] == "Attempts"


def test_a_delayed_message_shows_nothing_of_its_way() -> None:
    properties = letter(Message(id="1", headers={"own": 1}), "work").properties
    assert properties.headers == {"own": 1, TO: "work"}
    properties.headers |= DEATHS
    got = delivery(properties)
    assert got.message.headers == {"own": 1}
    assert (got.exchange, got.routing_key) == ("", "work")


def test_a_browsed_message_can_be_published_again_with_all_its_properties() -> None:
    seen = with_more_properties(message_of(original(), b"body"), original())
    again = letter(seen).properties
    assert (again.content_encoding, again.message_type) == ("gzip", "order")
    assert again.headers is not None
    assert PROPERTIES not in again.headers
    plain = Message(id="1")
    assert with_more_properties(plain, Basic.Properties()) == plain


def test_a_digest_leaves_out_the_counts_of_the_broker() -> None:
    assert digest(original(), b"") == digest(original(headers=FOREIGN | DEATHS | {"x-delivery-count": 3}), b"")
    assert digest(original(), b"") != digest(original(message_id="1"), b"")
    assert digest(original(), b"") != digest(original(), b"1")


def test_a_message_without_an_id_stays_without() -> None:
    properties = letter(Message(body=b"body")).properties
    properties.message_id = "the library's"
    assert delivery(properties).message == Message(body=b"body")
    copy = retry_copy(properties, delivery(properties), Retry(1.0, "e"), "retry").properties
    copy.message_id = "the library's"
    assert delivery(copy, is_retry=True).message == Message(body=b"body")


def test_a_letter_knows_how_large_its_headers_are() -> None:
    assert 100 < Letter(Basic.Properties(headers={"a": "x" * 100}), b"").size_bytes < 200


def test_copies_of_a_message_with_a_thousand_small_headers_are_trimmed_at_once() -> None:
    headers: dict[str, Any] = {f"{number:05}": True for number in range(14_000)}
    copy = dead_copy(original(), delivery(original(headers=headers)), Dead("Attempts", "x" * ERROR_BYTES), "f")
    began_s = time.monotonic()
    copy, dropped = trimmed(copy, 100_000)
    assert time.monotonic() - began_s < 5, "one look at each header, not one at all of them for each that is dropped"
    assert 0 < len(dropped) < 14_000
    assert 99_000 < copy.size_bytes <= 100_000


def test_headers_without_an_amqp_type_are_dropped_from_a_copy() -> None:
    headers: dict[str, Any] = {"good": 1, "huge": 2**64, "n" * 256: 1, "\ud800": 1, "odd": object()}
    copy, dropped = trimmed(_dead(headers), 131072)
    assert set(dropped) == headers.keys() - {"good"}
    assert copy.properties.headers is not None
    assert copy.properties.headers["good"] == 1


def _dead(headers: dict[str, Any]) -> Letter:
    return dead_copy(original(), delivery(original(headers=headers)), Dead("Attempts", "e"), "f")


@pytest.mark.parametrize("name", ["CC", "BCC"])
def test_nothing_published_here_is_distributed_to_others(name: str) -> None:
    chosen: dict[str, Any] = {name: ["orders", "audit"]}
    source = original(headers=chosen)
    copies = [
        letter(Message(id="1", headers=chosen)),
        letter(Message(id="1", headers=chosen), "work"),
        retry_copy(source, delivery(source), Retry(1.0, "e"), "retry"),
        _dead(chosen),
    ]
    for copy in copies:
        assert name not in (copy.properties.headers or {})
        assert message_of(copy.properties, b"").headers[name] == ["orders", "audit"], "shown as it came"
    replayed = letter(with_more_properties(message_of(copies[-1].properties, b""), copies[-1].properties))
    assert name not in (replayed.properties.headers or {})


def test_amqp_properties_are_kept_for_retries() -> None:
    source = original(priority=7, app_id="shop")
    said = Envelope(
        content_encoding="gzip",
        type="order",
        app_id="shop",
        user_id="somebody",
        priority=7,
        timestamp_s=SENT.timestamp(),
        expiration="1000",
    )
    first = delivery(source)
    assert first.envelope == said
    copy = retry_copy(source, first, Retry(0.0, "e"), "").properties
    assert (copy.user_id, copy.expiration) == (None, None), "these would act on the copy"
    assert delivery(copy, is_retry=True).envelope == said
    assert delivery(copy).envelope.user_id is None, "nobody else's word counts for who a user is"


def test_a_time_in_milliseconds_is_one() -> None:
    milliseconds = Instant(int(SENT.timestamp()) * 1000)
    assert delivery(original(timestamp=milliseconds)).stored_at_s == SENT.timestamp()
    assert delivery(original(timestamp=Instant(2**64 - 1))).stored_at_s is None


@pytest.mark.parametrize("value", ["nan", "inf", "-1e999", float("nan"), "9" * 5000, b"7", [1], None, Decimal("sNaN")])
def test_no_count_of_attempts_is_absurd(value: Any) -> None:
    assert delivery(original(headers={ATTEMPT: value, STORED_AT: value}), is_retry=True).attempt in (1, 7)


def test_a_name_that_is_not_text_is_shown_as_text_and_kept_as_it_is() -> None:
    raw = RawName(b"\xff" * 100)
    source = original(message_id=raw, correlation_id=raw, reply_to=raw, message_type=raw, app_id=raw)
    got = delivery(source)
    assert type(got.message.id) is str
    assert len(got.message.id.encode()) <= 255
    for copy in (retry_copy(source, got, Retry(1.0, "e"), "retry"), dead_copy(source, got, Dead("Attempts", "e"), "f")):
        read = Basic.Properties()
        read.unmarshal(struct.unpack(">H", copy.properties.marshal()[:2])[0], copy.properties.marshal()[2:])
        assert read.message_id == read.correlation_id == read.app_id == raw
        assert isinstance(read.message_id, RawName)
        assert read.message_id.raw == raw.raw
        seen = with_more_properties(message_of(read, b""), read)
        assert seen.id == got.message.id
        assert letter(seen).properties.marshal()
        assert letter(seen).properties.message_id is read.message_id
