"""Nothing outlives the dispatcher, nothing dies for nothing, and nothing piles up.

How often each is tried: as root in full, as an ordinary user in part, as both passes run on every machine.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bus import Failed
from sandbox.containment import Level
from sandbox.errors import InstanceGone, LoadFailed, StartFailed
from sandbox.instance import Instance
from sandbox.kits import MOST_FOLDERS
from sandbox.spec import FunctionSpec
from tests.kit.dispatchers import HANDLERS
from tests.kit.levels import contained, levels
from tests.kit.rounds import rounds
from tests.kit.support import Bench, answer, copy_guest_and_functions, event, readable_folder, until

AS_ROOT = os.getuid() == 0
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.invariant("I16")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("level", {levels()[0], levels()[-1]}, ids=str)
async def test_a_dispatcher_that_is_killed_takes_everything_with_it(level: Level) -> None:
    """At random moments, also while zygotes and templates start, with functions that hide and resist."""
    drivers, kills_each = 4, rounds(4, 50)
    with readable_folder() as folder:
        copy_guest_and_functions(folder)
        folder.chmod(0o755)
        runs = [_kill_dispatchers(folder, kills_each, seed, level) for seed in range(drivers)]
        kills = [kill for run in await asyncio.gather(*runs) for kill in run]

    assert len(kills) == drivers * kills_each
    assert [kill for kill in kills if kill["left"]] == []
    assert max(kill["had"] for kill in kills) > len(HANDLERS)


async def _kill_dispatchers(folder: Path, kills: int, seed: int, level: Level) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.kit.dispatchers", str(folder), str(kills), str(seed), level),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


class Load:
    """Calls without pause on one function; each outcome is kept with the pid of the instance that gave it."""

    def __init__(self, bench: Bench, spec: FunctionSpec) -> None:
        self.bench = bench
        self.spec = spec
        self.instances: set[Instance] = set()
        self.failed: list[tuple[int, Failed]] = []
        self.refused: list[LoadFailed] = []
        self.done = 0
        self.over = False

    async def run(self) -> None:
        """Until `over`."""
        while not self.over:
            try:
                instance, kind = await self.bench.tree.start(self.spec)
            except LoadFailed as error:
                self.refused.append(error)
                await asyncio.sleep(0.01)
                continue
            except StartFailed:  # its box was killed while it opened
                await asyncio.sleep(0.01)
                continue
            self.instances.add(instance)
            await self._use(instance, kind == "fork")
            instance.leave()
            self.instances.discard(instance)

    async def _use(self, instance: Instance, fresh: bool) -> None:
        for _ in range(20):
            try:
                outcome = await instance.invoke(event(), start="fork" if fresh else "warm")
            except InstanceGone:
                return
            self.done += 1
            if isinstance(outcome, Failed):
                self.failed.append((instance.pid, outcome))
                return


DEATHS = [
    *((Level.LIMITS, what) for what in ("instance", "template", "zygote")),
    *((level, "anything") for level in levels() if level is Level.NAMESPACES),
]
"""What is killed, at which level."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("level", "what"), DEATHS, ids=str)
async def test_a_random_death_under_load_costs_only_what_ran_in_that_process(
    bench: Bench, level: Level, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.backoff.HEALTHY_S", 0.0)  # so that so many deaths are not taken for a crash loop
    chance = random.Random(17)
    handlers = ("handler", "parent", "chance", "asynchronous")
    loads = [Load(bench, bench.spec("plain", handler, containment=contained(level))) for handler in handlers]
    running = [asyncio.create_task(load.run()) for load in loads]
    killed: set[int] = set()
    for _ in range(rounds(5, 30 if level is Level.LIMITS else 200)):
        done = [load.done for load in loads]
        pid = await until(lambda: _somebody(bench, loads, what, chance))
        with contextlib.suppress(ProcessLookupError):  # it had just left by itself
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        await until(partial(_have_gone_on, loads, done))
    for load in loads:
        load.over = True
    await asyncio.gather(*running)

    for load in loads:
        for pid, failed in load.failed:
            assert pid in killed or what == "anything", failed  # with the first process of a box dies all that is in it
            assert (failed.kind, failed.code) == ("crash", "Signal"), failed
        for error in load.refused:  # who waited for what was killed while it was made learns so
            assert error.code == "CrashLoop" or "SIGKILL" in error.message or "did not start" in error.message
        while True:  # what is backed off now, comes back
            try:
                instance, _ = await bench.tree.start(load.spec)
            except (LoadFailed, StartFailed):
                await asyncio.sleep(0.05)
            else:
                answer(await instance.invoke(event()))
                break
    if what in ("template", "zygote"):
        assert sum(len(load.failed) for load in loads) == 0


def _have_gone_on(loads: list[Load], done: list[int]) -> bool:
    return any(load.done > before + 5 for load, before in zip(loads, done, strict=True))


def _somebody(bench: Bench, loads: list[Load], what: str, chance: random.Random) -> int:
    """A process of this kind, or of any: also bubblewrap, and the first process of a box."""
    instances = [instance.pid for load in loads for instance in load.instances if instance.state != "dead"]
    templates = [template.pid for template in bench.tree.templates()]
    zygotes = [zygote.pid for zygote in bench.tree.zygotes() if zygote.ended is None]
    kinds = {"instance": instances, "template": templates, "zygote": zygotes}
    if what == "anything":
        with contextlib.suppress(OSError):  # one has just ended
            holders = [pid for pid in map(int, _children(os.getpid())) if _name(pid) == "bwrap"]
            kinds |= {"holder": holders, "first process": [int(pid) for one in holders for pid in _children(one)]}
        what = chance.choice([kind for kind, pids in kinds.items() if pids] or ["zygote"])
    return chance.choice([pid for pid in kinds[what] if pid] or [0])


@pytest.mark.timeout(600)
async def test_many_starts_and_ends_leave_nothing(bench: Bench) -> None:
    cycles, at_once = rounds(150, 10_000), 5
    spec = bench.spec("plain")
    await bench.call(spec)
    (zygote,), (template,) = bench.tree.zygotes(), bench.tree.templates()
    await until(lambda: not template.instances and template._offspring._kits._next is not None)
    before, folders = _holdings(bench, zygote.pid, template.pid), _folders(bench)

    async def cycle() -> None:
        for _ in range(cycles // at_once):
            assert (await bench.answer(spec))["calls"] == 1

    await asyncio.gather(*(cycle() for _ in range(at_once)))
    await until(lambda: not template.instances)

    assert bench.tree.templates() == [template]
    with contextlib.suppress(AssertionError):
        await until(lambda: _holdings(bench, zygote.pid, template.pid) == before)
    assert _holdings(bench, zygote.pid, template.pid) == before
    assert _folders(bench) <= folders + MOST_FOLDERS


def _folders(bench: Bench) -> int:
    """Private folders: a few untouched ones are kept for instances to come."""
    return len(list(bench.folders.glob("*/*")))


def _holdings(bench: Bench, zygote: int, template: int) -> dict[str, object]:
    """All that could pile up, beside folders: descriptors, children (zombies are children), tasks."""
    held: dict[str, object] = {
        "descriptors": Counter(_targets("self")),
        "tasks": len(asyncio.all_tasks()),
        "children": [_children(pid) for pid in (os.getpid(), zygote, template)],
    }
    if AS_ROOT:  # nobody else may look into processes that are not dumpable
        held["others' descriptors"] = [len(_targets(str(pid))) for pid in (zygote, template)]
    return held


def _targets(pid: str) -> list[str]:
    """What its descriptors are, without their inode numbers."""
    found = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{entry}").partition(":")[0])
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return found


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
