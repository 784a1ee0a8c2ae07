"""Queues that are made as `[queues]` says: as another program declares them, and with every promise kept."""

from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import ChannelPreconditionFailed

from bus.declaration import Declaration
from bus.message import ATTEMPT, REASON
from bus.rabbitmq import open_rabbitmq
from bus.retry import Dead, Release, Retry
from bus.store import RefusedError, Source, StoreError
from tests.kit.broker import Node, foreign
from tests.kit.consuming import trigger, working
from tests.kit.stores import fill, fresh, ids, message, settle, source, take, to
from tests.kit.support import Bench

CLASSIC = Declaration(type="classic")


async def declare(url: str, queue: str, arguments: dict[str, Any] | None = None) -> None:
    """Declare it like a client that does so before it uses a queue: pika's `queue_declare(queue, durable=True)`."""
    async with foreign(url) as other:
        await other.declare_queue(queue, durable=True, arguments=arguments)


async def test_a_client_that_declares_a_plain_durable_queue_finds_it(rabbitmq: Node) -> None:
    url, queue, delayed, plain = rabbitmq.fresh_url(), fresh(), fresh("delayed"), fresh("plain")
    declarations = {queue: CLASSIC, delayed: CLASSIC}
    async with open_rabbitmq(url, declarations=declarations) as store:
        [sent] = await fill(store, queue, 1)
        await store.publish(to(delayed, message(), delay_s=0.01))
        await fill(store, plain, 1)
    async with foreign(url) as other:
        found = await other.declare_queue(queue, durable=True)
        await other.declare_queue(delayed, durable=True)
        got = await found.get(timeout=5)
        assert got is not None
        assert got.message_id == sent
        assert got.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    with pytest.raises(ChannelPreconditionFailed, match="x-queue-type"):
        await declare(url, plain)


@pytest.mark.parametrize(
    "declaration",
    [
        Declaration(type="classic", arguments={"x-max-priority": 3, "x-queue-mode": "lazy"}),
        Declaration(arguments={"x-max-length": 10, "x-overflow": "reject-publish", "x-quorum-initial-group-size": 1}),
    ],
)
async def test_arguments_are_those_of_the_queue(rabbitmq: Node, declaration: Declaration) -> None:
    url, queue, dead = rabbitmq.fresh_url(), fresh(), fresh("dead")
    origin = Source(queue=queue, function="f", dead_letter=dead)
    async with open_rabbitmq(url, declarations={queue: declaration, dead: declaration}) as store:
        async with store.consume(origin, prefetch=2) as consumer:
            sent = await fill(store, queue, 1)
            assert ids(await take(consumer)) == sent
        for name in (queue, dead):
            await declare(url, name, declaration.whole(0))


async def test_a_full_queue_takes_nothing_and_loses_nothing(rabbitmq: Node) -> None:
    url, queue = rabbitmq.fresh_url(), fresh()
    limited = Declaration(type="classic", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    async with open_rabbitmq(url, declarations={queue: limited}) as store:
        sent = [*await fill(store, queue, 1), *await fill(store, queue, 1)]
        with pytest.raises(StoreError, match="it is full"):
            await fill(store, queue, 1)
        async with store.consume(source(queue), prefetch=2) as consumer:
            assert sorted(ids(await take(consumer, 2))) == sorted(sent)


async def test_attempts_on_a_classic_queue_are_counted_as_on_any(rabbitmq: Node) -> None:
    url, origin = rabbitmq.fresh_url(), source(fresh())

    async with open_rabbitmq(url, declarations={origin.queue: CLASSIC}) as store:
        [sent] = await fill(store, origin.queue, 1)
        async with store.consume(origin, prefetch=1) as consumer:
            for _ in range(25):  # more often than any delivery limit of a quorum queue
                [delivery] = await take(consumer)
                assert (delivery.message.id, delivery.attempt) == (sent, 1)
                await settle(store, [delivery], Release(0.0))
            [delivery] = await take(consumer)
            await settle(store, [delivery], Retry(0.0, "again"))
            [second] = await take(consumer)
            assert second.attempt == 2
        async with store.consume(origin, prefetch=1) as consumer:  # which got back what was not settled
            [again] = await take(consumer)
            await settle(store, [again])
            assert (again.message.id, again.attempt) == (sent, 2)


async def test_a_message_that_kills_instances_dies_on_a_classic_queue_too(rabbitmq: Node, bench: Bench) -> None:
    url, queue = rabbitmq.fresh_url(), fresh()
    spec, consumed = bench.spec("crashing", "hard_exit"), trigger(queue)
    async with working(bench, lambda: open_rabbitmq(url, declarations={queue: CLASSIC}), spec, consumed) as running:
        [poison] = await running.send(queue, 3)
        await running.settled(1)
        [letter] = await running.dead(queue, 1)
        assert [type(decision) for decision in running.decided(poison)] == [Retry, Retry, Dead]
    assert (letter.headers[REASON], letter.headers[ATTEMPT]) == ("Attempts", 3)
    await declare(url, queue)


async def test_a_queue_that_exists_otherwise_is_used_and_reported_once(
    rabbitmq: Node, caplog: pytest.LogCaptureFixture
) -> None:
    url, origin, same, missing = rabbitmq.fresh_url(), source(fresh()), fresh("same"), fresh("missing")
    await declare(url, origin.queue, {"x-max-priority": 3})
    await declare(url, same)
    declarations = {origin.queue: Declaration(), same: CLASSIC, missing: CLASSIC}
    async with (
        open_rabbitmq(url, declarations=declarations) as store,
        store.consume(origin, prefetch=1) as consumer,
    ):
        sent = await fill(store, origin.queue, 1)
        assert ids(await take(consumer)) == sent
        assert (await store.statistics(missing)).ready == 0
    [line] = [record.getMessage() for record in caplog.records if "[queues]" in record.getMessage()]
    assert origin.queue in line
    assert "PRECONDITION_FAILED" in line
    assert "x-max-priority" in line or "x-queue-type" in line
    await declare(url, missing, {"x-max-length": 1})  # it was not made by looking


async def test_what_is_sent_to_a_queue_that_others_declare_waits_for_them(rabbitmq: Node) -> None:
    url, queue = rabbitmq.fresh_url(), fresh()
    async with open_rabbitmq(url, declarations={queue: Declaration(declare=False)}) as store:
        for delay_s in (0.0, 1.0):
            with pytest.raises(StoreError, match="declare = false") as raised:
                await store.publish(to(queue, message(), delay_s=delay_s))
            assert not isinstance(raised.value, RefusedError)
        with pytest.raises(StoreError, match="declare = false"):
            await store.consume(source(queue), prefetch=1).__aenter__()
        await declare(url, queue, {"x-message-ttl": 60_000})
        [sent] = await fill(store, queue, 1)
        async with foreign(url) as other:
            got = await (await other.get_queue(queue)).get(timeout=5)
            assert got is not None
            assert got.message_id == sent
