"""The store of packages whose process is killed at any line, or whose disk is full: consistent, and it goes on."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from forklight.packages import store as store_module
from forklight.packages.errors import DiskFull
from forklight.packages.store import PackageStore
from sandbox import folders
from tests.kit.disks import fill, small_disk
from tests.kit.rounds import rounds
from tests.kit.zips import make_zip, name_of, put

FILES = {"a.py": b"1" * 500, "b/c.py": b"2"}
CONTENT = make_zip(*FILES.items())
NAME = name_of(CONTENT)
OLD = make_zip(("old/x", b""), ("older", b""))


def _deploy(store: PackageStore) -> Path:
    """Upload what is missing, unpack, and remove what is not needed."""
    if not store.has(NAME):
        received = store.received(NAME)
        half = max(received, len(CONTENT) // 2)
        store.append(NAME, received, CONTENT[received:half])
        store.append(NAME, half, CONTENT[half:])
        store.finish(NAME)
    folder = store.unpacked(NAME)
    store.remove_unused({NAME}, grace_s=-1)
    return folder


def _killed_at(line: int, work: Any) -> bool:
    """Do the work in a process that kills itself at the nth line that it runs of the store, or of what removes folders;
    return whether it came so far."""
    child = os.fork()
    if child == 0:
        left = line

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename not in (store_module.__file__, folders.__file__):
                return None
            left -= event == "line"
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_any_line_it_is_consistent_and_goes_on_where_it_was(tmp_path: Path) -> None:
    line, resumed, was_killed = 0, set(), True
    while was_killed:
        line += rounds(11, 1)
        state = tmp_path / str(line)
        before = PackageStore(state)
        before.unpacked(put(before, OLD))
        was_killed = _killed_at(line, lambda state=state: _deploy(PackageStore(state)))
        store = PackageStore(state)
        assert store.check() == []
        assert not store.path(NAME).exists() or store.path(NAME).read_bytes() == CONTENT
        resumed.add(store.received(NAME))
        assert sorted(path.name for path in store.unpacked(put(store, OLD)).rglob("*")) == ["old", "older", "x"]
        folder = _deploy(store)
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert found == FILES
        assert [path.stem for path in store.packages.glob("*.zip")] == [NAME]
        assert list(store.incoming.iterdir()) == []
        assert {path.name for path in store.folders.iterdir()} == {NAME, f"{NAME}.boot"}
    assert line > 50
    assert resumed == {0, len(CONTENT) // 2, len(CONTENT)}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_takes_nothing_that_is_there(tmp_path: Path) -> None:
    content = make_zip(("a", os.urandom(300_000)))
    name = name_of(content)
    with small_disk(tmp_path / "disk", 20) as disk:
        store = PackageStore(disk)
        store.append(name, 0, content[:100_000])
        ballast = fill(disk)
        with pytest.raises(DiskFull, match="No space left on device: free some room, then do it again"):
            store.append(name, 100_000, content[100_000:])
        assert store.received(name) == 0, "a full disk keeps no part"
        ballast.unlink()
        store.append(name, 0, content)
        store.finish(name)
        fill(disk)
        with pytest.raises(DiskFull, match="No space left on device"):
            store.unpacked(name)
        assert list(store.folders.iterdir()) == []
        assert store.check() == []
        ballast.unlink()
        assert (store.unpacked(name) / "a").stat().st_size == 300_000
        store.discard(name)
        assert (list(store.packages.glob("*.zip")), list(store.folders.iterdir())) == ([], [])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_what_does_not_fit_is_refused_before_it_comes(tmp_path: Path) -> None:
    content = make_zip(("a", bytes(5_000_000)))
    name = name_of(content)
    with small_disk(tmp_path / "disk", 20) as disk:
        store = PackageStore(disk)
        store.expect(name, 3_000_000)
        with pytest.raises(DiskFull, match=r"does not fit on the disk of .*: it needs 5\.0 MB, .* MB are missing: "):
            store.expect(name, 5_000_000)
        store.append(name, 0, content)
        with pytest.raises(DiskFull, match=f"what the package {name[:12]} holds does not fit on the disk of "):
            store.finish(name)
        assert (store.received(name), store.has(name)) == (0, False)
        store.append(name, 0, content[:1000])
        with pytest.raises(DiskFull):
            store.expect(name, 6_000_000)
        assert store.received(name) == 0
