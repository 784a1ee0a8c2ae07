"""Any store: what is published comes to a consumer as it was, and stays until it is settled."""

from datetime import UTC, datetime
from typing import Any

import pytest

from bus.message import Message
from bus.retry import Dead
from bus.store import RefusedError, Settlement
from tests.kit.stores import StoreFactory, browsed, drain, fill, fresh, ids, message, settle, source, take, to


async def test_a_message_comes_as_it_was_sent(stores: StoreFactory) -> None:
    queue = fresh()
    sent = Message(
        id="a-1",
        body=b"\x00\xff\n" * 100,
        content_type="application/octet-stream",
        headers={"ce-type": "order", "traceparent": "00-1-2-01"},
        correlation_id="c-1",
        reply_to="answers",
    )
    async with stores() as store:
        await store.publish(to(queue, sent))
        [delivery] = await drain(store, queue, 1)
    assert delivery.message == sent
    assert (delivery.queue, delivery.attempt, delivery.redelivered, delivery.first_error) == (queue, 1, False, "")


async def test_a_bare_message_comes_as_it_was_sent(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        await store.publish(to(queue, Message()))
        [delivery] = await drain(store, queue, 1)
    assert delivery.message == Message()


@pytest.mark.parametrize(
    "value",
    [
        "word",
        "",
        "naïve ☂",
        -7,
        2**40,
        1.5,
        True,
        None,
        b"\x00\x01",
        datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        [1, "two", [3.0, None]],
        {"deep": {"deeper": [b"x", {"deepest": False}]}},
    ],
    ids=repr,
)
async def test_a_header_comes_back_with_its_type(stores: StoreFactory, value: object) -> None:
    queue = fresh()
    async with stores() as store:
        await store.publish(to(queue, message(headers={"it": value})))
        [delivery] = await drain(store, queue, 1)
    found = delivery.message.headers["it"]
    assert (found, type(found)) == (value, type(value))


async def test_a_large_body_comes_whole(stores: StoreFactory) -> None:
    queue, body = fresh(), bytes(range(256)) * 4096
    async with stores() as store:
        await store.publish(to(queue, message(body)))
        [delivery] = await drain(store, queue, 1)
    assert delivery.message.body == body


async def test_one_publish_serves_several_queues(stores: StoreFactory) -> None:
    first, second = fresh("first"), fresh("second")
    one, two = message(), message()
    async with stores() as store:
        await store.publish([*to(first, one), *to(second, two)])
        assert ids(await drain(store, first, 1)) == ids([one])
        assert ids(await drain(store, second, 1)) == ids([two])


async def test_messages_come_in_the_order_of_their_arrival(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        sent = [*await fill(store, queue, 20), *await fill(store, queue, 20)]
        assert ids(await drain(store, queue, 40)) == sent


async def test_a_delayed_message_comes_after_one_that_is_not(stores: StoreFactory) -> None:
    queue = fresh()
    late, soon = message(), message()
    async with stores() as store, store.consume(source(queue), prefetch=1) as consumer:
        await store.publish(to(queue, late, delay_s=0.5))
        await store.publish(to(queue, soon))
        for expected in (soon, late):
            [delivery] = await take(consumer)
            assert delivery.message == expected
            await settle(store, [delivery])


@pytest.mark.parametrize(
    ("queue", "fields", "told"),
    [
        ("q" * 256, {}, "the queue's name has 256 bytes, the limit is 255"),
        ("", {"id": "ä" * 128}, "the id has 256 bytes"),
        ("", {"content_type": "t" * 256}, "the content type has 256 bytes"),
        ("", {"correlation_id": "c" * 256}, "the correlation id has 256 bytes"),
        ("", {"reply_to": "r" * 256}, "the name in reply_to has 256 bytes"),
        ("", {"headers": {"h" * 256: 1}}, "a header's name has 256 bytes"),
        ("", {"headers": {"it": 1j}}, "complex"),
        ("", {"id": "lone \ud800"}, "the id is not valid UTF-8"),
    ],
)
async def test_what_no_store_can_hold_is_refused(
    stores: StoreFactory, queue: str, fields: dict[str, Any], told: str
) -> None:
    async with stores() as store:
        with pytest.raises(RefusedError, match=told):
            await store.publish(to(queue or fresh(), message(**fields)))


async def test_names_as_long_as_they_may_be_come_as_they_were_sent(stores: StoreFactory) -> None:
    queue = fresh("q" * 242)
    sent = message(id="i" * 255, content_type="t" * 255, headers={"h" * 255: "x"})
    async with stores() as store:
        await store.publish(to(queue, sent))
        [found] = await browsed(store, queue, 1)
    assert (len(queue), found) == (255, sent)


async def test_nothing_to_publish_is_nothing_to_do(stores: StoreFactory) -> None:
    async with stores() as store:
        await store.publish([])
        await store.settle([])


async def test_what_was_not_consumed_is_there_after_a_restart(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        sent = await fill(store, queue, 3)
    async with stores() as store:
        assert ids(await drain(store, queue, 3)) == sent


async def test_what_was_acknowledged_is_gone_after_a_restart(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        sent = await fill(store, queue, 3)
        async with store.consume(source(queue), prefetch=3) as consumer:
            await settle(store, (await take(consumer, 3))[:2])
    async with stores() as store:
        assert ids(await drain(store, queue, 1)) == sent[2:]
        assert (await store.statistics(queue)).ready == 0


async def test_what_was_taken_and_not_settled_comes_again_after_a_restart(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        sent = await fill(store, queue, 2)
        async with store.consume(source(queue), prefetch=2) as consumer:
            await take(consumer, 1)
    async with stores() as store:
        deliveries = await drain(store, queue, 2)
    assert sorted(ids(deliveries)) == sorted(sent)
    assert {each.attempt for each in deliveries} == {1}


@pytest.mark.parametrize("name", ["größe", "orders(eu)", "a|b", "x=y", "line\n", "tag:ex.org,2005:q?1", "ü" * 118])
async def test_any_text_names_a_queue(stores: StoreFactory, name: str) -> None:
    queue = f"{fresh()}{name}"
    async with stores() as store, store.consume(source(queue), prefetch=2) as consumer:
        await store.publish(to(queue, message(id="1")))
        await store.publish(to(queue, message(id="2"), delay_s=0.01))
        for delivery in await take(consumer, 2):
            assert delivery.queue == queue
            await store.settle([Settlement(delivery, Dead("Rejected", "no"))])
        assert len(await browsed(store, source(queue).dead_letter, 2)) == 2


async def test_a_name_that_is_no_text_is_refused_and_others_are_not(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        for name in ("\ud800", "q" * 256):
            with pytest.raises(RefusedError):
                await store.publish(to(name, message()))
        await fill(store, queue, 1)
        assert len(await browsed(store, queue, 1)) == 1
