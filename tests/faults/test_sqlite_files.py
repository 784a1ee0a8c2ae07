"""What befalls the file of the embedded store while it is open, and rows in it that hold no message."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bus.message import LAST_ERROR, QUEUE, REASON
from bus.retry import Ack
from bus.sqlite import SqliteStore, open_sqlite
from bus.sqlite.faults import log_path
from bus.sqlite.writer import Writer
from bus.store import Settlement, StoreError
from tests.kit.stores import drain, fill, ids, message, source, take, to
from tests.kit.support import until


def remove(path: Path) -> None:
    path.unlink()


def remove_log(path: Path) -> None:
    log_path(path).unlink()


def replace(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def saved_in(folder: Path) -> list[Path]:
    return list(folder.glob("store.db.saved-*"))


async def held_by(path: Path) -> list[str]:
    """The ids in the queue `q` of a store."""
    async with open_sqlite(path) as store:
        return ids([each.message for each in await store.browse("q", 100)])


@pytest.mark.parametrize("befall", [remove, remove_log, replace])
async def test_a_file_that_is_lost_takes_nothing_more_and_what_it_held_is_saved(
    tmp_path: Path, befall: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=1) as consumer:
        sent = await fill(store, "q", 3)
        [delivery] = await take(consumer)
        befall(path)
        with pytest.raises(StoreError, match=r"accepts nothing more: .* while it was open; restart the server"):
            await fill(store, "q", 1)
        with pytest.raises(StoreError, match="accepts nothing more"):
            await store.settle([Settlement(delivery, Ack())])
        assert not store.is_connected
        assert not consumer.is_consuming
    assert caplog.text.count("accepts nothing more") == 1
    [saved] = saved_in(tmp_path)
    assert saved.stat().st_mode & 0o777 == 0o600
    assert await held_by(saved) == sent


async def test_a_file_that_is_lost_is_noticed_without_a_write(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store:
        remove(path)
        await until(lambda: not store.is_connected)


async def test_a_folder_that_is_lost_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state" / "store.db"
    path.parent.mkdir()
    async with open_sqlite(path) as store:
        path.parent.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match="accepts nothing more"):
            await fill(store, "q", 1)
        assert "lost with its folder" in caplog.text


async def test_a_file_that_comes_back_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store:
        path.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match="accepts nothing more"):
            await fill(store, "q", 1)
        (tmp_path / "elsewhere").rename(path)
        await until(lambda: store.is_connected)
        sent = await fill(store, "q", 1)
        assert ids(await drain(store, "q", 1)) == sent


BAD: dict[str, dict[str, Any]] = {
    "envelope": {"envelope": b"\xc1\xff"},
    "envelope of another shape": {"envelope": b"\x93\x01\x02\x03"},
    "envelope as text": {"envelope": "text"},
    "body as text": {"body": "text"},
    "attempts": {"attempts": "many"},
    "stored": {"stored_ns": "yesterday"},
    "due": {"due_ns": "tomorrow"},
    "due as blob": {"due_ns": b"tomorrow"},
    "error": {"first_error": b"\xff\xfe"},
}


def spoil(path: Path, change: dict[str, Any], key: int) -> None:
    """Somebody else writes into the row."""
    connection = sqlite3.connect(path)
    [name] = change
    connection.execute(f"UPDATE messages SET {name} = ? WHERE id = ?", (change[name], key))
    connection.commit()
    connection.close()


async def browsed_dead(store: SqliteStore) -> list[dict[str, Any]]:
    return [each.message.headers for each in await store.browse(source("q").dead_letter, 10)]


@pytest.mark.parametrize("change", BAD.values(), ids=BAD.keys())
async def test_a_row_that_holds_no_message_is_a_dead_letter_and_harms_no_other(
    tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store:
        sent = await fill(store, "q", 3)
    spoil(path, change, 2)
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=1) as consumer:
        for expected in (sent[0], sent[2], *await fill(store, "q", 1)):
            [delivery] = await take(consumer)
            assert delivery.message.id == expected
            await store.settle([Settlement(delivery, Ack())])
        assert (await store.statistics("q")).ready == 0
        [headers] = await browsed_dead(store)
        assert headers[REASON] == "Undecodable"
        assert headers[QUEUE] == "q"
        assert "row 2 of the store is not a message" in headers[LAST_ERROR]
    assert caplog.text.count("is not a message and becomes a dead letter") == 1


async def test_a_dead_letter_that_is_unreadable_is_shown_beside_others(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store:
        sent = await fill(store, source("q").dead_letter, 2)
    spoil(path, {"envelope": b"\xc1"}, 1)
    async with open_sqlite(path) as store:
        bad, good = await store.browse(source("q").dead_letter, 10)
        assert good.message.id == sent[1]
        assert bad.message.headers[REASON] == "Undecodable"
        assert await store.take_out(source("q").dead_letter, [bad.key]) == 1


async def test_damage_that_is_met_later_stops_the_store_and_not_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file too large to be looked through at the start."""
    path = tmp_path / "store.db"
    async with open_sqlite(path) as store:
        await store.publish(to("q", *(message(b"x" * 3000) for _ in range(100))))
    good = path.read_bytes()
    middle = len(good) // 2 // 4096 * 4096
    path.write_bytes(good[:middle] + b"\xa5" * 40960 + good[middle + 40960 :])
    monkeypatch.setattr("bus.sqlite.database.CHECKED_BYTES", 0)
    async with open_sqlite(path) as store, store.consume(source("q"), prefetch=100):
        await until(lambda: not store.is_connected)
        with pytest.raises(StoreError, match=r"is damaged \(database disk image is malformed\): stop the server"):
            await fill(store, "q", 1)
        began_s = time.monotonic()
        await until(lambda: time.monotonic() - began_s > 2.5)  # it probes every second
        assert not store.is_connected
    assert caplog.text.count("is damaged") == 1


async def fill_for_ever(store: SqliteStore) -> None:
    async with asyncio.timeout(20):
        while True:
            await fill(store, "q", 1)


async def test_a_thread_that_ends_by_a_bug_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Writer) -> float:
        raise RuntimeError("a bug")

    async with open_sqlite(tmp_path / "store.db") as store:
        await fill(store, "q", 1)
        monkeypatch.setattr(Writer, "_sleep_s", broken)
        with pytest.raises(StoreError):
            await fill_for_ever(store)
        assert not store.is_connected
    assert caplog.text.count("has failed and accepts nothing more") == 1
