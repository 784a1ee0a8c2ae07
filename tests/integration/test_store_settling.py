"""Any store: each decision does what `bus.retry` says, with what the handler sent, and through a restart."""

import asyncio
import time

import pytest

from bus.message import ATTEMPT, DIED_AT, FIRST_ERROR, FUNCTION, LAST_ERROR, QUEUE, REASON, Delivery
from bus.retry import Ack, Dead, Decision, Release, Retry
from bus.store import Settlement, Source, Store
from tests.kit.stores import StoreFactory, browsed, drain, fill, fresh, ids, message, settle, source, take, to


async def settle_one(store: Store, origin: Source, decision: Decision) -> Delivery:
    """Take the next message of the queue and settle it so."""
    async with store.consume(origin, prefetch=1) as consumer:
        [delivery] = await take(consumer)
        await settle(store, [delivery], decision)
    return delivery


async def test_acknowledged_messages_do_not_come_again(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=2) as consumer:
        sent = await fill(store, queue, 20)
        seen: list[str] = []
        while len(seen) < len(sent):
            deliveries = await take(consumer, 2)
            seen += ids(deliveries)
            await settle(store, deliveries)
        last = await fill(store, queue, 1)
        assert ids(await take(consumer)) == last
    assert sorted(seen) == sorted(sent)


async def test_a_retry_is_another_attempt_that_knows_the_first_error(stores: StoreFactory) -> None:
    queue = fresh()
    sent = message(headers={"own": "kept"})
    async with stores() as store, store.consume(source(queue), prefetch=1) as consumer:
        await store.publish(to(queue, sent))
        [first] = await take(consumer)
        await settle(store, [first], Retry(0.0, "error/One: first"))
        [second] = await take(consumer)
        await settle(store, [second], Retry(0.0, "error/Two: second"))
        [third] = await take(consumer)
        await settle(store, [third])
    assert [(each.attempt, each.first_error) for each in (first, second, third)] == [
        (1, ""),
        (2, "error/One: first"),
        (3, "error/One: first"),
    ]
    assert {each.message.id for each in (first, second, third)} == {sent.id}
    assert third.message.body == sent.body
    assert third.message.headers["own"] == "kept"


async def test_a_retry_waits_for_its_delay(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=2) as consumer:
        await fill(store, queue, 1)
        deliveries = await take(consumer)
        begin_s = time.monotonic()
        await settle(store, deliveries, Retry(0.5, "error/E: e"))
        await take(consumer)
    assert time.monotonic() - begin_s >= 0.5


async def test_attempts_are_counted_through_restarts(stores: StoreFactory) -> None:
    origin = source(fresh())
    async with stores() as store:
        await fill(store, origin.queue, 1)
        await settle_one(store, origin, Retry(0.0, "error/One: first"))
    async with stores() as store:
        await settle_one(store, origin, Retry(0.0, "error/Two: second"))
    async with stores() as store:
        [delivery] = await drain(store, origin.queue, 1)
    assert (delivery.attempt, delivery.first_error) == (3, "error/One: first")


async def test_the_age_counts_on_through_retries(stores: StoreFactory) -> None:
    origin = source(fresh())
    async with stores() as store:
        await fill(store, origin.queue, 1)
        first = await settle_one(store, origin, Retry(0.3, "error/E: e"))
        second = await settle_one(store, origin, Retry(0.3, "error/E: e"))
        [third] = await drain(store, origin.queue, 1)
    assert second.stored_at_s is not None
    assert third.stored_at_s == pytest.approx(second.stored_at_s, abs=0.1)
    if first.stored_at_s is not None:  # a broker tells it only of a message that was tried
        assert second.stored_at_s == pytest.approx(first.stored_at_s, abs=0.1)


async def test_a_dead_letter_says_what_became_of_it(stores: StoreFactory) -> None:
    origin = source(fresh(), function="resize")
    sent = message(b"\x00body", headers={"own": "kept"}, correlation_id="c")
    begin_s = time.time()
    async with stores() as store:
        await store.publish(to(origin.queue, sent))
        await settle_one(store, origin, Retry(0.0, "error/One: first"))
        await settle_one(store, origin, Dead("Attempts", "error/Two: second"))
        [letter] = await browsed(store, origin.dead_letter, 1)
        assert (await store.statistics(origin.queue)).ready == 0
    assert (letter.id, letter.body, letter.content_type) == (sent.id, sent.body, sent.content_type)
    assert letter.correlation_id == "c"
    died_at_s = letter.headers[DIED_AT]
    assert begin_s - 1 <= float(died_at_s) <= time.time() + 1
    assert {name: letter.headers[name] for name in (REASON, ATTEMPT, FIRST_ERROR, LAST_ERROR, QUEUE, FUNCTION)} == {
        REASON: "Attempts",
        ATTEMPT: 2,
        FIRST_ERROR: "error/One: first",
        LAST_ERROR: "error/Two: second",
        QUEUE: origin.queue,
        FUNCTION: "resize",
    }
    assert letter.headers["own"] == "kept"


async def test_who_dies_at_once_has_one_error(stores: StoreFactory) -> None:
    origin = source(fresh())
    async with stores() as store:
        await fill(store, origin.queue, 1)
        await settle_one(store, origin, Dead("Rejected", "error/Rejected: no"))
        [letter] = await browsed(store, origin.dead_letter, 1)
    assert letter.headers[ATTEMPT] == 1
    assert letter.headers[FIRST_ERROR] == letter.headers[LAST_ERROR] == "error/Rejected: no"


async def test_a_dead_letter_can_be_consumed_as_any_message(stores: StoreFactory) -> None:
    origin = source(fresh())
    async with stores() as store, store.consume(source(origin.dead_letter), prefetch=1) as undertaker:
        sent = await fill(store, origin.queue, 1)
        await settle_one(store, origin, Dead("Rejected", "error/Rejected: no"))
        [delivery] = await take(undertaker)
        await settle(store, [delivery])
    assert ids([delivery]) == sent
    assert delivery.queue == origin.dead_letter
    assert delivery.message.headers[QUEUE] == origin.queue


async def test_a_released_message_comes_again_uncounted(stores: StoreFactory) -> None:
    origin = source(fresh())
    async with stores() as store:
        await store.publish(to(origin.queue, message()))
        released = await settle_one(store, origin, Release(0.0))
        [delivery] = await drain(store, origin.queue, 1)
    assert (delivery.message.id, delivery.attempt, delivery.first_error) == (released.message.id, 1, "")


async def test_what_the_handler_sent_is_stored_with_any_decision(stores: StoreFactory) -> None:
    origin, target = source(fresh()), fresh("target")
    decisions: list[Decision] = [Ack(), Retry(0.0, "error/E: e"), Dead("Attempts", "error/E: e")]
    outputs = [message() for _ in decisions]
    async with stores() as store:
        await fill(store, origin.queue, len(decisions))
        async with store.consume(origin, prefetch=len(decisions)) as consumer:
            deliveries = await take(consumer, len(decisions))
            await store.settle(
                [
                    Settlement(delivery, decision, tuple(to(target, output)))
                    for delivery, decision, output in zip(deliveries, decisions, outputs, strict=True)
                ]
            )
    async with stores() as store:
        assert sorted(ids(await drain(store, target, 3))) == sorted(ids(outputs))
        assert ids(await drain(store, origin.queue, 1)) == ids(deliveries[1:2])
        assert ids(await browsed(store, origin.dead_letter, 1)) == ids(deliveries[2:])


async def test_a_lost_lease_is_no_error(stores: StoreFactory) -> None:
    origin = source(fresh())
    async with stores() as store:
        [sent] = await fill(store, origin.queue, 1)
        async with store.consume(origin, prefetch=1) as consumer:
            [delivery] = await take(consumer)
        await settle(store, [delivery])
        [again] = await drain(store, origin.queue, 1)
    assert again.message.id == sent


async def test_what_was_settled_before_its_consumer_left_does_not_come_again(stores: StoreFactory) -> None:
    """However many at once: those that a broker's channel holds back must not end with it."""
    origin, count = source(fresh()), 150
    async with stores() as store:
        await fill(store, origin.queue, count)
        async with store.consume(origin, prefetch=count) as consumer:
            await settle(store, await take(consumer, count))
        await fill(store, origin.queue, 1)
        assert len(await browsed(store, origin.queue, 1)) == 1


async def test_settling_many_at_once_from_many_tasks(stores: StoreFactory) -> None:
    origin = source(fresh())
    async with stores() as store, store.consume(origin, prefetch=50) as consumer:
        sent = await fill(store, origin.queue, 200)
        seen: list[str] = []

        async def work() -> None:
            while len(seen) < len(sent):
                [delivery] = await take(consumer)
                seen.extend(ids([delivery]))
                await settle(store, [delivery])
                if len(seen) == len(sent):
                    await fill(store, origin.queue, 4)  # so that nobody waits for what does not come

        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(work())
    assert sorted(seen[: len(sent)]) == sorted(sent)
