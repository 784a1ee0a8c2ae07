"""A process that writes to the embedded store is killed at any moment: nothing it was promised is lost."""

import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bus.sqlite import open_sqlite
from tests.kit.rounds import rounds
from tests.kit.stores import BALANCED, Ledger

KILLS = rounds(4, 16)
LINES_BETWEEN_KILLS = 400


class Record(Ledger):
    """What the killed processes said, line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: set[str] = set()

    def read(self, line: str) -> None:
        """A last line that was cut short says nothing."""
        word, *names = line.split()
        if word == "giving":
            self.uncertain.update(names)
        elif word == "accepted":
            self.accepted.update(names)
        elif word == "settled":
            self.settled.update(names)


def run_and_kill(path: Path, prefix: str, lines: int, record: Record) -> None:
    """Let it write so many lines, kill it, and read what else it had said."""
    command = [sys.executable, "-m", "tests.kit.store_loop", str(path), prefix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(lines):
            record.read(process.stdout.readline())
        process.kill()
        for line in process.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):
                record.read(line)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.timeout(180)
async def test_nothing_accepted_is_lost_and_nothing_is_half_done(tmp_path: Path) -> None:
    path, record, chance = tmp_path / "store.db", Record(), random.Random(8)
    for number in range(KILLS):
        run_and_kill(path, f"p{number}", chance.randrange(20, LINES_BETWEEN_KILLS), record)
    async with open_sqlite(path) as store:
        waiting = [str(each.message.id) for each in await store.browse("in", 10**6)]
        done = [str(each.message.correlation_id) for each in await store.browse("out", 10**6)]
    record.seen = Counter(waiting) + Counter(done)
    assert record.account() == BALANCED
    assert record.duplicates == 0, "a message is gone exactly if its output is there"
    assert record.settled <= set(done)
    assert len(done) > KILLS
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@pytest.mark.timeout(180)
async def test_what_was_published_together_is_there_together(tmp_path: Path) -> None:
    path, record = tmp_path / "store.db", Record()
    run_and_kill(path, "p", 300, record)
    async with open_sqlite(path) as store:
        waiting = [str(each.message.id) for each in await store.browse("in", 10**6)]
        done = [str(each.message.correlation_id) for each in await store.browse("out", 10**6)]
    groups = Counter(name.rpartition("-")[0] for name in (*waiting, *done))
    assert groups
    for name, count in groups.items():
        assert count == int(name.rpartition("-")[2]) % 3 + 1, name
