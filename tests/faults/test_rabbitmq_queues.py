"""Queues and consumers that the broker takes away, or has no room for; and messages that nobody should send."""

import asyncio
import struct
from typing import Any

import pytest
from pamqp.commands import Basic

from bus.message import LAST_ERROR, REASON, Outgoing
from bus.rabbitmq import open_rabbitmq
from bus.rabbitmq.fields import UNDECODABLE
from bus.retry import Ack, Dead, Retry, RetryPolicy, retry_or_dead
from bus.store import Settlement, Source, StoreError
from tests.kit.broker import Node, foreign
from tests.kit.stores import browsed, drain, fill, fresh, ids, message, settle, source, take, to
from tests.kit.support import until
from tests.kit.traffic import traffic

_CANCEL_SILENTLY = """
{{ok, Queue}} = rabbit_amqqueue:lookup({{resource, <<"{vhost}">>, queue, <<"{queue}">>}}),
[gen_server2:call(amqqueue:get_pid(Queue), {{basic_cancel, element(1, Each), element(2, Each), undefined, <<"x">>}})
 || Each <- rabbit_amqqueue:consumers(Queue)].
"""


async def test_the_queue_is_deleted_under_the_consumer(rabbitmq: Node) -> None:
    url, origin = rabbitmq.fresh_url(), source(fresh())
    async with open_rabbitmq(url) as store, store.consume(origin, prefetch=2) as consumer, foreign(url) as other:
        await other.queue_delete(origin.queue)
        await until(lambda: not consumer.is_consuming)  # what is published sooner may go into the queue that ends
        await until(lambda: consumer.is_consuming)
        sent = await fill(store, origin.queue, 2)
        assert sorted(ids(await take(consumer, 2))) == sorted(sent)


async def test_a_deleted_queue_that_may_not_be_made_is_waited_for(rabbitmq: Node) -> None:
    url, queue = rabbitmq.fresh_url(), fresh()
    origin = Source(queue=queue, function="f", dead_letter="dead", declare=False)
    async with open_rabbitmq(url) as store, foreign(url) as other:
        with pytest.raises(StoreError, match=f"no queue '{queue}'"):
            await store.consume(origin, prefetch=1).__aenter__()
        await other.declare_queue(queue, durable=True)
        async with store.consume(origin, prefetch=1) as consumer:
            await other.queue_delete(queue)
            await until(lambda: not consumer.is_consuming)
            await other.declare_queue(queue, durable=True)
            sent = await fill(store, queue, 1)
            assert ids(await take(consumer)) == sent


async def test_a_consumer_that_only_the_broker_knows_to_be_gone_is_noticed(rabbitmq: Node) -> None:
    url, queue = rabbitmq.fresh_url(), fresh()
    async with open_rabbitmq(url) as store, foreign(url) as other:
        await other.declare_queue(queue, durable=True)
        async with store.consume(source(queue), prefetch=2) as consumer:
            await rabbitmq.wait_ctl("eval", _CANCEL_SILENTLY.format(vhost=url.rpartition("/")[2], queue=queue))
            sent = await fill(store, queue, 2)
            assert sorted(ids(await take(consumer, 2))) == sorted(sent)


async def test_traffic_stands_still_under_a_memory_alarm_and_goes_on(rabbitmq: Node) -> None:
    async with open_rabbitmq(rabbitmq.fresh_url(), confirm_limit_s=1.0) as store:
        waiting, later = fresh("waiting"), fresh("later")
        sent = await fill(store, waiting, 3)
        async with traffic(store, source(fresh())):
            await rabbitmq.wait_memory_alarm(on=True)
            try:
                await until(lambda: not store.is_connected)
                with pytest.raises(StoreError, match="too little memory"):
                    await store.publish(to(later, message()))
                assert ids(await drain(store, waiting, 3)) == sent
            finally:
                await rabbitmq.wait_memory_alarm(on=False)
            await until(lambda: store.is_connected)
        assert len(await fill(store, later, 1)) == 1


async def test_a_full_queue_refuses(rabbitmq: Node) -> None:
    url, queue = rabbitmq.fresh_url(), fresh()
    async with open_rabbitmq(url) as store, foreign(url) as other:
        await other.declare_queue(queue, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await fill(store, queue, 1)
        with pytest.raises(StoreError, match="full"):
            await store.publish(to(queue, message()))


async def test_a_settlement_that_cannot_be_stored_leaves_the_message_leased(rabbitmq: Node) -> None:
    url, full, origin = rabbitmq.fresh_url(), fresh("full"), source(fresh())
    async with open_rabbitmq(url) as store, foreign(url) as other:
        await other.declare_queue(full, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await fill(store, full, 1)
        await fill(store, origin.queue, 2)
        async with store.consume(origin, prefetch=2) as consumer:
            bad, good = await take(consumer, 2)
            with pytest.raises(StoreError, match="full"):
                await store.settle([Settlement(bad, Ack(), tuple(to(full, message()))), Settlement(good, Ack())])
            assert (await store.statistics(origin.queue)).running == 1
            await settle(store, [bad])
        assert (await store.statistics(origin.queue)).ready == 0


class RawHeaders(Basic.Properties):
    """Properties whose headers are these bytes, well-formed or not."""

    raw = b""

    def encode_property(self, name: str, value: Any) -> bytes:
        if name == "headers":
            return struct.pack(">I", len(self.raw)) + self.raw
        return super().encode_property(name, value)


def nested(levels: int) -> bytes:
    data = b""
    for _ in range(levels):
        data = b"\x01xF" + struct.pack(">I", len(data)) + data
    return data


RAW = {
    "a name that is not UTF-8": b"\x02\xff\xfeV",
    "a string that is not UTF-8": b"\x01sS\0\0\0\x02\xff\xfe",
    "a time beyond all calendars": b"\x01tT" + b"\x7f" * 8,
    "a negative decimal": b"\x01dD\x02\xff\xff\xff\x85",
    "nested a thousand deep": nested(1000),
    "nearly a whole frame": b"\x01lS" + struct.pack(">I", 130_000) + b"x" * 130_000,
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW.keys())
async def test_absurd_headers_are_handled_like_any(rabbitmq: Node, raw: bytes) -> None:
    url, origin = rabbitmq.fresh_url(), source(fresh())
    async with open_rabbitmq(url) as store, foreign(url) as other, store.consume(origin, prefetch=2) as consumer:
        properties = RawHeaders(headers={"x": 1}, delivery_mode=2)
        properties.raw = raw
        channel = await other.get_underlay_channel()
        await channel.basic_publish(b"\xff" * (1 << 20), routing_key=origin.queue, properties=properties)
        neighbours = await fill(store, origin.queue, 1)
        first, second = sorted(await take(consumer, 2), key=lambda each: len(each.message.body), reverse=True)
        await store.settle([Settlement(first, Retry(0.0, "first")), Settlement(second, Ack())])
        [again] = await take(consumer)
        await settle(store, [again], Dead("Undecodable", "last"))
        assert ids([second]) == neighbours
        [dead] = await browsed(store, origin.dead_letter, 1)
    assert (again.attempt, len(dead.body)) == (2, 1 << 20)
    assert (dead.headers[REASON], dead.headers[LAST_ERROR]) == ("Undecodable", "last")
    if len(raw) < 130_000:
        assert again.message.headers == first.message.headers
        assert first.message.headers.items() <= dead.headers.items()
    assert (UNDECODABLE in first.message.headers) == (raw in (RAW["a name that is not UTF-8"], nested(1000)))


async def test_a_poison_message_is_dead_after_exactly_its_attempts(rabbitmq: Node) -> None:
    origin, policy = source(fresh()), RetryPolicy(attempts=3, backoff_s=0.02)
    async with open_rabbitmq(rabbitmq.fresh_url()) as store, store.consume(origin, prefetch=4) as consumer:
        sent = await fill(store, origin.queue, 5)
        tried: list[str] = []
        while len(tried) < 4 + 3:
            [delivery] = await take(consumer)
            tried += ids([delivery])
            poison = delivery.message.id == sent[2]
            decision = retry_or_dead("error/E: e", delivery.attempt, 0.0, policy, draw=0.5) if poison else Ack()
            await settle(store, [delivery], decision)
        [dead] = await browsed(store, origin.dead_letter, 1)
        assert consumer.next_nowait() is None
    assert sorted(tried) == sorted([*sent, sent[2], sent[2]])
    assert dead.id == sent[2]


async def test_no_delay_is_cut_short_and_none_stays(rabbitmq: Node) -> None:
    queue, delays = fresh(), (0.001, 0.05, 0.3, 0.31, 0.7, 1.1)
    async with open_rabbitmq(rabbitmq.fresh_url()) as store, store.consume(source(queue), prefetch=9) as consumer:
        clock = asyncio.get_running_loop().time
        begin, late = clock(), {message().id or "": delay_s for delay_s in delays}
        await store.publish([Outgoing(queue=queue, message=message(id=key), delay_s=s) for key, s in late.items()])
        for _ in delays:
            [delivery] = await take(consumer)
            assert clock() - begin >= late.pop(delivery.message.id or "")
        with pytest.raises(StoreError, match="at most"):
            await store.publish(to(queue, message(), delay_s=1e8))


async def test_a_queue_of_others_is_used_as_it_is(rabbitmq: Node) -> None:
    url, queue = rabbitmq.fresh_url(), fresh()
    async with open_rabbitmq(url) as store, foreign(url) as other:
        await other.declare_queue(queue, durable=True, arguments={"x-max-priority": 3})
        sent = await fill(store, queue, 2)
        assert ids(await drain(store, queue, 2)) == sent
