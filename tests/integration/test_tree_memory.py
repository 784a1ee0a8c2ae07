"""What counts towards `memory`: everything that an instance uses and starts, even while it runs no call."""

import asyncio
import os
import re

import pytest

from sandbox.spec import MIB, Limits
from tests.kit.groups import FOUND, can, told
from tests.kit.support import Bench, answer, event, failure, is_gone, running_tree, until

pytestmark = pytest.mark.ordinary_user

SMALL = Limits(memory_bytes=64 * MIB)


@pytest.mark.parametrize(
    ("handler", "what"),
    [
        ("executed_child", "in processes that it started"),
        ("forked_grandchild", "in processes that it started"),
        ("mapped_memfd", "used more than its 64 MiB of memory: "),
        pytest.param(
            *("unmapped_memfd", "in files in memory"),
            marks=pytest.mark.skipif(os.getuid() != 0, reason="only root can look at descriptors of other processes"),
        ),
    ],
)
async def test_memory_counts_wherever_it_is(bench: Bench, handler: str, what: str) -> None:
    instance, _ = await bench.tree.start(bench.spec("memory", handler, limits=SMALL))
    failed = failure(await instance.invoke(event(b"300")))

    assert (failed.kind, failed.code) == ("crash", "MemoryExceeded")
    assert what in failed.message
    assert 64 < _peak_mib(failed.message) <= 360
    await until(lambda: is_gone(instance.pid))


async def test_an_instance_that_grows_between_two_calls_is_ended_and_the_log_says_why(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("memory", "between_calls", limits=SMALL))
    pid = answer(await instance.invoke(event(b"300")))

    await until(lambda: is_gone(pid))
    [line] = [text for text in bench.texts() if text.startswith(f"[forklight] {instance.id} was killed: ")]
    assert line.endswith(" MiB at its peak while it ran no call")


async def test_what_forked_processes_share_is_counted_once(bench: Bench) -> None:
    spec = bench.spec("memory", "pool_of_forks", limits=Limits(memory_bytes=128 * MIB))

    assert await bench.answer(spec, 60) == [0] * 6


async def test_threads_start_whatever_the_memory_is(bench: Bench) -> None:
    assert await bench.answer(bench.spec("memory", "threads", limits=SMALL), 200) == 200


async def test_that_no_more_threads_can_start_says_what_helps(bench: Bench) -> None:
    failed = await bench.failure(bench.spec("memory", "threads", limits=SMALL), 2000)

    assert (failed.kind, failed.code) == ("error", "RuntimeError")
    assert failed.message.startswith("can't start new thread: threads count towards max_processes, and their stacks")


def _peak_mib(message: str) -> int:
    """The peak that a message names."""
    found = re.search(r"(\d+) MiB at (its|their) peak", message)
    assert found is not None, message
    return int(found[1])


async def test_a_handler_that_gets_no_memory_is_told_how_much_it_may_have(bench: Bench) -> None:
    failed = await bench.failure(bench.spec("memory", "at_once", limits=SMALL), 100_000)

    assert (failed.kind, failed.code) == ("crash", "MemoryExceeded")
    assert failed.message.startswith("the handler ran out of memory: it may have 64 MiB (memory), its process had ")
    assert 0 < _peak_mib(failed.message) < 64


async def test_memory_faster_than_any_sweep_ends_at_the_group_of_the_function() -> None:
    """Several at once: each ends, a function beside them answers, and none gets more than its group may have."""
    async with running_tree(cgroups=FOUND) as bench:
        specs = [bench.spec("memory", "at_once", limits=SMALL, name=f"greedy{n}") for n in range(3)]
        greedy = [(await bench.tree.start(spec))[0] for spec in specs]
        other, _ = await bench.tree.start(bench.spec("memory", "getpid"))
        outcomes = [asyncio.ensure_future(instance.invoke(event(b"1000"))) for instance in greedy]
        while not all(outcome.done() for outcome in outcomes):
            assert answer(await other.invoke(event())) == other.pid
        for spec, outcome in zip(specs, outcomes, strict=True):
            failed = failure(outcome.result())
            assert (failed.kind, failed.code) == ("crash", "MemoryExceeded")
            template = await bench.tree.load(spec)
            assert re.search("used more than (its 64|their [0-9]+) MiB of memory: ", failed.message)
            if can("memory"):
                assert _peak_mib(failed.message) <= template.group.memory_bytes // MIB <= 64 * 5 // 4 + 100
            else:
                assert told("memory")
