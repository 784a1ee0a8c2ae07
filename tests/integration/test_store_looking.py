"""Any store: what people see of it, and what they take out by hand."""

from collections.abc import Sequence

import pytest

from bus.store import Stored
from tests.kit.stores import StoreFactory, browsed, drain, fill, fresh, ids, message, source, take, to


def keys(stored: Sequence[Stored]) -> list[str]:
    return [each.key for each in stored]


async def test_a_queue_that_nobody_made_is_empty(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        assert store.is_connected
        found = await store.statistics(queue)
        assert (found.ready, found.running) == (0, 0)
        assert await store.browse(queue, 10) == []
        assert await store.take_out(queue, None) == 0


async def test_browsing_leaves_everything_where_it_is(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        sent = await fill(store, queue, 3)
        assert ids(await browsed(store, queue, 3)) == sent
        assert [each.message.id for each in await store.browse(queue, 2)] == sent[:2]
        assert ids(await drain(store, queue, 3)) == sent


async def test_some_are_taken_out_by_their_keys(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        sent = await fill(store, queue, 4)
        await browsed(store, queue, 4)
        stored = await store.browse(queue, 4)
        assert await store.take_out(queue, [stored[0].key, stored[2].key]) == 2
        assert sorted(ids(await browsed(store, queue, 2))) == sorted([sent[1], sent[3]])
        assert await store.take_out(queue, [stored[0].key, "no such key"]) == 0


async def test_every_second_of_many_is_taken_out_and_the_rest_is_there_at_once(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        await fill(store, queue, 100)
        await browsed(store, queue, 100)
        stored = await store.browse(queue, 100)
        meant, others = stored[::2], stored[1::2]
        assert await store.take_out(queue, keys(meant)) == 50
        assert (await store.statistics(queue)).ready == 50
        for _ in range(2):
            left = await store.browse(queue, 100)
            assert sorted(each.message.id or "" for each in left) == sorted(each.message.id or "" for each in others)
        assert (await store.statistics(queue)).ready == 50


@pytest.mark.parametrize("others", [0, 105])
async def test_all_that_are_named_are_gone_for_good(stores: StoreFactory, others: int) -> None:
    queue = fresh()
    async with stores() as store:
        sent = await fill(store, queue, 105 + others)
        stored = await store.browse(queue, 210)
        assert sorted(ids(each.message for each in stored)) == sorted(sent)
        meant, left = (stored[::2], stored[1::2]) if others else (stored, [])
        assert await store.take_out(queue, keys(meant)) == 105
        assert (await store.statistics(queue)).ready == others
        assert sorted(keys(await store.browse(queue, 210))) == sorted(keys(left))
        assert await store.take_out(queue, keys(meant)) == 0
        assert (await store.statistics(queue)).ready == others


async def test_who_looks_sees_sizes_and_who_fetches_one_the_body(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        await store.publish(to(queue, message(b"one"), message(bytes(100_000))))
        await browsed(store, queue, 2)
        small, large = await store.browse(queue, 2)
        assert [(each.size_bytes, each.message.body) for each in (small, large)] == [(3, b""), (100_000, b"")]
        fetched = await store.fetch(queue, small.key)
        assert fetched is not None
        assert (fetched.message.body, fetched.message.id, fetched.key) == (b"one", small.message.id, small.key)
        assert await store.fetch(queue, "no such key") is None
        assert await store.fetch(fresh(), small.key) is None
        assert len(await store.browse(queue, 9)) == 2


async def test_pages_show_all_once(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        sent = await fill(store, queue, 25)
        await browsed(store, queue, 25)
        pages = [await store.browse(queue, 10, skip) for skip in (0, 10, 20, 30)]
        assert [len(page) for page in pages] == [10, 10, 5, 0]
        assert ids(each.message for page in pages for each in page) == sent


async def test_who_looks_twice_sees_the_same(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store:
        await fill(store, queue, 60)
        first = await store.browse(queue, 60)
        assert len(first) == 60
        assert (await store.statistics(queue)).ready == 60
        assert keys(await store.browse(queue, 60)) == keys(first)


async def test_all_are_taken_out(stores: StoreFactory) -> None:
    queue, other = fresh(), fresh("other")
    async with stores() as store:
        await fill(store, queue, 5)
        kept = await fill(store, other, 1)
        await browsed(store, queue, 5)
        assert await store.take_out(queue, None) == 5
        assert await browsed(store, queue, 0) == []
        assert ids(await drain(store, other, 1)) == kept


async def test_a_replay_moves_messages_to_another_queue(stores: StoreFactory) -> None:
    dead, queue = fresh("dead"), fresh()
    async with stores() as store:
        await fill(store, dead, 2)
        await browsed(store, dead, 2)
        letters = await store.browse(dead, 2)
        into = {each.key: to(queue, each.message)[0] for each in letters}
        assert await store.take_out(dead, [each.key for each in letters], into) == 2
        back = await drain(store, queue, 2)
        assert sorted(ids(back)) == sorted(ids(each.message for each in letters))
        assert [each.message.body for each in back] == [b"{}"] * 2, "the body goes along"
        assert await browsed(store, dead, 0) == []


async def test_statistics_tell_what_runs_from_what_waits(stores: StoreFactory) -> None:
    queue = fresh()
    async with stores() as store, store.consume(source(queue), prefetch=2) as consumer:
        await fill(store, queue, 5)
        await store.publish(to(queue, message(), delay_s=3600))
        await take(consumer, 2)
        found = await store.statistics(queue)
        assert found.ready + found.running == 5
        assert found.delayed in {1, None}
