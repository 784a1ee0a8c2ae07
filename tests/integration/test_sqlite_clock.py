"""Delays and ages of the embedded store keep to real time, whatever is done to the wall clock."""

from pathlib import Path

import pytest

from bus.retry import Retry
from bus.sqlite import open_sqlite
from tests.stores import HandClock, drain, fill, ids, message, settle, source, take, to


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


async def test_the_longest_delay_is_no_error(path: Path) -> None:
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=1):
        await store.publish(to("q", message(), delay_s=1e30))
        assert (await store.statistics("q")).delayed == 1
