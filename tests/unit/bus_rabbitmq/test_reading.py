"""The stream under aiormq: deliveries go to whoever consumes the channel, all other bytes to aiormq, however cut."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header
from pamqp.heartbeat import Heartbeat

from bus.rabbitmq import fields
from bus.rabbitmq.reading import Delivered, Reader

fields.install()

CONSUMED, OTHER = 7, 8
NAMES = st.text(max_size=20)
PROPERTIES = st.builds(
    commands.Basic.Properties,
    content_type=st.none() | NAMES,
    headers=st.none() | st.dictionaries(NAMES, st.integers(-5, 5) | NAMES, max_size=3),
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | NAMES,
    message_id=st.none() | NAMES,
    timestamp=st.none() | st.datetimes().map(lambda at: at.replace(year=2026, microsecond=0, tzinfo=None)),
    app_id=st.none() | NAMES,
)
DELIVERED = st.builds(Delivered, NAMES, st.integers(1, 2**63 - 1), st.booleans(), NAMES, NAMES)
DELIVERIES = st.tuples(DELIVERED, PROPERTIES, st.lists(st.binary(min_size=1, max_size=30), max_size=3))
RPC = st.sampled_from([commands.Basic.ConsumeOk("tag"), commands.Channel.Close(404, "gone", 0, 0), Heartbeat()])


def frames(delivery: tuple[Delivered, commands.Basic.Properties, list[bytes]], channel: int) -> list[bytes]:
    """As a broker would send it."""
    (consumer, tag, redelivered, exchange, routing_key), properties, parts = delivery
    method = commands.Basic.Deliver(consumer, tag, redelivered, exchange, routing_key)
    head = header.ContentHeader(0, sum(map(len, parts)), properties)
    contents = [frame.marshal(body.ContentBody(part), channel) for part in parts]
    return [frame.marshal(method, channel), frame.marshal(head, channel), *contents]


def feed(data: bytes, cuts: Sequence[int]) -> tuple[list[tuple[Delivered, Any, bytes]], bytes]:
    """What the sink got, and what aiormq would read."""
    found = []
    loop = asyncio.new_event_loop()
    try:
        reader = Reader({CONSUMED: lambda *each: found.append(each)}, loop)
        places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
        for begin, end in pairwise(places):
            reader.feed_data(data[begin:end])
        reader.feed_eof()
        return found, loop.run_until_complete(reader.read())
    finally:
        loop.close()


@pytest.mark.invariant("I22")
@given(
    st.lists(st.tuples(st.just("consumed"), DELIVERIES) | st.tuples(st.just("other"), DELIVERIES) | RPC, max_size=6),
    st.lists(st.integers(0, 1000), max_size=8),
)
def test_deliveries_go_to_their_consumer_and_all_else_to_aiormq(sent: list[Any], cuts: list[int]) -> None:
    data, others, expected = b"", b"", []
    for each in sent:
        if not isinstance(each, tuple):
            others += (written := frame.marshal(each, 0 if isinstance(each, Heartbeat) else CONSUMED))
        else:
            kind, delivery = each
            written = b"".join(frames(delivery, CONSUMED if kind == "consumed" else OTHER))
            if kind == "consumed":
                expected.append(delivery)
            else:
                others += written
        data += written
    found, rest = feed(data, cuts)
    assert rest == others
    assert [(delivered, content) for delivered, _, content in found] == [
        (delivered, b"".join(parts)) for delivered, _, parts in expected
    ]
    for (_, properties, _), (_, wanted, _) in zip(found, expected, strict=True):
        assert properties.marshal() == wanted.marshal()


def test_the_words_of_another_protocol_reach_aiormq() -> None:
    found, rest = feed(b"HTTP/1.1 400 Bad Request\r\n\r\n", [3, 9])
    assert (found, rest) == ([], b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert feed(b"AMQP\x00\x00\x09\x01", [7]) == ([], b"AMQP\x00\x00\x09\x01")


def test_what_ends_in_the_middle_of_a_frame_reaches_aiormq() -> None:
    begun = frame.marshal(commands.Basic.ConsumeOk("tag"), CONSUMED)[:-3]
    assert feed(begun, []) == ([], begun)
