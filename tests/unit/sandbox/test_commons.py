"""What the processes of a tree share: the set of known pids, and private folders, which are removed after them."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest

from sandbox.cgroups import NOWHERE, Groups, open_groups
from sandbox.commons import Commons
from sandbox.errors import StartFailed
from sandbox.folders import remove_tree
from sandbox.group import Group
from sandbox.launch import Account
from sandbox.processes import Forged
from sandbox.spec import FunctionSpec, Runtime
from tests.kit.frames import child, open_fds
from tests.kit.groups import FOUND, can, told

pytestmark = pytest.mark.ordinary_user

OWN = Account(os.getuid(), os.getgid(), switch=False)


@contextlib.asynccontextmanager
async def open_commons(folders: Path, account: Account = OWN) -> AsyncIterator[Commons]:
    """Commons whose tasks end with the block."""
    async with anyio.create_task_group() as tasks:
        yield Commons(account, Path("/"), folders, lambda _line: None, tasks, groups=Groups(NOWHERE))


async def test_no_number_is_given_twice(tmp_path: Path) -> None:
    async with open_commons(tmp_path) as commons:
        assert len({commons.number() for _ in range(100)}) == 100


async def test_a_verified_process_is_known_from_then_on(tmp_path: Path) -> None:
    async with open_commons(tmp_path) as commons:
        with child() as process:
            pid, pidfd = commons.verified([os.pidfd_open(process.pid)], os.getpid())
            os.close(pidfd)
            assert pid == process.pid
            assert commons.pids == {pid}
            before = open_fds()
            with pytest.raises(Forged, match="already known"):
                commons.verified([os.pidfd_open(process.pid)], os.getpid())
            assert open_fds() == before


async def test_a_control_group_that_cannot_be_made_fails_the_start_and_says_which(tmp_path: Path) -> None:
    if not can("memory"):
        assert told("memory")
        return
    spec = FunctionSpec(name="f", version="1", code=tmp_path, handler="a:b", runtime=Runtime(name="r", python=tmp_path))
    async with open_commons(tmp_path) as commons:
        with open_groups(FOUND) as groups, child() as process:
            group = Group(groups, 1)
            await commons.admit(group, 0, spec)  # dead on arrival, which the kernel would take for this process
            assert not any(list(place.folder.glob("t[0-9]*")) for place in groups.folders.values())
            for folder in {place.folder for place in groups.folders.values()}:
                folder.rmdir()
            with pytest.raises(StartFailed, match=r"no control group for 'f': /\S+: No such file"):
                await commons.admit(group, process.pid, spec)


async def test_one_that_is_dead_on_arrival_is_not(tmp_path: Path) -> None:
    async with open_commons(tmp_path) as commons:
        with child() as process:
            pidfd = os.pidfd_open(process.pid)
            process.kill()
            process.wait()
            assert commons.verified([pidfd], os.getpid()) == (None, pidfd)
            assert commons.pids == set()
            os.close(pidfd)


@pytest.mark.parametrize("number", [0, 2])
async def test_an_answer_has_exactly_one_descriptor(number: int, tmp_path: Path) -> None:
    async with open_commons(tmp_path) as commons:
        before = open_fds()
        with pytest.raises(Forged, match=f"{number} descriptors instead of one pidfd"):
            commons.verified([os.pidfd_open(os.getpid()) for _ in range(number)], os.getpid())
        assert open_fds() == before


async def test_a_folder_is_private(tmp_path: Path) -> None:
    async with open_commons(tmp_path) as commons:
        folder = commons.make_folder("shop-1")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder.stat().st_uid, folder.stat().st_gid) == (OWN.uid, OWN.gid)


async def test_no_name_of_a_folder_can_be_taken_ahead(tmp_path: Path) -> None:
    async with open_commons(tmp_path) as commons:
        names = {commons.make_folder("shop-1").name for _ in range(10)}
        assert len(names) == 10
        assert set(os.listdir(tmp_path / "shop-1")) == names


async def test_the_folder_of_all_is_made_again(tmp_path: Path) -> None:
    async with open_commons(tmp_path / "all") as commons:
        (tmp_path / "all").mkdir()
        remove_tree(commons.make_folder("shop-1").parent)
        (tmp_path / "all").rmdir()
        assert commons.make_folder("shop-2").is_dir()


async def test_a_function_has_a_folder_while_it_has_processes(tmp_path: Path) -> None:
    async with open_commons(tmp_path) as commons:
        first, second, other = map(commons.make_folder, ("shop", "shop", "ship"))
        assert first.parent == second.parent == commons.folder_of("shop") != other.parent
        commons.remove_folder(first)
        commons.remove_folder(other)
    assert os.listdir(tmp_path) == ["shop"]
    assert os.listdir(tmp_path / "shop") == [second.name]


async def test_folders_go_whether_they_are_empty_full_or_gone(tmp_path: Path) -> None:
    async with open_commons(tmp_path) as commons:
        empty, full = commons.make_folder("empty"), commons.make_folder("full")
        (full / "file").write_text("x")
        for folder in (empty, full, empty):
            commons.remove_folder(folder)
    assert not empty.exists()
    assert not full.exists()


async def test_a_folder_that_nobody_waits_for_any_more_is_removed(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    async with open_commons(tmp_path / "all") as commons:
        for turns in range(4):
            waiting = asyncio.ensure_future(commons.new_folder("shop-1"))
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                commons.remove_folder(await waiting)
    assert list((tmp_path / "all").iterdir()) == []


def _link(folder: Path) -> None:
    folder.rmdir()
    folder.symlink_to("other")


_TOUCHES: dict[str, Callable[[Path], object]] = {
    "a file": lambda folder: (folder / "file").touch(),
    "a folder": lambda folder: (folder / "folder").mkdir(),
    "its mode": lambda folder: folder.chmod(0o755),
    "a set bit": lambda folder: folder.chmod(0o1700),
    "removed": Path.rmdir,
    "a link to another": _link,
}


@pytest.mark.parametrize("touch", _TOUCHES.values(), ids=_TOUCHES)
async def test_a_folder_that_was_touched_is_not_for_another_process(
    tmp_path: Path, touch: Callable[[Path], object]
) -> None:
    async with open_commons(tmp_path) as commons:
        (tmp_path / "other").mkdir(mode=0o700)
        folder = commons.make_folder("shop-1")
        assert commons.is_untouched(folder)
        touch(folder)
        assert not commons.is_untouched(folder)


def test_a_folder_goes_whatever_was_left_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "shop-1"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "file").write_text("x")
    (folder / "a" / "dangling").symlink_to("nowhere")
    (folder / "c").mkdir()
    os.mkfifo(folder / "a" / "b" / "pipe")
    remove_tree(folder)
    assert list(tmp_path.iterdir()) == []


def test_permissions_taken_away_hold_nothing_up(tmp_path: Path) -> None:
    folder = tmp_path / "shop-1"
    deepest = folder / "a" / "b" / "c"
    deepest.mkdir(parents=True)
    (deepest / "file").write_text("x")
    for level in (deepest, *deepest.parents[:3]):
        level.chmod(0)
    remove_tree(folder)
    assert list(tmp_path.iterdir()) == []


def test_neither_is_nesting_without_end_an_obstacle(tmp_path: Path) -> None:
    """Deeper than Python can recurse and longer than a path can be."""
    folder = tmp_path / "shop-1"
    folder.mkdir()
    dig = "import os\nname = 'a' * 50\nfor _ in range(1100): os.mkdir(name); os.chdir(name)\nopen('file', 'w').close()"
    subprocess.run([sys.executable, "-I", "-c", dig], cwd=folder, check=True, timeout=50)
    before = open_fds()
    remove_tree(folder)
    assert list(tmp_path.iterdir()) == []
    assert open_fds() == before


def test_what_a_symlink_leads_to_is_left_alone(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "shop-1"
    outside.mkdir(mode=0o750)
    (outside / "file").write_text("x")
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    remove_tree(folder)
    assert not folder.exists()
    assert (outside / "file").read_text() == "x"
    assert outside.stat().st_mode & 0o777 == 0o750


def test_a_symlink_in_the_place_of_the_folder_is_left_alone(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "shop-1"
    outside.mkdir()
    (outside / "file").write_text("x")
    folder.symlink_to(outside)
    remove_tree(folder)
    assert (outside / "file").read_text() == "x"


def test_what_is_gone_already_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


async def test_a_start_that_finds_no_room_for_its_folder_is_put_off_and_leaks_nothing(tmp_path: Path) -> None:
    async with open_commons(tmp_path / "missing") as commons:
        before = open_fds()
        with pytest.raises(StartFailed, match="no private folder"):
            await commons.new_folder("shop-1")
        assert open_fds() == before
