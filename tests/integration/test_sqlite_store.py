"""What the embedded store promises beyond what all stores do."""

import asyncio
import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus.message import DIED_AT, Message, Outgoing
from bus.retry import Ack, Dead, Retry
from bus.sqlite import SqliteStore, open_sqlite
from bus.sqlite.database import open_database
from bus.store import QueueStatistics, Settlement, StoreError
from tests.kit.stores import HandClock, drain, fill, ids, message, settle, source, take, to
from tests.kit.support import until

UNSTORABLE = "unstorable"
"""A queue that the database refuses, within a transaction that has begun."""
NO_TEXT = "\udc80"
_REFUSE = """
CREATE TRIGGER refuse_{0} BEFORE {0} ON messages WHEN NEW.queue = 'unstorable'
BEGIN SELECT RAISE(ABORT, 'it refuses'); END
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    with contextlib.closing(open_database(path)) as connection:
        for statement in ("INSERT", "UPDATE"):
            connection.execute(_REFUSE.format(statement))
    return path


async def test_publishing_is_one_transaction(path: Path) -> None:
    async with open_sqlite(path) as store:
        with pytest.raises(StoreError, match="it refuses"):
            await store.publish([*to("q", message(), message()), *to(UNSTORABLE, message())])
        assert await store.statistics("q") == QueueStatistics(delayed=0)
        assert store.is_connected


async def test_one_that_cannot_be_stored_harms_no_neighbour(path: Path) -> None:
    async with open_sqlite(path) as store:
        sent = [message() for _ in range(50)]
        queues = ["q"] * 25 + [UNSTORABLE] + ["q"] * 25
        letters = [*sent[:25], message(), *sent[25:]]
        results = await asyncio.gather(
            *(store.publish(to(queue, each)) for queue, each in zip(queues, letters, strict=True)),
            return_exceptions=True,
        )
        assert [type(each) for each in results if each is not None] == [StoreError]
        assert isinstance(results[25], StoreError)
        assert sorted(ids(await drain(store, "q", 50))) == sorted(ids(sent))


async def test_settling_is_one_transaction_with_what_was_sent(path: Path) -> None:
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=3) as consumer:
        await fill(store, "q", 3)
        one, two, three = await take(consumer, 3)
        bad = (*to("out", message()), *to(UNSTORABLE, message()))
        with pytest.raises(StoreError, match="it refuses"):
            await store.settle(
                [
                    Settlement(one, Ack(), tuple(to("out", message()))),
                    Settlement(two, Retry(0.0, "e")),
                    Settlement(three, Dead("Attempts", "e"), bad),
                ]
            )
        assert (await store.statistics("q")).running == 3, "they are still leased"
        for untouched in ("out", source("q").dead_letter):
            assert (await store.statistics(untouched)).ready == 0
        await settle(store, [one, two, three])
    async with open_sqlite(path) as store:
        assert (await store.statistics("q")).ready == 0


async def test_taking_out_is_one_transaction_with_what_goes_in(path: Path) -> None:
    async with open_sqlite(path) as store:
        sent = await fill(store, "q", 2)
        one, two = [each.key for each in await store.browse("q", 2)]
        [good], [bad] = to("other", message()), to(UNSTORABLE, message())
        with pytest.raises(StoreError):
            await store.take_out("q", [one, two], {one: good, two: bad})
        assert ids(await drain(store, "q", 2)) == sent


async def test_all_are_taken_out_in_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.sqlite.transaction._SOME_ROWS", 7)
    monkeypatch.setattr("bus.sqlite.transaction._SOME_BYTES", 30_000)
    async with open_sqlite(path) as store:
        await store.publish(to("q", *(message(bytes(size)) for size in (*[1] * 20, *[10_000] * 10))))
        assert await store.take_out("q", None) == 30
        assert (await store.statistics("q")).ready == 0


async def test_a_lost_lease_stores_no_outputs(path: Path) -> None:
    async with open_sqlite(path) as store:
        await fill(store, "q", 1)
        async with store.consume(source("q"), prefetch=1) as consumer:
            [delivery] = await take(consumer)
        await store.settle([Settlement(delivery, Ack(), tuple(to("out", message())))])
        assert (await store.statistics("q")).ready == 1
        assert (await store.statistics("out")).ready == 0


async def test_what_was_recorded_is_not_called_redelivered(path: Path) -> None:
    async with open_sqlite(path) as store:
        await fill(store, "q", 1)
        async with store.consume(source("q"), prefetch=1) as consumer:
            await take(consumer)
        async with store.consume(source("q"), prefetch=1) as consumer:
            [left] = await take(consumer)
            await settle(store, [left], Retry(0.0, "e"))
            [retried] = await take(consumer)
    assert (left.redelivered, retried.redelivered) == (True, False)


async def test_the_second_settlement_of_a_delivery_has_no_effect(path: Path) -> None:
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=1) as consumer:
        await fill(store, "q", 1)
        [delivery] = await take(consumer)
        output = tuple(to("out", message()))
        await store.settle([Settlement(delivery, Ack(), output), Settlement(delivery, Retry(0.0, "e"), output)])
        assert (await store.statistics("q")) == QueueStatistics(delayed=0)
        assert (await store.statistics("out")).ready == 1


async def test_what_is_leased_or_delayed_cannot_be_taken_out(path: Path) -> None:
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=1) as consumer:
        await fill(store, "q", 2)
        await store.publish(to("q", message(), delay_s=3600))
        [delivery] = await take(consumer)
        keys = [str(key) for key in range(10)]
        assert await store.take_out("q", keys) == 1
        assert await store.take_out("q", None) == 0
        await settle(store, [delivery])
        assert await store.statistics("q") == QueueStatistics(delayed=1)


async def test_keys_of_another_queue_are_not_taken_out(path: Path) -> None:
    async with open_sqlite(path) as store:
        await fill(store, "q", 1)
        [stored] = await store.browse("q", 1)
        assert await store.take_out("other", [stored.key]) == 0
        assert (await store.statistics("q")).ready == 1


async def test_statistics_of_everything(path: Path) -> None:
    clock = HandClock()
    async with open_sqlite(path, clock.clocks) as store, store.consume(source("q"), prefetch=1) as consumer:
        await fill(store, "q", 1)
        clock.advance(4)
        await fill(store, "q", 2)
        await store.publish(to("q", message(), delay_s=60))
        await take(consumer)
        clock.advance(3)
        assert await store.statistics("q") == QueueStatistics(ready=2, running=1, delayed=1, oldest_age_s=3.0)


async def test_facts_are_remembered_through_a_restart(path: Path) -> None:
    async with open_sqlite(path) as store:
        await store.remember({})
        await store.remember({"timer/a": "1", "timer/b": "2", "other": "3"})
        await store.remember({"timer/a": "4", "timer%": "5"})
    async with open_sqlite(path) as store:
        assert await store.recall("timer/") == {"timer/a": "4", "timer/b": "2"}
        assert await store.recall("timer%") == {"timer%": "5"}
        assert await store.recall("none") == {}
        assert len(await store.recall("")) == 4


async def test_what_has_no_row_is_refused_by_name(path: Path) -> None:
    async with open_sqlite(path) as store:
        for bad in ({"h": object()}, {"h": 2**80}, {"h": NO_TEXT}):
            with pytest.raises(StoreError, match="message 'm' for queue 'q' cannot be stored"):
                await store.publish([Outgoing(queue="q", message=Message(id="m", headers=bad))])
        with pytest.raises(StoreError, match="message 'm' for queue 'q' cannot be stored"):
            await store.publish([Outgoing(queue="q", message=Message(id="m"), delay_s=float("nan"))])
        assert store.is_connected


async def test_a_time_without_a_zone_is_taken_to_be_utc(path: Path) -> None:
    naive = datetime(2026, 1, 2, 3, 4, 5)
    async with open_sqlite(path) as store:
        await store.publish(to("q", message(headers={"list": [{"at": naive}]})))
        [delivery] = await drain(store, "q", 1)
    assert delivery.message.headers == {"list": [{"at": naive.replace(tzinfo=UTC)}]}


async def test_an_error_that_is_no_text_still_settles(path: Path) -> None:
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=1) as consumer:
        await fill(store, "q", 1)
        await settle(store, await take(consumer), Retry(0.0, f"error/E: {NO_TEXT}"))
        [again] = await take(consumer)
        assert again.first_error == "error/E: ?"
        await settle(store, [again], Dead("Attempts", f"error/E: {NO_TEXT}"))
        [letter] = await store.browse(source("q").dead_letter, 1)
        assert isinstance(letter.message.headers[DIED_AT], float)


async def test_a_publisher_that_leaves_does_not_harm_the_others(path: Path) -> None:
    async with open_sqlite(path) as store:
        tasks = [asyncio.create_task(store.publish(to("q", message()))) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[1::2] == [None] * 10
        assert (await store.statistics("q")).ready >= 10


async def test_a_closed_store_says_so(path: Path) -> None:
    async with open_sqlite(path) as store:
        pass
    for asked in (store.publish(to("q", message())), store.statistics("q"), store.recall("")):
        with pytest.raises(StoreError, match="is closed"):
            await asked


async def test_whoever_waits_on_a_closed_consumer_hears_of_it(path: Path) -> None:
    async with open_sqlite(path) as store:
        async with store.consume(source("q"), prefetch=1) as consumer:
            waiting = asyncio.create_task(consumer.next())
            await asyncio.sleep(0)
        with pytest.raises(StoreError, match="closed"):
            await waiting


async def test_a_prefetch_of_nothing_is_refused(path: Path) -> None:
    async with open_sqlite(path) as store:
        with pytest.raises(ValueError, match="prefetch must be at least 1"):
            async with store.consume(source("q"), prefetch=0):
                pass


async def test_its_files_are_private_and_close_on_exec(path: Path) -> None:
    async with open_sqlite(path) as store:
        await fill(store, "q", 1)
        assert all(file.stat().st_mode & 0o077 == 0 for file in path.parent.iterdir())
        ours = [fd for fd in os.listdir("/proc/self/fd") if _target(fd).startswith(str(path))]
        assert len(ours) >= 2
        assert not any(os.get_inheritable(int(fd)) for fd in ours)


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


async def test_several_stores_in_one_loop(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "one.db") as one, open_sqlite(tmp_path / "two.db") as two:
        stores: list[SqliteStore] = [one, two]
        for store in stores:
            await fill(store, "q", 1)
        for store in stores:
            assert len(await drain(store, "q", 1)) == 1


async def test_the_next_message_is_had_when_a_settlement_is_handed_over(path: Path) -> None:
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=1) as consumer:
        sent = await fill(store, "q", 2)
        [first] = await take(consumer)
        assert consumer.next_nowait() is None
        ends: list[StoreError | None] = []
        assert store.settle_soon(Settlement(first, Ack()), ends.append)
        second = consumer.next_nowait()
        assert second is not None
        assert (ids([first, second]), ends) == (sent, [])
        await until(lambda: ends == [None])
        await settle(store, [second])


async def test_a_settlement_that_fails_leaves_its_message_with_the_consumer(path: Path) -> None:
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=1) as consumer:
        await fill(store, "q", 3)
        [first] = await take(consumer)
        ends: list[StoreError | None] = []
        assert store.settle_soon(Settlement(first, Ack(), tuple(to(UNSTORABLE, message()))), ends.append)
        [second] = await take(consumer)
        await until(lambda: bool(ends))
        assert "it refuses" in str(ends)
        await settle(store, [second])
        assert consumer.next_nowait() is None, "it still has the first one"
        await settle(store, [first])
        assert len(await take(consumer)) == 1


async def test_what_is_read_ahead_is_ready_for_all_others(path: Path) -> None:
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=1) as consumer:
        sent = await fill(store, "q", 5)
        [first] = await take(consumer)
        statistics = await store.statistics("q")
        assert (statistics.ready, statistics.running) == (4, 1)
        stored = await store.browse("q", 10)
        assert ids([each.message for each in stored]) == sent[1:]
        assert await store.take_out("q", [stored[0].key, stored[2].key]) == 2
        async with store.consume(source("q"), prefetch=1) as other:
            taken = await take(other)
            await settle(store, [first])
            taken += await take(consumer)
            assert sorted(ids(taken)) == sorted([sent[2], sent[4]])
            await settle(store, taken)


async def test_what_a_consumer_has_is_bounded_in_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.sqlite.store.TAKEN_BYTES", 100_000)
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=100) as consumer:
        await store.publish(to("q", *(message(bytes(size)) for size in (200_000, *[40_000] * 5))))
        [large] = await take(consumer)
        await store.statistics("q")
        assert consumer.next_nowait() is None, "a message that is larger comes alone"
        await settle(store, [large])
        taken = await take(consumer, 3)
        await store.statistics("q")
        assert consumer.next_nowait() is None
        await settle(store, taken)
        assert len(await take(consumer, 2)) == 2


async def test_what_all_consumers_have_is_bounded_in_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.sqlite.store.ALL_TAKEN_BYTES", 100_000)
    async with (
        open_sqlite(path) as store,
        store.consume(source("a"), prefetch=10) as first,
        store.consume(source("b"), prefetch=10) as second,
    ):
        for queue in ("a", "b"):
            await store.publish(to(queue, *(message(bytes(60_000)) for _ in range(3))))
        taken = [*await take(first, 2), *await take(second)]
        await store.statistics("a")
        assert (first.next_nowait(), second.next_nowait()) == (None, None)
        await settle(store, taken)
        assert len(await take(first)) == len(await take(second)) == 1
