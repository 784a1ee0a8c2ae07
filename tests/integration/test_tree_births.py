"""Births and ends of many instances at once; instances that warm up ahead of an event, and that end by themselves."""

import asyncio
import os
import signal
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sandbox.errors import LoadFailed, StartFailed
from sandbox.instance import Instance
from sandbox.spec import FunctionSpec, Hooks
from tests.kit.support import Bench, answer, event, failure, is_gone, until

pytestmark = pytest.mark.any_user
HANDLERS = ("handler", "asynchronous")


async def _start(bench: Bench, spec: FunctionSpec, count: int) -> list[Instance]:
    """So many, asked for in the same turn."""
    return [instance for instance, _ in await asyncio.gather(*(bench.tree.start(spec) for _ in range(count)))]


def _ends(instances: Sequence[Instance]) -> "list[asyncio.Future[None]]":
    ends = [asyncio.get_running_loop().create_future() for _ in instances]
    for instance, end in zip(instances, ends, strict=True):
        instance.on_dead = lambda _instance, end=end: end.set_result(None)  # type: ignore[misc]
    return ends


def _is_dead(instance: Instance) -> bool:
    return instance.is_dead


async def test_instances_asked_for_at_once_share_nothing(bench: Bench) -> None:
    spec = bench.spec("births")
    await bench.tree.load(spec)
    instances = await _start(bench, spec, 20)

    assert len({instance.pid for instance in instances}) == 20
    calls = await asyncio.gather(*(instance.invoke(event()) for instance in instances))
    assert [answer(one)["calls"] for one in calls] == [1] * 20
    first, *others = instances
    (end,) = _ends([first])
    first.leave()  # a sibling with a copy of its socket would keep it from seeing the end of file
    await end
    assert not any(instance.is_dead for instance in others)


async def test_instances_that_die_together_are_each_buried_with_their_own_end(bench: Bench) -> None:
    spec = bench.spec("births", "waits")
    instances = await _start(bench, spec, 5)
    (template,) = bench.tree.templates()
    calls = [instance.invoke(event()) for instance in instances]
    pids = [instance.pid for instance in instances]
    signals = [signal.SIGKILL, signal.SIGUSR1] * 2 + [signal.SIGKILL]
    os.kill(template.pid, signal.SIGSTOP)
    for instance, number in zip(instances, signals, strict=True):
        signal.pidfd_send_signal(instance.pidfd, number)
    await until(lambda: all(map(_is_dead, instances)))
    os.kill(template.pid, signal.SIGCONT)

    ends = [failure(await call) for call in calls]
    assert [(end.code, number.name in end.message) for end, number in zip(ends, signals, strict=True)] == [
        ("Signal", True)
    ] * 5
    assert all(map(is_gone, pids))
    assert bench.tree.templates() == [template]


async def test_a_template_that_ends_between_two_forks_takes_its_newborn_along_and_nothing_else(bench: Bench) -> None:
    spec = bench.spec("births", hooks=Hooks(init="function:ends_third_fork"))
    await bench.tree.load(spec)
    (first,) = bench.tree.templates()
    started = await asyncio.gather(*(bench.tree.start(spec) for _ in range(4)), return_exceptions=True)

    failed = [one.code for one in started if isinstance(one, LoadFailed)]
    instances = [one[0] for one in started if not isinstance(one, BaseException)]
    assert set(failed) <= {"CrashLoop"}
    assert len(failed) + len(instances) == 4
    await first.gone.wait()
    assert not first.instances
    assert (await bench.answer(bench.spec("plain")))["calls"] == 1


async def test_a_fork_that_fails_among_others_is_the_only_one_that_fails(bench: Bench) -> None:
    spec = bench.spec("births", hooks=Hooks(init="function:refuses_second_fork"))
    await bench.tree.load(spec)
    started = await asyncio.gather(*(bench.tree.start(spec) for _ in range(6)), return_exceptions=True)

    assert [isinstance(one, StartFailed) for one in started] == [False, True] * 3
    for one in started[::2]:
        assert not isinstance(one, BaseException)
        assert answer(await one[0].invoke(event()))["calls"] == 1


@pytest.mark.parametrize("handler", HANDLERS)
async def test_an_instance_started_ahead_has_touched_the_pages_of_its_first_call(bench: Bench, handler: str) -> None:
    spec = bench.spec("births", handler)
    faults = {}
    for ahead in (False, True):
        instance, _ = await bench.tree.start(spec, ahead=ahead)
        first, second = [answer(await instance.invoke(event(b'{"n": 1}'))) for _ in range(2)]
        assert (first["calls"], second["calls"], first["start"]) == (1, 2, "warm")
        faults[ahead] = second["faults"] - first["faults"]
    assert faults[True] < faults[False] / 2
    assert bench.texts() == []


@pytest.mark.parametrize("handler", HANDLERS)
async def test_an_instance_ends_by_itself_after_its_calls(bench: Bench, handler: str) -> None:
    spec = bench.spec("births", handler, hooks=Hooks(stop="function:stop"))
    instance, _ = await bench.tree.start(spec, calls=2)
    (end,) = _ends([instance])
    assert answer(await instance.invoke(event()))["calls"] == 1
    assert instance.is_serving
    assert answer(await instance.invoke(event()))["calls"] == 2
    await end
    assert bench.texts() == ["stopped 2", "at exit"]


async def test_folders_are_made_and_removed_outside_the_event_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[int]] = {}

    def watch(owner: ModuleType | type, name: str) -> None:
        real = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            threads.setdefault(name, set()).add(threading.get_ident())
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    watch(tempfile, "mkdtemp")
    watch(Path, "rmdir")
    spec = bench.spec("births", "leaves")
    for _ in range(3):
        instance, _ = await bench.tree.start(spec)
        (end,) = _ends([instance])
        await instance.invoke(event(b'"a file"'))
        instance.leave()
        await end
    await until(lambda: "rmdir" in threads)
    assert threads.keys() == {"mkdtemp", "rmdir"}
    assert threading.get_ident() not in set().union(*threads.values())


@pytest.mark.parametrize("what", ["a file", "its mode"])
async def test_only_an_untouched_folder_goes_to_another_instance(bench: Bench, what: str) -> None:
    spec = bench.spec("births", "leaves")

    async def folder(data: str) -> Path:
        instance, _ = await bench.tree.start(spec)
        (end,) = _ends([instance])
        home = Path(answer(await instance.invoke(event(data.encode()))))
        instance.leave()
        await end
        return home

    first, second = await folder('"nothing"'), await folder(f'"{what}"')
    third, fourth = await folder('"nothing"'), await folder('"nothing"')
    assert first == second
    assert second not in (third, fourth)
    await until(lambda: not first.exists())
