"""Messages and queues of other programs on RabbitMQ, whatever their form."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiormq
import pytest
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from bus.message import FIRST_ERROR
from bus.rabbitmq import open_rabbitmq
from bus.rabbitmq.fields import Instant, RawName
from bus.retry import Ack, Dead, Retry
from bus.store import RefusedError, Settlement
from tests.kit.consuming import trigger, working
from tests.kit.stores import LIMIT_S, browsed, fill, fresh, message, settle, source, take, to
from tests.kit.support import Bench
from triggers.queue.codec import identified


@pytest.fixture
async def stranger(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    """Open a channel of another program."""
    connection = await aiormq.connect(amqp_url)
    yield await connection.channel()
    await connection.close()


async def test_a_copy_goes_to_no_queue_that_its_sender_selected(amqp_url: str, stranger: AbstractChannel) -> None:
    origin, other = source(fresh()), fresh("other")
    async with open_rabbitmq(amqp_url) as store, store.consume(origin, prefetch=2) as consumer:
        await fill(store, other, 1)
        properties = Basic.Properties(message_id="m", headers={"CC": [other]})
        await stranger.basic_publish(b"1", routing_key=origin.queue, properties=properties)
        for decision in (Retry(0.0, "e"), Retry(0.02, "e"), Dead("Attempts", "e")):
            [delivery] = await take(consumer)
            assert delivery.message.headers["CC"] == [other]
            await store.settle([Settlement(delivery, decision)])
        [letter] = await browsed(store, origin.dead_letter, 1)
        await store.publish(to(origin.queue, letter))
        await store.publish(to(origin.queue, letter, delay_s=0.01))
        await settle(store, await take(consumer, 2))
        assert len(await browsed(store, other, 2)) == 2, "what was there, and what the sender itself distributed"


@pytest.mark.parametrize("delay_s", [0.0, 0.01])
async def test_a_header_called_cc_is_a_header(amqp_url: str, delay_s: float) -> None:
    queue = fresh()
    async with open_rabbitmq(amqp_url) as store, store.consume(source(queue), prefetch=1) as consumer:
        await store.publish(to(queue, message(headers={"CC": "a@b.example", "BCC": "c"}), delay_s=delay_s))
        [delivery] = await take(consumer)
        assert delivery.message.headers == {"CC": "a@b.example", "BCC": "c"}


async def test_a_reply_reaches_the_exclusive_queue_of_the_asker(amqp_url: str, stranger: AbstractChannel) -> None:
    replies: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    declared = await stranger.queue_declare(exclusive=True)
    assert declared.queue is not None
    await stranger.basic_consume(declared.queue, replies.put, no_ack=True)
    async with open_rabbitmq(amqp_url) as store, asyncio.timeout(LIMIT_S):
        await store.publish(to(declared.queue, message(b"42", correlation_id="c")))
        reply = await replies.get()
        assert (reply.body, reply.header.properties.correlation_id) == (b"42", "c")
        with pytest.raises(RefusedError, match="RESOURCE_LOCKED"):
            await store.publish(to(declared.queue, message(), delay_s=0.01))


async def test_a_reply_reaches_a_direct_reply_to_address(amqp_url: str, stranger: AbstractChannel) -> None:
    replies: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    origin = source(fresh())
    async with (
        open_rabbitmq(amqp_url) as store,
        store.consume(origin, prefetch=1) as consumer,
        asyncio.timeout(LIMIT_S),
    ):
        await stranger.basic_consume("amq.rabbitmq.reply-to", replies.put, no_ack=True)
        asked = Basic.Properties(reply_to="amq.rabbitmq.reply-to", correlation_id="c")
        await stranger.basic_publish(b"?", routing_key=origin.queue, properties=asked)
        [delivery] = await take(consumer)
        address = delivery.message.reply_to
        assert address is not None
        assert "=" in address
        [answer], [late] = to(address, message(b"42")), to(address, message(), delay_s=0.01)
        with pytest.raises(RefusedError, match="cannot be delayed"):
            await store.settle([Settlement(delivery, Ack(), (late,))])
        await store.settle([Settlement(delivery, Ack(), (answer,))])
        assert (await replies.get()).body == b"42"
        with pytest.raises(RefusedError):
            await store.publish(to("amq.rabbitmq.reply-to.nobody", message()))


async def test_more_messages_than_amqp_can_count_may_be_wanted(amqp_url: str) -> None:
    queue = fresh()
    async with open_rabbitmq(amqp_url) as store, store.consume(source(queue), prefetch=80_000) as consumer:
        await fill(store, queue, 3)
        assert len(await take(consumer, 3)) == 3


async def test_names_that_are_not_text_are_kept_through_retries_and_death(
    amqp_url: str, stranger: AbstractChannel
) -> None:
    origin, raw = source(fresh()), RawName(b"\xff" * 100)
    properties = Basic.Properties(message_id=raw, correlation_id=raw, reply_to=raw, message_type=raw, app_id=raw)
    properties.headers = {"sent": Instant(1_767_322_445_000)}
    async with open_rabbitmq(amqp_url) as store, store.consume(origin, prefetch=1) as consumer:
        await store.publish(to(origin.queue, message(id="first")))
        await settle(store, await take(consumer))
        await stranger.basic_publish(b"1", routing_key=origin.queue, properties=properties)
        [first] = await take(consumer)
        await store.settle([Settlement(first, Retry(0.0, "e"))])
        [second] = await take(consumer)
        assert (second.message.id, second.attempt, second.envelope.type) == (str(raw), 2, str(raw))
        await store.settle([Settlement(second, Dead("Attempts", "e"))])
        [letter] = await browsed(store, origin.dead_letter, 1)
        assert (letter.id, letter.headers[FIRST_ERROR]) == (str(raw), "e")
        await store.publish(to(origin.queue, letter))
        [replayed] = await take(consumer)
        assert isinstance(replayed.lease.properties.message_id, RawName), "the bytes that came"


async def test_a_handler_replies_to_the_asker_and_sees_the_amqp_properties(
    bench: Bench, amqp_url: str, stranger: AbstractChannel
) -> None:
    """RabbitMQ's tutorial on remote procedure calls, with its client as the caller; the body is compressed."""
    replies: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    queue, answers = fresh(), await stranger.queue_declare(exclusive=True)
    await stranger.basic_consume(answers.queue or "", replies.put, no_ack=True)
    asked = Basic.Properties(
        content_type="application/json",
        content_encoding="gzip",
        correlation_id="c",
        reply_to=answers.queue,
        message_type="fib",
        app_id="client",
        user_id="guest",
        priority=3,
        expiration="60000",
        timestamp=datetime(2026, 1, 2, tzinfo=UTC),
    )
    spec = bench.spec("queue", "replies")
    async with working(bench, lambda: open_rabbitmq(amqp_url), spec, trigger(queue)), asyncio.timeout(LIMIT_S):
        await stranger.basic_publish(gzip.compress(b'{"n": 7}'), routing_key=queue, properties=asked)
        reply = await replies.get()
    assert (reply.header.properties.correlation_id, reply.header.properties.reply_to) == ("c", queue)
    told = json.loads(reply.body)
    assert told["data"] == {"n": 7}
    assert (
        told["queue"]
        | {
            "content_encoding": "gzip",
            "type": "fib",
            "app_id": "client",
            "user_id": "guest",
            "priority": 3,
            "expiration": "60000",
            "timestamp": "2026-01-02T00:00:00Z",
        }
        == told["queue"]
    )


async def test_a_message_without_an_id_has_the_same_event_however_often_it_comes(
    bench: Bench, amqp_url: str, stranger: AbstractChannel
) -> None:
    queue = fresh()
    async with open_rabbitmq(amqp_url) as store, store.consume(source(queue), prefetch=1) as consumer:
        asked = Basic.Properties(app_id="shop", content_type="application/json")
        await stranger.basic_publish(b'"bad"', routing_key=queue, properties=asked)
        [given_back] = await take(consumer)
    spec = bench.spec("queue", "picky")
    async with working(bench, lambda: open_rabbitmq(amqp_url), spec, trigger(queue)) as running:
        await running.settled(1)
    assert [event.id for event, *_ in running.reports] == [identified(given_back).message.id] * 3
    assert running.reports[0][0].queue is not None
    assert running.reports[0][0].queue.redelivered
