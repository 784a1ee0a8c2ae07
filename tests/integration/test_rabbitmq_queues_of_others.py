"""Queues made by others, with any arguments and policies: messages that do not run are neither lost nor taken early."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest

from bus.message import Delivery, dead_queue
from bus.rabbitmq import open_rabbitmq
from bus.retry import Release, Retry
from bus.store import Consumer, Source, Store, StoreError
from tests.kit.broker import Node, foreign
from tests.kit.stores import drain, fill, fresh, ids, settle, source, take
from tests.kit.support import until


async def take_and_settle(store: Store, consumer: Consumer, count: int) -> list[Delivery]:
    """Run one after the other until all are done."""
    got: list[Delivery] = []
    while len(got) < count:
        deliveries = await take(consumer)
        await settle(store, deliveries)
        got += deliveries
    return got


LIMITS = [{"x-queue-type": "quorum", "x-delivery-limit": limit} for limit in (0, 2)]
KINDS: list[dict[str, Any]] = [*LIMITS, {"x-queue-type": "classic"}]


@pytest.mark.parametrize("arguments", KINDS, ids=["limit 0", "limit 2", "classic"])
async def test_messages_given_back_unrun_stay_however_often(rabbitmq: Node, arguments: dict[str, Any]) -> None:
    url, origin = rabbitmq.fresh_url(), source(fresh())
    async with foreign(url) as other:
        await other.declare_queue(origin.queue, durable=True, arguments=arguments)
    async with open_rabbitmq(url) as store, store.consume(origin, prefetch=2) as consumer:
        sent = await fill(store, origin.queue, 4)
        for _ in range(8):
            await settle(store, await take(consumer), Release(0.0))
        for _ in range(4):
            taken = await take(consumer)
            await consumer.pause()
            await settle(store, taken, Release(0.0))
            await consumer.resume()
        got = await take_and_settle(store, consumer, len(sent))
        assert sorted(ids(got)) == sorted(sent)
        assert {each.attempt for each in got} == {1}
        assert (await store.statistics(origin.queue)).ready == 0


async def test_a_policy_counts_for_our_queues_too(rabbitmq: Node) -> None:
    url, origin = rabbitmq.fresh_url(), source(fresh())
    vhost = url.rpartition("/")[2]
    await rabbitmq.wait_ctl("set_policy", "--vhost", vhost, "limit", ".*", '{"delivery-limit":1}')
    async with open_rabbitmq(url) as store, store.consume(origin, prefetch=1) as consumer:
        sent = await fill(store, origin.queue, 3)
        for _ in range(12):
            await settle(store, await take(consumer), Release(0.0))
        got = await take_and_settle(store, consumer, len(sent))
        assert sorted(ids(got)) == sorted(sent)


@pytest.mark.parametrize("prefetch", [1, 4])
async def test_pausing_leaves_an_auto_delete_queue_alone(rabbitmq: Node, prefetch: int) -> None:
    url, origin = rabbitmq.fresh_url(), source(fresh())
    async with foreign(url) as other, open_rabbitmq(url) as store:
        news = await other.declare_exchange("news", "fanout")
        queue = await other.declare_queue(origin.queue, auto_delete=True)
        await queue.bind(news)
        async with store.consume(origin, prefetch) as consumer:
            await consumer.pause()
            for number in range(6):
                await news.publish(aio_pika.Message(b"", message_id=str(number)), "")
            assert consumer.next_nowait() is None
            assert not consumer.is_consuming
            await consumer.resume()
            [first] = await take(consumer)
            await settle(store, [first], Retry(0.0, "again"))
            got = await take_and_settle(store, consumer, 6)
            assert sorted(ids(got)) == list("012345")
            assert sorted(each.attempt for each in got) == [1, 1, 1, 1, 1, 2]
            await other.declare_queue(origin.queue, auto_delete=True)  # refused if it were another one
            await news.publish(aio_pika.Message(b"", message_id="bound"), "")
            assert ids(await take(consumer)) == ["bound"]


async def test_a_deleted_queue_of_others_is_awaited_and_not_recreated(rabbitmq: Node) -> None:
    url, origin = rabbitmq.fresh_url(), source(fresh())
    async with foreign(url) as other, open_rabbitmq(url) as store:
        await other.declare_queue(origin.queue, auto_delete=True)
        async with store.consume(origin, prefetch=1) as consumer:
            await other.queue_delete(origin.queue)
            await until(lambda: not consumer.is_consuming)
            await asyncio.sleep(1.0)  # long enough for several looks
            await other.declare_queue(origin.queue, auto_delete=True)  # refused if it had been made meanwhile
            sent = await fill(store, origin.queue, 1)
            assert ids(await take(consumer)) == sent


async def test_queues_that_cannot_be_consumed_are_reported_at_start(rabbitmq: Node) -> None:
    url, stream, locked = rabbitmq.fresh_url(), fresh("stream"), fresh("locked")
    async with foreign(url) as other, open_rabbitmq(url) as store:
        await other.declare_queue(stream, durable=True, arguments={"x-queue-type": "stream"})
        await other.declare_queue(locked, exclusive=True)
        for queue, why in ((stream, "is a stream"), (locked, "RESOURCE_LOCKED")):
            with pytest.raises(StoreError, match=why):
                await store.consume(source(queue), prefetch=1).__aenter__()


@pytest.fixture
async def impatient(rabbitmq: Node) -> AsyncIterator[Node]:
    """Yield the node with a `consumer_timeout` of one second, which applies to channels opened now."""
    await rabbitmq.wait_ctl("eval", _SET.format(timeout=1000, tick=100))
    yield rabbitmq
    await rabbitmq.wait_ctl("eval", _SET.format(timeout=1_800_000, tick=60_000))


_SET = """
[application:set_env(rabbit, Key, Value) || {{Key, Value}} <-
  [{{consumer_timeout, {timeout}}}, {{channel_tick_interval, {tick}}}]].
"""


async def test_a_retry_is_not_taken_before_it_can_run(impatient: Node) -> None:
    origin = source(fresh())
    async with open_rabbitmq(impatient.fresh_url()) as store, store.consume(origin, prefetch=1) as consumer:
        await fill(store, origin.queue, 5)
        [first] = await take(consumer)
        await settle(store, [first], Retry(0.1, "again"))
        runs = []
        for _ in range(5):
            [delivery] = await take(consumer)
            runs.append(delivery)
            await asyncio.sleep(0.7)  # the work: less than the broker allows, though two would be more
            await settle(store, [delivery])
        assert sorted(each.attempt for each in runs) == [1, 1, 1, 1, 2]
        assert not any(each.redelivered for each in runs)


async def test_a_call_longer_than_the_broker_allows_counts_as_an_attempt(
    impatient: Node, caplog: pytest.LogCaptureFixture
) -> None:
    origin = source(fresh())
    async with open_rabbitmq(impatient.fresh_url()) as store, store.consume(origin, prefetch=1) as consumer:
        [sent] = await fill(store, origin.queue, 1)
        for attempt in (1, 2, 3):
            [delivery] = await take(consumer)
            assert (delivery.message.id, delivery.attempt) == (sent, attempt)
            await until(lambda: "consumer_timeout" in caplog.text)
            caplog.clear()
            assert consumer.next_nowait() is None, "its place is taken for as long as its handler runs"
            await settle(store, [delivery])
        await settle(store, await take(consumer))
        assert (await store.statistics(origin.queue)).ready == 0


async def test_a_source_of_others_may_be_shared_with_its_dead_letters(rabbitmq: Node) -> None:
    url, queue = rabbitmq.fresh_url(), fresh()
    origin = Source(queue=queue, function="f", dead_letter=f"{queue}.dead")
    async with open_rabbitmq(url) as store, store.consume(origin, prefetch=1), foreign(url) as other:
        await other.declare_queue(f"{queue}.dead", passive=True)
        sent = await fill(store, f"{queue}.dead", 1)
        assert ids(await drain(store, f"{queue}.dead", 1)) == sent


LOOKED_AT = [{"x-queue-type": "quorum", "x-delivery-limit": limit} for limit in (0, 1)]


@pytest.mark.parametrize("arguments", [*LOOKED_AT, {}], ids=["limit 0", "limit 1", "classic"])
async def test_looking_at_letters_takes_none_away(rabbitmq: Node, arguments: dict[str, Any]) -> None:
    url, queue = rabbitmq.fresh_url(), fresh()
    async with foreign(url) as other, open_rabbitmq(url) as store:
        await other.declare_queue(queue, durable=True, arguments=arguments)
        exchange = other.default_exchange
        for number in range(4):
            headers: dict[str, Any] = {"number": number, "CC": ["elsewhere"]}
            letter = aio_pika.Message(b"body", headers=headers, message_id=f"m{number}")
            await exchange.publish(letter, queue)
        keys = [each.key for each in await store.browse(queue, 9)]
        assert len(set(keys)) == 4
        for _ in range(4):
            found = await store.browse(queue, 9)
            assert [each.key for each in found] == keys
            assert [each.message.headers["number"] for each in found] == [0, 1, 2, 3]
            assert found[0].message.headers["CC"] == ["elsewhere"]
            assert [each.message.id for each in found] == ["m0", "m1", "m2", "m3"]
            shown = await store.fetch(queue, keys[0])
            assert shown is not None
            assert shown.message.body == b"body"
        assert await store.take_out(queue, [keys[1]]) == 1
        assert [each.key for each in await store.browse(queue, 9)] == [keys[0], *keys[2:]]
        assert (await store.statistics(queue)).ready == 3
        assert (await store.statistics("elsewhere")).ready == 0


@pytest.mark.long_form
async def test_our_letters_stay_under_a_policy(rabbitmq: Node) -> None:
    url = rabbitmq.fresh_url()
    vhost, queue = url.rpartition("/")[2], dead_queue("f")
    await rabbitmq.wait_ctl("set_policy", "--vhost", vhost, "limit", ".*", '{"delivery-limit":1}')
    async with open_rabbitmq(url) as store:
        sent = await fill(store, queue, 250)
        order = [each.message.id for each in await store.browse(queue, 300)]
        assert sorted(map(str, order)) == sorted(sent)
        for limit in (9, 9, 300, 300, 9, 300):
            found = await store.browse(queue, limit)
            assert [each.message.id for each in found] == order[:limit]
