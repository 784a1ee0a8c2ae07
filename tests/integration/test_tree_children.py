"""Handlers that start processes and threads; functions that have a thread before their first event."""

import asyncio
import os

import pytest

from tests.kit.support import Bench, answer, event, is_gone, until

pytestmark = pytest.mark.any_user


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("by_fork", [0, 2, 4, 6, 8]),
        ("by_spawn", [0, 2, 4, 6, 8]),
        ("by_queue", [42, 0]),
        ("by_executor", [0, 2, 4, 6, 8]),
        ("by_threads", [0, 2, 4, 6, 8]),
        ("by_thread", [8]),
        ("by_subprocess", "42"),
        ("terminated", True),
        ("terminates_its_group", True),
    ],
)
async def test_a_handler_may_use_processes_and_threads(bench: Bench, handler: str, expected: object) -> None:
    instance, _ = await bench.tree.start(bench.spec("children", handler))

    for _ in range(2):
        assert answer(await instance.invoke(event())) == expected


@pytest.mark.parametrize("handler", ["handler", "asynchronous"])
async def test_with_a_thread_after_the_import_each_instance_is_loaded_by_itself(bench: Bench, handler: str) -> None:
    spec = bench.spec("threads", handler)
    (zygote_pid, kinds, pids) = (0, [], set())
    for _ in range(3):
        instance, kind = await bench.tree.start(spec)
        zygote_pid = bench.tree.zygotes()[0].pid
        found = answer(await instance.invoke(event()))
        assert found == {"pid": instance.pid, "parent": zygote_pid}
        assert answer(await instance.invoke(event())) == found
        kinds.append(kind)
        pids.add(instance.pid)

    assert kinds == ["boot", "load", "load"]
    assert len(pids) == 3


async def test_the_template_tells_whose_thread_it_is(bench: Bench) -> None:
    await bench.tree.start(bench.spec("threads"))

    loaded = bench.tree.templates()[0].loaded
    assert (loaded.threads, loaded.thread_owner) == (2, "function (heart, started at function.py:17)")


async def test_instances_with_threads_can_be_asked_for_at_once(bench: Bench) -> None:
    spec = bench.spec("threads")
    started = await asyncio.gather(*(bench.tree.start(spec) for _ in range(4)))

    assert len({instance.pid for instance, _ in started}) == 4
    for instance, _ in started:
        assert answer(await instance.invoke(event()))["pid"] == instance.pid


async def test_an_instance_with_threads_leaves_and_crashes_like_any_other(bench: Bench) -> None:
    spec = bench.spec("threads")
    leaver, _ = await bench.tree.start(spec)
    crasher, _ = await bench.tree.start(spec)
    leaver.leave()
    os.kill(crasher.pid, 9)

    await until(lambda: leaver.state == crasher.state == "dead")
    for instance in (leaver, crasher):
        assert is_gone(instance.pid)
    _, kind = await bench.tree.start(spec)
    assert kind == "load"


async def test_a_function_with_threads_is_kept_ready_too(bench: Bench) -> None:
    spec = bench.spec("threads")
    bench.tree.keep(spec)
    for _ in range(2):
        (ready,) = await until(lambda: [one for one in bench.tree.templates() if one.must_become and not one.instances])
        instance, kind = await bench.tree.start(spec)
        assert (instance.pid, kind) == (ready.pid, "load")
