"""What messages become on AMQP and back, and what their copies keep."""

import datetime
from decimal import Decimal
from typing import Any

from pamqp.commands import Basic

from bus.message import ATTEMPT, FIRST_ERROR, LAST_ERROR, REASON, STORED_AT, Delivery, Message
from bus.rabbitmq.delays import TO
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
    with_more_properties,
)
from bus.retry import Dead, Retry

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
    assert copy.fits(4096)
    assert copy.properties.headers is not None
    assert copy.properties.headers[REASON] == "Attempts"


def test_a_delayed_message_shows_nothing_of_its_way() -> None:
    properties = letter(Message(id="1", headers={"own": 1}), "work").properties
    assert properties.headers == {"own": 1, TO: "work"}
    properties.headers |= DEATHS
    got = delivery(properties)
    assert got.message.headers == {"own": 1}
    assert (got.exchange, got.routing_key) == ("", "work")


def test_what_is_looked_at_can_be_published_again_with_all_its_properties() -> None:
    seen = with_more_properties(message_of(original(), b"body"), original())
    again = letter(seen).properties
    assert (again.content_encoding, again.message_type) == ("gzip", "order")
    assert again.headers is not None
    assert PROPERTIES not in again.headers
    plain = Message(id="1")
    assert with_more_properties(plain, Basic.Properties()) is plain


def test_a_digest_leaves_out_what_the_broker_counts() -> None:
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


def test_a_letter_knows_whether_it_fits() -> None:
    assert Letter(Basic.Properties(headers={"a": "x" * 100}), b"").fits(200)
    assert not Letter(Basic.Properties(headers={"a": "x" * 100}), b"").fits(100)
