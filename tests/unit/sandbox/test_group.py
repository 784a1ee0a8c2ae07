"""The control group of a template: what it bounds, and what it tells of the kernel's decisions."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.cgroups import Found, Groups, Place, open_groups
from sandbox.containment import Containment
from sandbox.group import Group
from sandbox.spec import MIB, FunctionSpec, Limits, Runtime
from tests.kit.groups import FOUND, can, told

WAITS = "import sys; sys.stdin.readline(); "


ANY = Containment()


def spec(containment: Containment = ANY, **limits: int) -> FunctionSpec:
    runtime = Runtime(name="r", python=Path(sys.executable))
    own = Limits(**limits) if limits else Limits(template_memory_bytes=MIB)
    return FunctionSpec(
        name="f", version="1", code=Path("/"), handler="a:b", runtime=runtime, limits=own, containment=containment
    )


@contextmanager
def in_group(group: Group, code: str, of: FunctionSpec) -> Iterator["subprocess.Popen[str]"]:
    """A process in the group, which runs the code once it has got a line."""
    command = [sys.executable, "-S", "-c", WAITS + code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        group.admit(process.pid, of)
        yield process


def run(group: Group, code: str, of: FunctionSpec) -> tuple[int, str]:
    """Run a process in the group; returns its exit code and what it printed."""
    with in_group(group, code, of) as process:
        printed, _ = process.communicate("go\n", timeout=30)
        return process.returncode, printed


def test_a_process_that_the_kernel_kills_for_memory_is_told_so_once() -> None:
    if not can("memory"):
        assert told("memory")
        return
    with open_groups(FOUND) as groups:
        group = Group(groups, 1)
        code, _ = run(group, f"held = b'x' * {200 * MIB}", spec())

        assert code == -signal.SIGKILL
        assert group.why_killed(-signal.SIGTERM, 0) == ""
        why = group.why_killed(128 + signal.SIGKILL, 7 * 1024)  # of a process that has ended as its child did
        assert why.startswith("the function's processes together used more than their 33 MiB of memory: 33 MiB at")
        assert why.endswith("peak, 7 MiB of it in this one when last seen, which the kernel ended")
        assert group.why_killed(code, 0) == ""  # another SIGKILL has another reason
        assert group.remove()
        assert not group.remove() or group.exists


def test_once_it_has_loaded_memory_is_added_for_each_instance_and_never_taken_away() -> None:
    with open_groups(FOUND) as groups:
        group, of = Group(groups, 1), spec(memory_bytes=64 * MIB, template_memory_bytes=1024 * MIB)
        with in_group(group, "", of):
            assert group.memory_bytes == (1312 * MIB if can("memory") else 0)
            group.allow_instances(1, of, 8 * 1024)
            assert group.memory_bytes == ((42 + 112) * MIB if can("memory") else 0)
            group.allow_instances(2, of, 8 * 1024)
            most = group.memory_bytes
            group.allow_instances(1, of, 8 * 1024)
            assert group.memory_bytes == most == ((42 + 224) * MIB if can("memory") else 0)
            assert told("memory") or can("memory")


def test_processes_beyond_the_limit_cannot_start() -> None:
    if not can("pids"):
        assert told("pids")
        return
    forks = "import os, time\ntry:\n  for n in range(100): os.fork() or time.sleep(60)\n"
    forks += "except OSError as error: print(n, error.strerror, flush=True); sys.stdin.readline()"
    with open_groups(FOUND) as groups:
        group, of = Group(groups, 1), spec(Containment(max_processes=5))
        assert not group.is_full()
        with in_group(group, forks, of) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "5 Resource temporarily unavailable\n"
            assert group.is_full()
            group.hold_forks(process.pid)
            assert (groups.folders["pids"].folder / "t1/pids.max").read_text() == "0\n"
            group.release_forks(process.pid, of)
            assert (groups.folders["pids"].folder / "t1/pids.max").read_text() == "6\n"
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == 0
        group.remove()  # with the children, which would go on forking


def test_whatever_is_left_in_a_group_is_killed_with_it() -> None:
    """Also what forks as fast as it can."""
    if not can("pids"):
        assert told("pids")
        return
    bomb = "import os\nprint('on', flush=True)\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    with open_groups(FOUND) as groups:
        group, of = Group(groups, 1), spec(Containment(max_processes=8), template_memory_bytes=256 * MIB)
        with in_group(group, bomb, of) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            process.stdout.readline()
            folder = groups.folders["pids"].folder / "t1"
            while not group.is_full():
                pass
            removed = threading.Thread(target=group.remove)
            removed.start()
            assert process.wait(10) == -signal.SIGKILL  # reaped, so that the group can go
            removed.join(10)
            assert not folder.exists()


def test_a_share_of_the_processors_holds_and_the_wait_for_it_is_counted() -> None:
    if not can("cpu"):
        assert told("cpu")
        return
    burns = "import time\nend = time.process_time() + 0.06\nwhile time.process_time() < end: pass"
    with open_groups(FOUND) as groups:
        group = Group(groups, 1)
        assert run(group, burns, spec(Containment(cpu=0.1)))[0] == 0
        throttled_us = group.strains.read(1 << 62, 0).strain.throttled_us
        assert throttled_us is not None
        assert throttled_us > 100_000
        assert group.remove()


def test_pressure_is_told_where_there_are_groups_of_version_2() -> None:
    with open_groups(FOUND) as groups:
        group = Group(groups, 1)
        assert run(group, "", spec())[0] == 0
        strain = group.strains.read(1 << 62, 0).strain
        told_all = [figure is not None for figure in (strain.memory_us, strain.io_us, strain.cpu_us)]
        assert told_all == [groups.pressure is not None] * 3


FILES: dict[int, dict[str, str]] = {
    1: {
        "memory.limit_in_bytes": "34865152",
        "memory.memsw.limit_in_bytes": "34865152",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
        "memory.max_usage_in_bytes": "34865152",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "cpu.stat": "nr_periods 9\nnr_throttled 3\nthrottled_time 7000999\n",
    },
    2: {
        "memory.max": "34865152",
        "memory.swap.max": "0",
        "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n",
        "memory.peak": "34865152",
        "cpu.max": "50000 100000",
        "cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 7000\n",
    },
}


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_write_and_read_the_files_that_the_kernel_gives_them(tmp_path: Path, version: int) -> None:
    """On plain files, because a machine has one version only: names and values are those of the kernel's pages."""
    place = Place(tmp_path, 1 if version == 1 else 2)
    files = dict(FILES[version])
    groups = Groups(Found())
    groups.folders |= {"memory": place, "pids": place, "cpu": place}
    for name in ("memory", "io", "cpu"):
        files[f"{name}.pressure"] = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={len(name)}\nfull avg10=0 total=0\n"
    groups.pressure = tmp_path
    group, folder = Group(groups, 1), tmp_path / "t1"
    folder.mkdir()
    for name in (*files, "pids.max", "pids.current", "cgroup.procs"):
        (folder / name).write_text("")
    group.admit(4242, spec(Containment(max_processes=7, cpu=0.5)))

    assert (folder / "cgroup.procs").read_text() == "4242"
    assert (folder / "pids.max").read_text() == "8"
    for name in {
        "memory.limit_in_bytes",
        "cpu.cfs_quota_us",
        "memory.max",
        "memory.swap.max",
        "cpu.max",
    } & files.keys():
        assert (folder / name).read_text() == files[name], name
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "pids.current").write_text("8")
    assert group.is_full()
    assert group.why_killed(-signal.SIGKILL, 0) != ""
    assert group.why_killed(-signal.SIGKILL, 0) == ""
    strain = group.strains.read(1 << 62, 0).strain
    assert (strain.throttled_us, strain.memory_us, strain.io_us, strain.cpu_us) == (7000, 6, 2, 3)
