"""The embedded store on a disk that is full: an error for what was not stored, nothing broken, and back by itself."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.retry import Ack
from bus.sqlite import SqliteStore, open_sqlite
from bus.store import Settlement, StoreError
from tests.kit.disks import small_disk
from tests.kit.stores import drain, fill, ids, message, settle, source, take, to
from tests.kit.support import until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with small_disk(tmp_path / "disk", 4) as folder:
        yield folder


def fill_disk(disk: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


async def publish_until_full(store: SqliteStore) -> list[str]:
    """The ids of those that were accepted before one was not."""
    accepted: list[str] = []
    while True:
        letter = message(bytes(16 * 1024))
        try:
            await store.publish(to("q", letter))
        except StoreError:
            return accepted
        accepted += ids([letter])


async def test_a_full_disk_refuses_and_recovers(disk: Path) -> None:
    path = disk / "store.db"
    async with open_sqlite(path) as store:
        room = disk / "room"
        room.write_bytes(bytes(5 * 512 * 1024))
        accepted = await publish_until_full(store)
        assert accepted
        assert not store.is_connected
        assert (await store.statistics("q")).ready == len(accepted), "it can still be read"
        room.unlink()
        await until(lambda: store.is_connected)
        accepted += await fill(store, "q", 1)
    async with open_sqlite(path) as store:
        assert ids(await drain(store, "q", len(accepted))) == accepted
        assert (await store.statistics("q")).ready == 0
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_what_could_not_be_settled_is_still_leased_and_settles_later(disk: Path) -> None:
    async with open_sqlite(disk / "store.db") as store, store.consume(source("q"), prefetch=2) as consumer:
        sent = await fill(store, "q", 3)
        deliveries = await take(consumer, 2)
        ballast = fill_disk(disk)
        assert consumer.is_consuming
        with pytest.raises(StoreError, match="full"):
            await store.settle([Settlement(each, Ack(), tuple(to("out", message()))) for each in deliveries])
        assert not consumer.is_consuming
        assert (await store.statistics("q")).running == 2
        ballast.unlink()
        await settle(store, deliveries)
        assert store.is_connected
        assert (await store.statistics("out")).ready == 0
        assert ids(await take(consumer)) == sent[2:]


async def test_everybody_of_a_group_hears_of_the_full_disk(disk: Path) -> None:
    async with open_sqlite(disk / "store.db") as store:
        ballast = fill_disk(disk)
        results = await asyncio.gather(*(store.publish(to("q", message())) for _ in range(30)), return_exceptions=True)
        assert {type(each) for each in results} == {StoreError}
        ballast.unlink()
        sent = await fill(store, "q", 2)
        assert ids(await drain(store, "q", 2)) == sent
        assert (await store.statistics("q")).ready == 0


async def test_a_store_that_cannot_be_made_says_why(disk: Path) -> None:
    path = disk / "store.db"
    ballast = fill_disk(disk)
    with pytest.raises(StoreError, match=f"the store {path} cannot be opened: .*(full|I/O)"):
        async with open_sqlite(path):
            pass
    ballast.unlink()
    async with open_sqlite(path) as store:
        assert await fill(store, "q", 1)
