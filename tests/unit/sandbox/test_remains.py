"""What dead instances leave in their private folders goes, a little at a time."""

import os
from pathlib import Path

import pytest

from sandbox.guest._forklight.remains import Remains


def rounds(remains: Remains) -> int:
    """Remove all; how often there was something to do."""
    count = 0
    while remains.folders:
        remains.remove_some()
        count += 1
    return count


def test_an_empty_folder_goes_at_once(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    remains = Remains()
    remains.add(str(tmp_path / "one"))
    remains.add(str(tmp_path / "missing"))

    assert not remains.folders
    assert not os.listdir(tmp_path)


def test_many_files_take_several_rounds(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    for number in range(1000):
        (folder / str(number)).touch()
    remains = Remains()
    remains.add(str(folder))

    assert rounds(remains) > 4
    assert not os.listdir(tmp_path)


def test_depth_modes_and_links_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    at = folder = tmp_path / "one"
    at.mkdir()
    monkeypatch.chdir(tmp_path)  # which puts back where the other tests are
    for _ in range(100):  # each name is long: together they are longer than a path may be
        os.mkdir("d" * 200, dir_fd=(above := os.open(at if at == folder else ".", os.O_PATH)))
        os.chdir(f"/proc/self/fd/{above}/{'d' * 200}")
        os.close(above)
        at = Path(".")
    os.symlink(kept, "link")
    Path("file").touch()
    os.chmod(".", 0)
    os.chdir("/")
    remains = Remains()
    remains.add(str(folder))
    rounds(remains)

    assert os.listdir(tmp_path) == ["kept"]
    assert (kept / "file").exists()


def test_a_folder_that_was_replaced_by_a_link_stays_a_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (tmp_path / "one").symlink_to(kept)
    remains = Remains()
    remains.add(str(tmp_path / "one"))
    rounds(remains)

    assert (kept / "file").exists()
