"""Copies of an open store, and the room that it gives back."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from bus.retry import Ack
from bus.sqlite import SqliteStore, open_sqlite
from bus.store import Settlement, StoreError
from tests.kit.stores import drain, fill, ids, message, source, take, to
from tests.kit.support import until


async def publish_and_settle(store: SqliteStore, accepted: list[str]) -> None:
    """For ever: what was accepted is in one place or the other."""
    async with store.consume(source("in"), prefetch=5) as consumer:
        while True:
            accepted += await fill(store, "in", 2)
            [delivery] = await take(consumer)
            await store.settle([Settlement(delivery, Ack(), tuple(to("out", delivery.message)))])


async def test_a_copy_made_under_load_has_all_that_was_accepted_before_it(tmp_path: Path) -> None:
    accepted: list[str] = []
    async with open_sqlite(tmp_path / "store.db") as store:
        await store.publish(to("in", *(message(bytes(100_000)) for _ in range(100))))
        working = asyncio.create_task(publish_and_settle(store, accepted))
        await until(lambda: len(accepted) > 20)
        before = set(accepted)
        await store.copy(tmp_path / "copy.db")
        during = len(accepted) - len(before)
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
    assert during > 0, "it goes on meanwhile"
    async with open_sqlite(tmp_path / "copy.db") as store:
        held = [each.message.id or "" for queue in ("in", "out") for each in await store.browse(queue, 10_000)]
    assert before <= set(held)
    assert len(held) == len(set(held)), "what is settled is gone exactly if its output is there"


async def test_a_copy_replaces_nothing(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "store.db") as store:
        (tmp_path / "copy.db").write_text("mine")
        with pytest.raises(StoreError, match=r"cannot be copied: .*File exists"):
            await store.copy(tmp_path / "copy.db")
        assert (tmp_path / "copy.db").read_text() == "mine"
        with pytest.raises(StoreError, match=r"cannot be copied: .*No such file"):
            await store.copy(tmp_path / "nowhere/copy.db")
        await fill(store, "q", 1)


async def test_a_store_that_is_closed_finishes_no_copy(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "store.db") as store:
        await store.publish(to("q", *(message(bytes(1_000_000)) for _ in range(40))))
        copying = asyncio.create_task(store.copy(tmp_path / "copy.db"))
        await store.statistics("q")
    with pytest.raises(StoreError, match="was closed before it was copied"):
        await copying
    assert not (tmp_path / "copy.db").exists()


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is worth it, and little, is a thousandth."""
    monkeypatch.setattr("bus.sqlite.shrinking.WORTH_BYTES", 64 * 1024)
    monkeypatch.setattr("bus.sqlite.shrinking.LITTLE_BYTES", 64 * 1024)
    monkeypatch.setattr("bus.sqlite.writer.QUIET_S", 0.2)
    monkeypatch.setattr("bus.sqlite.writer._LOOK_S", 0.1)


def size_of(path: Path) -> int:
    return path.stat().st_size


@pytest.mark.usefixtures("small_steps")
async def test_a_store_gives_back_the_room_of_settled_messages_while_it_is_quiet(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store, store.consume(source("idle"), prefetch=1) as consumer:
        [leased] = await fill(store, "idle", 1)
        [delivery] = await take(consumer)
        await store.publish(to("q", *(message(bytes(100_000)) for _ in range(50))))
        kept = await fill(store, "kept", 3)
        await until(lambda: size_of(path) > 4_000_000 or size_of(path.with_name("store.db-wal")) > 4_000_000)
        await drain(store, "q", 50)
        await until(lambda: size_of(path) < 200_000 and size_of(path.with_name("store.db-wal")) < 200_000)
        assert ids(await drain(store, "kept", 3)) == kept
        assert delivery.message.id == leased
        await store.settle([Settlement(delivery, Ack())])
        assert (await store.statistics("idle")).running == 0


@pytest.mark.usefixtures("small_steps")
async def test_a_store_with_much_in_it_gives_back_room_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store:
        kept = [each.message.id for each in to("kept", *(message(bytes(100_000)) for _ in range(3)))]
        await store.publish(to("q", *(message(bytes(100_000)) for _ in range(50))))
        sent = to("kept", *(message(bytes(100_000)) for _ in range(3)))
        kept = [each.message.id for each in sent]
        await store.publish(sent)
        await drain(store, "q", 50)
    assert size_of(path) > 4_000_000
    async with open_sqlite(path) as store:
        assert ids(await drain(store, "kept", 3)) == kept
    assert size_of(path) < 1_000_000
