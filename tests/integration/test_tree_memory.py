"""What counts towards `memory`: everything that an instance uses and starts, even while it runs no call."""

import os

import pytest

from sandbox.spec import MIB, Limits
from tests.kit.support import Bench, answer, event, failure, is_gone, until

pytestmark = pytest.mark.ordinary_user

SMALL = Limits(memory_bytes=64 * MIB)


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        ("executed_child", "in processes that it started"),
        ("forked_grandchild", "in processes that it started"),
        ("mapped_memfd", "used more than its 64 MiB of memory"),
        pytest.param(
            *("unmapped_memfd", "in files in memory"),
            marks=pytest.mark.skipif(os.getuid() != 0, reason="only root can look at descriptors of other processes"),
        ),
    ],
)
async def test_memory_counts_wherever_it_is(bench: Bench, handler: str, told: str) -> None:
    instance, _ = await bench.tree.start(bench.spec("memory", handler, limits=SMALL))
    failed = failure(await instance.invoke(event(b"300")))

    assert (failed.kind, failed.code) == ("crash", "MemoryExceeded")
    assert told in failed.message
    await until(lambda: is_gone(instance.pid))


async def test_an_instance_that_grows_between_two_calls_is_ended_and_the_log_says_why(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("memory", "between_calls", limits=SMALL))
    pid = answer(await instance.invoke(event(b"300")))

    await until(lambda: is_gone(pid))
    told = (
        f"[forklight] {instance.id} was killed: the instance used more than its 64 MiB of memory while it ran no call"
    )
    assert told in bench.texts()


async def test_what_forked_processes_share_is_counted_once(bench: Bench) -> None:
    spec = bench.spec("memory", "pool_of_forks", limits=Limits(memory_bytes=128 * MIB))

    assert await bench.answer(spec, 60) == [0] * 6


async def test_threads_start_whatever_the_memory_is(bench: Bench) -> None:
    assert await bench.answer(bench.spec("memory", "threads", limits=SMALL), 200) == 200


async def test_that_no_more_threads_can_start_says_what_helps(bench: Bench) -> None:
    failed = await bench.failure(bench.spec("memory", "threads", limits=SMALL), 2000)

    assert (failed.kind, failed.code) == ("error", "RuntimeError")
    assert failed.message.startswith("can't start new thread: the stacks of threads count towards what `memory` allows")
