"""Any store: who gets a message when, and that none is lost between consumers that come, pause, and go."""

import asyncio

import pytest

from bus.message import Delivery
from tests.kit.stores import StoreFactory, drain, fill, fresh, ids, message, settle, source, take, to


async def test_a_message_reaches_a_consumer_that_waits(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=1) as consumer:
        waiting = asyncio.create_task(take(consumer))
        [sent] = await fill(store, queue, 1)
        [delivery] = await waiting
        assert delivery.message.id == sent
        await settle(store, [delivery])


async def test_no_more_than_prefetch_are_taken(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=2) as greedy:
        sent = await fill(store, queue, 5)
        taken = await take(greedy, 2)
        async with store.consume(source(queue), prefetch=5) as other:
            others = await take(other, 3)
            assert greedy.next_nowait() is None
            assert sorted(ids(taken + others)) == sorted(sent)
            await settle(store, taken + others)


async def test_settling_makes_room(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=1) as consumer:
        sent = await fill(store, queue, 3)
        for expected in sent:
            [delivery] = await take(consumer)
            assert delivery.message.id == expected
            await settle(store, [delivery])


async def test_what_is_here_is_had_without_waiting(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=10) as consumer:
        assert consumer.next_nowait() is None
        sent = await fill(store, queue, 2)
        found = await take(consumer)
        while len(found) < len(sent):
            delivery = consumer.next_nowait()
            found += await take(consumer) if delivery is None else [delivery]
        assert ids(found) == sent
        assert consumer.next_nowait() is None
        await settle(store, found)


async def test_several_consumers_share_a_queue(stores: StoreFactory) -> None:
    queue = fresh()
    async with (
        stores() as store,
        store.consume(source(queue), prefetch=3) as one,
        store.consume(source(queue), prefetch=3) as two,
    ):
        sent = await fill(store, queue, 6)
        taken = [*await take(one, 3), *await take(two, 3)]
        assert sorted(ids(taken)) == sorted(sent)
        await settle(store, taken)


async def test_what_a_consumer_leaves_comes_to_the_next(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        sent = await fill(store, queue, 3)
        async with store.consume(source(queue), prefetch=3) as consumer:
            [first] = await take(consumer)
        async with store.consume(source(queue), prefetch=3) as consumer:
            deliveries = await take(consumer, 3)
            await settle(store, deliveries)
    assert sorted(ids(deliveries)) == sorted(sent)
    [again] = [each for each in deliveries if each.message.id == first.message.id]
    assert (again.redelivered, again.attempt) == (True, 1)


async def test_what_a_consumer_leaves_comes_to_one_that_waits(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=1) as patient:
        async with store.consume(source(queue), prefetch=1) as leaving:
            sent = await fill(store, queue, 2)
            taken = [*await take(patient), *await take(leaving)]
            assert sorted(ids(taken)) == sorted(sent)
        await settle(store, taken[:1])
        [again] = await take(patient)
        assert ids([again]) == ids(taken[1:])
        await settle(store, [again])


async def test_a_paused_consumer_takes_nothing_and_gives_back_what_it_holds(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=10) as paused:
        first = await fill(store, queue, 3)
        [in_hand] = await take(paused)
        await paused.pause()
        await paused.pause()
        assert not paused.is_consuming
        later = await fill(store, queue, 2)
        deliveries = await drain(store, queue, 4)
        assert sorted(ids(deliveries)) == sorted([*first[1:], *later])
        assert {each.attempt for each in deliveries} == {1}
        assert paused.next_nowait() is None
        await settle(store, [in_hand])


async def test_a_resumed_consumer_takes_again(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=2) as consumer:
        sent = await fill(store, queue, 4)
        [in_hand] = await take(consumer)
        await consumer.pause()
        await consumer.resume()
        await consumer.resume()
        assert consumer.is_consuming
        await settle(store, [in_hand])
        seen = ids([in_hand])
        for _ in sent[1:]:
            deliveries = await take(consumer)
            seen += ids(deliveries)
            await settle(store, deliveries)
        assert sorted(seen) == sorted(sent)


async def test_what_is_settled_while_pausing_is_settled(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=2) as consumer:
        sent = await fill(store, queue, 2)
        [in_hand] = await take(consumer)
        await consumer.pause()
        await settle(store, [in_hand])
        assert ids(await drain(store, queue, 1)) == sent[1:]
        assert (await store.statistics(queue)).ready == 0


async def test_waiting_can_be_cancelled_without_loss(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=30) as consumer:
        waiting = [asyncio.create_task(consumer.next()) for _ in range(3)]
        publishing = asyncio.create_task(fill(store, queue, 30))
        found: list[Delivery] = []
        while len(found) < 30:
            waiting[0].cancel()
            waiting.append(asyncio.create_task(consumer.next()))
            await asyncio.wait(waiting, timeout=0.01)
            ended = [task for task in waiting if task.done()]
            waiting = [task for task in waiting if not task.done()] or [asyncio.create_task(consumer.next())]
            found += [task.result() for task in ended if not task.cancelled()]
        for task in waiting:
            task.cancel()
        assert sorted(ids(found)) == sorted(await publishing)
        await settle(store, found)


async def test_waiters_of_one_consumer_get_one_each(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=3) as consumer:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(take(consumer)) for _ in range(3)]
            sent = await fill(store, queue, 3)
        found = [delivery for task in waiting for delivery in task.result()]
        assert sorted(ids(found)) == sorted(sent)
        await settle(store, found)


@pytest.mark.parametrize("prefetch", [1, 7])
async def test_every_message_comes_once_while_many_publish_and_consume(stores: StoreFactory, prefetch: int) -> None:
    queue, publishers, each = fresh(), 4, 25
    seen: list[str] = []
    async with stores() as store:

        async def consume() -> None:
            async with store.consume(source(queue), prefetch) as consumer:
                while True:
                    delivery = await consumer.next()
                    await settle(store, [delivery])
                    seen.extend(ids([delivery]))
                    if len(seen) == publishers * each:
                        return

        async def publish() -> list[str]:
            return [key for _ in range(each) for key in await fill(store, queue, 1)]

        consuming = [asyncio.create_task(consume()) for _ in range(3)]
        sent = [key for keys in await asyncio.gather(*(publish() for _ in range(publishers))) for key in keys]
        async with asyncio.timeout(20):
            await asyncio.wait(consuming, return_when=asyncio.FIRST_COMPLETED)
        for task in consuming:
            task.cancel()
        await asyncio.wait(consuming)
    assert sorted(seen) == sorted(sent)


async def test_every_message_comes_once_while_its_consumer_pauses_and_resumes(stores: StoreFactory) -> None:
    queue, count = fresh(), 60
    seen: list[str] = []
    async with stores() as store, store.consume(source(queue), prefetch=3) as consumer:

        async def work() -> None:
            while len(seen) < count:
                delivery = await consumer.next()
                seen.extend(ids([delivery]))
                await settle(store, [delivery])

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(work())
            sent: list[str] = []
            for number in range(count):
                publishing = group.create_task(fill(store, queue, 1))
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                await consumer.pause()
                sent += await publishing
                await consumer.resume()
    assert sorted(seen) == sorted(sent)


async def test_large_messages_are_not_all_taken_at_once_and_all_come(
    stores: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("bus.sqlite.store", "bus.rabbitmq.places"):
        monkeypatch.setattr(f"{module}.TAKEN_BYTES", 1_000_000)
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=200) as consumer:
        await store.publish(to(queue, *(message(bytes(100_000)) for _ in range(60))))
        seen, most = 0, 0
        while seen < 60:
            deliveries = await take(consumer)
            most = max(most, (await store.statistics(queue)).running)
            await settle(store, deliveries)
            seen += len(deliveries)
        assert most <= 40


async def test_a_consumer_shows_its_queue_and_what_it_holds(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=2) as consumer:
        await fill(store, queue, 1)
        [delivery] = await take(consumer)
        assert f"of {queue}: consuming, 1 of 2 " in repr(consumer)
        await settle(store, [delivery])
        await consumer.pause()
        assert f"of {queue}: paused" in repr(consumer)
