"""Delays and ages of the embedded store keep to real time, whatever is done to the wall clock."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from bus.retry import Dead, Retry
from bus.sqlite import SqliteStore, open_sqlite
from tests.kit.stores import HandClock, drain, fill, ids, message, settle, source, take, to


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def test_a_clock_set_forward_ends_no_delay_early(path: Path) -> None:
    clock = HandClock()
    async with open_sqlite(path, clock.clocks) as store:
        await store.publish(to("q", message(), delay_s=60))
        clock.set_wall(3600)
        assert (await store.statistics("q")).delayed == 1
        clock.advance(59)
        assert (await store.statistics("q")).delayed == 1
        clock.advance(1)
        assert (await store.statistics("q")).ready == 1


async def test_a_clock_set_back_holds_nothing(path: Path) -> None:
    clock = HandClock()
    async with open_sqlite(path, clock.clocks) as store:
        await store.publish(to("q", message(), delay_s=60))
        clock.set_wall(-3600)
        sent = await fill(store, "q", 1)
        assert ids(await drain(store, "q", 1)) == sent
        clock.advance(60)
        assert len(await drain(store, "q", 1)) == 1


async def test_a_delay_goes_on_while_the_store_is_closed(path: Path) -> None:
    clock = HandClock()
    async with open_sqlite(path, clock.clocks) as store:
        await store.publish(to("q", message(), delay_s=60))
        async with store.consume(source("q"), prefetch=1) as consumer:
            await fill(store, "q", 1)
            await settle(store, await take(consumer), Retry(90.0, "e"))
    clock.advance(60)
    async with open_sqlite(path, clock.clocks) as store:
        found = await store.statistics("q")
        assert (found.ready, found.delayed) == (1, 1)
        clock.advance(30)
        assert (await store.statistics("q")).ready == 2


async def test_a_clock_set_back_while_the_store_is_closed_holds_nothing(path: Path) -> None:
    clock = HandClock()
    async with open_sqlite(path, clock.clocks) as store:
        sent = await fill(store, "q", 2)
    clock.set_wall(-86400)
    async with open_sqlite(path, clock.clocks) as store:
        assert ids(await drain(store, "q", 2)) == sent


@pytest.mark.parametrize("jump_s", [-7200.0, 7200.0])
async def test_the_age_of_a_delivery_is_true_after_the_clock_was_set(path: Path, jump_s: float) -> None:
    clock = HandClock()
    async with open_sqlite(path, clock.clocks) as store:
        await fill(store, "q", 1)
        clock.advance(10)
        clock.set_wall(jump_s)
        [stored] = await store.browse("q", 1)
        [delivery] = await drain(store, "q", 1)
    for stored_at_s in (stored.stored_at_s, delivery.stored_at_s):
        assert stored_at_s is not None
        assert clock.wall_ns / 1e9 - stored_at_s == pytest.approx(10, abs=1e-3)


HOURS_9 = 9 * 3600


async def retry_in(store: SqliteStore, seconds: float) -> None:
    """A message whose next attempt is so far away."""
    async with store.consume(source("q"), prefetch=1) as consumer:
        await fill(store, "q", 1)
        await settle(store, await take(consumer), Retry(seconds, "e"))


@pytest.mark.parametrize("wrong_s", [HOURS_9, -HOURS_9])
async def test_a_start_with_a_wrong_clock_leaves_no_delay_behind(path: Path, wrong_s: float) -> None:
    """A hardware clock in local time, at one start; the right time at the next."""
    clock = HandClock()
    async with open_sqlite(path, clock.clocks) as store:
        await store.publish(to("old", message(), delay_s=30 * 86400))
    clock.set_wall(wrong_s)
    async with open_sqlite(path, clock.clocks) as store:
        await retry_in(store, 20)
        await store.publish(to("q", message(), delay_s=20))
    clock.set_wall(-wrong_s)
    async with open_sqlite(path, clock.clocks) as store:
        clock.advance(20)
        assert (await store.statistics("q")).ready == 2
        clock.advance(30 * 86400 - 21)
        assert (await store.statistics("old")).delayed == (1 if wrong_s > 0 else 0)
        clock.advance(1)
        assert (await store.statistics("old")).ready == 1


@pytest.mark.parametrize("set_s", [HOURS_9, -HOURS_9])
async def test_a_clock_that_is_set_while_the_store_is_open_moves_no_delay_at_the_next_start(
    path: Path, set_s: float
) -> None:
    clock = HandClock()
    async with open_sqlite(path, clock.clocks) as store:
        await retry_in(store, 100)
        clock.set_wall(set_s)
        await store.publish(to("q", message(), delay_s=100))
    clock.advance(60)
    async with open_sqlite(path, clock.clocks) as store:
        assert (await store.statistics("q")).delayed == 2
        clock.advance(40)
        assert (await store.statistics("q")).ready == 2
        [first, second] = await store.browse("q", 2)
    for stored in (first, second):
        assert stored.stored_at_s is not None
        assert clock.wall_ns / 1e9 - stored.stored_at_s == pytest.approx(100, abs=1e-3)


async def test_dead_letters_of_a_wrong_clock_are_there(path: Path) -> None:
    clock = HandClock()
    async with open_sqlite(path, clock.clocks) as store, store.consume(source("q"), prefetch=1) as consumer:
        await fill(store, "q", 1)
        await settle(store, await take(consumer), Dead("Rejected", "e"))
    clock.set_wall(-HOURS_9)
    async with open_sqlite(path, clock.clocks) as store:
        assert len(await store.browse(source("q").dead_letter, 1)) == 1


async def test_a_killed_server_leaves_a_reading_behind(path: Path, tmp_path: Path) -> None:
    """What is on the disk while the store is open is what a kill leaves."""
    clock, copy = HandClock(), tmp_path / "copy.db"
    clock.set_wall(HOURS_9)
    async with open_sqlite(path, clock.clocks) as store:
        await retry_in(store, 20)
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    clock.set_wall(-HOURS_9)
    async with open_sqlite(copy, clock.clocks) as store:
        clock.advance(20)
        assert (await store.statistics("q")).ready == 1


async def test_a_store_without_a_reading_is_mended_by_its_newest_message(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandClock()
    async with open_sqlite(path, clock.clocks) as store:
        await retry_in(store, 20)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM facts")
    connection.commit()
    connection.close()
    clock.set_wall(-HOURS_9)
    async with open_sqlite(path, clock.clocks) as store:
        assert "the clock is 9:00:00 earlier than the store's" in caplog.text
        clock.advance(20)
        assert (await store.statistics("q")).ready == 1


async def test_the_longest_delay_is_no_error(path: Path) -> None:
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=1):
        await store.publish(to("q", message(), delay_s=1e30))
        assert (await store.statistics("q")).delayed == 1
