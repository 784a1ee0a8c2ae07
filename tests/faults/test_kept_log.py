"""The kept log on a disk that is full: serving goes on, one line says so, and nothing is lost once there is room."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from forklight.observe.entry import Entry, Selection, size_bytes
from forklight.observe.kept import keeper as keeping
from forklight.observe.kept.files import KeptFiles, read_kept
from forklight.observe.kept.keeper import Keeper
from tests.kit.disks import small_disk
from tests.kit.support import until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with small_disk(tmp_path / "disk", 1) as folder:
        yield folder


async def test_a_full_disk_delays_the_log_and_loses_nothing_of_it(
    disk: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "AGAIN_S", 0.01)
    monkeypatch.setattr(keeping, "GATHER_S", 0.01)
    caplog.set_level(logging.WARNING)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(900 * 1024))
    keeper = Keeper(KeptFiles(disk, 64 * 1024 * 1024, 1.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        for number in range(1, 2001):
            entry = Entry(time=1.0, function="f", text="x" * 100)
            keeper.add((number, entry, size_bytes(entry)))
        await until(lambda: "No space left on device" in caplog.text)
        ballast.unlink()
        await until(lambda: "kept again; 0 lines" in caplog.text)
        tasks.cancel_scope.cancel()
    assert [kept.number for piece in read_kept(disk, Selection()) for kept in piece] == list(range(1, 2001))
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
