"""A delayed message whose queue is gone when it is due delays no other, and becomes a dead letter that says why."""

import asyncio

import aio_pika
import pytest

from bus.message import DIED_AT, LAST_ERROR, QUEUE, REASON, UNDELIVERED, Message, dead_queue, inbox
from bus.rabbitmq import Application, open_rabbitmq
from bus.retry import Retry
from bus.store import Source, Store
from tests.kit.broker import Node
from tests.kit.stores import LIMIT_S, browsed, drain, fill, fresh, ids, message, settle, source, take, to

GONE = 40
"""RabbitMQ handles 32 of a queue's dead-lettered messages at a time."""


async def undelivered(store: Store, count: int) -> list[Message]:
    """Return the dead letters once there are this many. A quorum queue in creation cannot be looked into yet."""
    async with asyncio.timeout(LIMIT_S):
        while (await store.statistics(UNDELIVERED)).ready < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return await browsed(store, UNDELIVERED, count)


async def test_messages_without_a_queue_delay_no_others(rabbitmq: Node, caplog: pytest.LogCaptureFixture) -> None:
    url, gone, mine, origin = rabbitmq.fresh_url(), fresh("gone"), fresh("mine"), source(fresh())
    async with open_rabbitmq(url) as store, await aio_pika.connect(url) as connection:
        lost = [message(headers={"own": "kept"}) for _ in range(GONE)]
        await store.publish(to(gone, *lost, delay_s=1.0))
        async with connection.channel() as other:
            await other.queue_delete(gone)
        letters = await undelivered(store, GONE)
        assert sorted(ids(letters)) == sorted(ids(lost))
        for letter in letters:
            assert {name: letter.headers[name] for name in (REASON, QUEUE, "own")} == {
                REASON: "Unroutable",
                QUEUE: gone,
                "own": "kept",
            }
            assert "was gone when" in str(letter.headers[LAST_ERROR])
            assert DIED_AT in letter.headers
            assert not [name for name in letter.headers if name.startswith("x-") or name == "forklight-to"]
        assert gone in caplog.text
        late = message()
        await store.publish(to(mine, late, delay_s=0.5))
        assert ids(await drain(store, mine, 1)) == [late.id]
        async with store.consume(origin, prefetch=1) as consumer:
            await fill(store, origin.queue, 1)
            await settle(store, await take(consumer), Retry(0.3, "again"))
            assert [each.attempt for each in await take(consumer)] == [2]


async def test_a_retry_without_its_queue_says_where_it_came_from(rabbitmq: Node) -> None:
    url = rabbitmq.fresh_url()
    origin = Source(queue=inbox("f"), function="f", dead_letter=dead_queue("f"))
    async with open_rabbitmq(url, Application("shop")) as store, await aio_pika.connect(url) as connection:
        [sent] = await fill(store, origin.queue, 1)
        async with store.consume(origin, prefetch=1) as consumer:
            await settle(store, await take(consumer), Retry(1.0, "error/E: first"))
            async with connection.channel() as other:
                await other.queue_delete("forklight.shop.retry.f.forklight.inbox.f")
            [letter] = await undelivered(store, 1)
    assert letter.id == sent
    assert letter.headers[QUEUE] == inbox("f")
    assert letter.headers["forklight-function"] == "f"
    assert letter.headers["forklight-attempt"] == 2
    assert letter.headers["forklight-first-error"] == "error/E: first"


async def test_another_node_takes_care_of_them(rabbitmq: Node) -> None:
    url, gone = rabbitmq.fresh_url(), fresh("gone")
    async with open_rabbitmq(url) as store:
        await store.publish(to(gone, message(), delay_s=1.0))
    async with await aio_pika.connect(url) as connection, connection.channel() as other:
        await other.queue_delete(gone)
    async with open_rabbitmq(url) as store:
        assert len(await undelivered(store, 1)) == 1
        assert await store.take_out(UNDELIVERED, None) == 1
