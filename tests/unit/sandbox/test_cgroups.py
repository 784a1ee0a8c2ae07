"""Where control groups can be made, and that nothing of a server stays behind there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import cgroups
from sandbox.cgroups import CONTROLLERS, LEAF, Found, Groups, Place, find, mounted, open_groups, remove_leftovers
from tests.kit.groups import FOUND

HYBRID = """\
24 21 0:21 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:22 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
26 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
27 24 0:24 /docker/1 /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory
28 24 0:25 / /sys/fs/cgroup/a\\040b rw,relatime - cgroup cgroup rw,pids
29 24 0:26 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""
OWN = "5:pids:/../other\n4:memory:/docker/1/below\n3:cpu,cpuacct:/system.slice\n1:name=systemd:/x\n0::/user.slice\n"


def test_the_hierarchies_are_found_with_the_own_group_in_each() -> None:
    found = {one.controllers: (one.version, str(one.group)) for one in mounted(HYBRID, OWN)}

    assert found == {
        frozenset(): (2, "/sys/fs/cgroup/unified/user.slice"),
        frozenset({"cpu"}): (1, "/sys/fs/cgroup/cpu,cpuacct/system.slice"),
        frozenset({"memory"}): (1, "/sys/fs/cgroup/memory/below"),
        frozenset({"pids"}): (1, "/sys/fs/cgroup/a b"),  # its own lies outside of what is mounted
    }


def test_a_machine_without_any_has_none() -> None:
    assert mounted("24 21 0:21 / /proc rw - proc proc rw\n", "0::/\n") == []


@pytest.mark.ordinary_user
def test_for_each_controller_there_is_a_place_or_a_reason_with_a_remedy() -> None:
    found = find()

    assert found.places.keys() | found.lacks.keys() == set(CONTROLLERS)
    assert not found.places.keys() & found.lacks.keys()
    for lack in found.lacks.values():
        assert lack.why
        assert lack.how
    if os.getuid() != 0 and found.lacks:
        assert any("is not writable for this user" in lack.why for lack in found.lacks.values()), found.lacks


@pytest.mark.ordinary_user
def test_a_server_has_a_group_of_its_own_and_removes_it() -> None:
    with open_groups(FOUND) as one, open_groups(FOUND) as other:
        assert one.folders.keys() == FOUND.places.keys()
        assert one.lacks == FOUND.lacks
        folders = [place.folder for place in (*one.folders.values(), *other.folders.values())]
        assert all(folder.is_dir() for folder in folders)
        assert {place.folder for place in one.folders.values()}.isdisjoint(
            place.folder for place in other.folders.values()
        )
        for folder in set(folders):
            (folder / "t1").mkdir()

    assert not any(folder.exists() for folder in folders)


@pytest.mark.ordinary_user
def test_the_groups_of_a_killed_server_are_removed_and_those_of_a_living_one_are_not() -> None:
    script = (
        "import time; from sandbox import cgroups\n"
        "groups = cgroups.Groups(cgroups.find())\n"
        "for place in set(groups.folders.values()): (place.folder / 't1').mkdir()\n"
        "print(*(place.folder for place in groups.folders.values()), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        folders = [Path(each) for each in server.stdout.readline().split()]
        for place in FOUND.places.values():
            remove_leftovers(place.folder)
        assert all((folder / "t1").is_dir() for folder in folders)
        server.send_signal(signal.SIGKILL)

    assert len(folders) == len(FOUND.places)
    for place in FOUND.places.values():
        remove_leftovers(place.folder)
    assert not any(folder.exists() for folder in folders)


def test_a_place_that_vanishes_is_a_lack(tmp_path: Path) -> None:
    gone = Found(places={"memory": Place(tmp_path / "gone", 1)})
    groups = Groups(gone)

    assert groups.folders == {}
    assert "No such file" in groups.lacks["memory"].why
    groups.close()


def test_in_version_2_the_server_moves_into_a_leaf_and_passes_controllers_on(tmp_path: Path) -> None:
    """On files with the names that the kernel gives them; `test_a_real_group_of_version_2` has real ones."""
    (tmp_path / "cgroup.type").write_text("domain\n")
    (tmp_path / LEAF).mkdir()
    for folder in (tmp_path, tmp_path / LEAF):
        (folder / "cgroup.procs").write_text("")
        (folder / "cgroup.subtree_control").write_text("")
    groups = Groups(Found(places={"memory": Place(tmp_path, 2)}))

    assert (tmp_path / LEAF / "cgroup.procs").read_text() == str(os.getpid())
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
    assert groups.folders["memory"].folder.parent == tmp_path
    assert (groups.folders["memory"].folder / "cgroup.subtree_control").read_text() == "+memory"
    groups.close()


_REAL = """
import contextlib, os, sys, time
from pathlib import Path
from sandbox import cgroups
base = Path(sys.argv[1])
names = (base / "cgroup.controllers").read_text().split()[:1]
(base / "cgroup.subtree_control").write_text(f"+{names[0]}")
unit = base / f"test-unit-{os.getpid()}"
unit.mkdir()
try:
    (unit / "cgroup.procs").write_text(str(os.getpid()))
    other = os.fork()
    if other == 0:
        time.sleep(60)
        os._exit(0)
    shared = cgroups._lack_v2(unit)
    assert "has other processes" in shared.why and str(other) in shared.why, shared
    os.kill(other, 9), os.waitpid(other, 0)
    assert cgroups._lack_v2(unit) is None
    groups = cgroups.Groups(cgroups.Found(places=dict.fromkeys(names, cgroups.Place(unit, 2))))
    own = Path("/proc/self/cgroup").read_text()
    assert f"0::/{unit.name}/forklight\\n" in own, own
    assert (unit / "cgroup.subtree_control").read_text().split() == names, groups.lacks
    assert cgroups._lack_v2(cgroups._base(unit / "forklight")) is None  # found again from inside
    for place in groups.folders.values():
        assert (place.folder / "cgroup.subtree_control").read_text().split() == names
    groups.close()
    print("moved, passed on", names, "as", os.getpid())
finally:
    (base / "cgroup.procs").write_text(str(os.getpid()))
    cgroups.remove_empty(unit)
    with contextlib.suppress(OSError):  # another run of this test still needs it
        (base / "cgroup.subtree_control").write_text(f"-{names[0]}")
"""


def test_a_real_group_of_version_2() -> None:
    """With whichever controller this machine leaves to version 2: the rules for moving are the same for all."""
    unified = next((one for one in mounted(*_own_proc()) if one.version == 2), None)
    if unified is None or not os.access(unified.folder, os.W_OK) or os.getuid() != 0 or unified.own != "/":
        assert FOUND.pressure is None or FOUND.pressure.version == 2
        return
    done = subprocess.run(
        [sys.executable, "-c", _REAL, str(unified.folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("moved, passed on")
    assert not list(unified.folder.glob(f"test-unit-{done.stdout.split()[-1]}"))


def _own_proc() -> tuple[str, str]:
    return Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()


def test_every_lack_reads_as_a_sentence_with_its_remedy() -> None:
    assert str(cgroups.Lack("it is so", "do this")) == "it is so: do this"
