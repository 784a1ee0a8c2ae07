"""`forklight backup` of a running server and of a stopped one, and its restoration."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from forklight.commands.backup import backup
from tests.kit.application import application, function
from tests.kit.served import Server, run, serving

TOML = function("echo") + 'queue = "orders"\n'


async def waiting_in(server: Server, queue: str) -> int:
    """Count the delayed messages of the queue."""
    status = json.loads((await server.run("ps", "--json")).stdout)
    [found] = [one for one in status["queues"] if one["queue"] == queue]
    return int(found["delayed"])


async def send(server: Server) -> None:
    finished = await server.run("send", "orders", "-d", "1", "--delay", "1h")
    assert finished.status == 0, finished.stderr


def restore(folder: Path, saved: Path) -> None:
    """As docs/backup.md says."""
    (folder / "state/store.db-wal").unlink(missing_ok=True)
    shutil.copy(saved, folder / "state/store.db")


@pytest.mark.timeout(180)
async def test_a_backup_is_what_the_server_had_whether_it_runs_or_not() -> None:
    with application(TOML) as folder:
        async with serving(folder, "--listen", "127.0.0.1:0") as server:
            await send(server)
            finished = await server.run("backup", "saved.db")
            assert (finished.status, finished.stderr) == (0, "")
            assert finished.stdout.startswith("saved: saved.db (")
            assert (folder / "saved.db").stat().st_mode & 0o777 == 0o600
            await send(server)
        assert list((folder / "state").glob("backup*")) == []
        finished = await run("backup", cwd=folder)
        assert (finished.status, finished.stderr) == (0, "")
        [stopped] = folder.glob("forklight-*.db")
        for saved, count in ((folder / "saved.db", 1), (stopped, 2)):
            restore(folder, saved)
            async with serving(folder, "--listen", "127.0.0.1:0") as server:
                assert await waiting_in(server, "orders") == count


def test_what_cannot_be_saved_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    there = tmp_path / "there.db"
    there.write_text("mine")
    for file, told in (
        (there, "already exists: name another file, or remove it"),
        (tmp_path / "nowhere/saved.db", "cannot be written: No such file or directory"),
        (tmp_path / "saved.db", "no server runs on"),
    ):
        result = CliRunner().invoke(backup, [str(file), "--state", str(tmp_path / "state")])
        assert result.exit_code == 1
        assert told in result.output
    assert there.read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["there.db"]
