"""Several calls at once in one instance of an async handler."""

import asyncio
import os
import signal

import pytest

from sandbox.errors import InstanceGone
from sandbox.spec import Limits
from tests.kit.support import Bench, answer, event, failure, is_gone, until

pytestmark = pytest.mark.any_user


@pytest.mark.invariant("I1")
async def test_an_instance_runs_as_many_calls_at_once_as_it_has_slots(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "meets", concurrency=3))
    calls = [instance.invoke(event(b"3")) for _ in range(3)]

    assert (instance.free_slots, instance.state) == (0, "busy")
    assert [answer(outcome) for outcome in await asyncio.gather(*calls)] == [3, 3, 3]
    assert (instance.free_slots, instance.state) == (3, "idle")


async def test_an_instance_with_several_calls_that_leaves_finishes_all_of_them(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "meets", concurrency=2))
    calls = [instance.invoke(event(b"2")) for _ in range(2)]
    instance.leave()

    with pytest.raises(InstanceGone):
        instance.invoke(event(b"2"))
    assert [answer(outcome) for outcome in await asyncio.gather(*calls)] == [2, 2]


async def test_each_overdue_call_has_the_stack_of_its_own_task(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "late", concurrency=4, timeout_s=0.3, grace_s=0.3))
    waits = [instance.invoke(event(f'"{how}"'.encode())) for how in ("obeys", "here", "there")]
    obeys, here, there = [failure(outcome) for outcome in await asyncio.gather(*waits)]

    assert {failed.kind for failed in (obeys, here, there)} == {"timeout"}
    for failed, own in ((obeys, "in obeys"), (here, "in ignores_here"), (there, "in ignores_there")):
        assert [
            place for place in ("in obeys", "in ignores_here", "in ignores_there") if place in failed.traceback
        ] == [own]
        assert "_forklight" not in failed.traceback


async def test_a_call_that_blocks_the_loop_shows_where_in_all_that_it_held_up(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "blocks", concurrency=3, timeout_s=0.3, grace_s=0.1))
    waits = [instance.invoke(event(f'"{how}"'.encode())) for how in ("wait", "block", "wait")]

    for outcome in await asyncio.gather(*waits):
        failed = failure(outcome)
        assert failed.kind == "timeout"
        assert "in blocks" in failed.traceback


@pytest.mark.invariant("I14")
async def test_each_line_belongs_to_the_call_that_wrote_it(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "writes", concurrency=3))
    events = {name: event(f'"{name}"'.encode()) for name in ("red", "green", "blue")}
    await asyncio.gather(*(instance.invoke(one) for one in events.values()))

    ways = ["prints", "first", "second", "in a task", "in a thread", "in a thread of its own", "in a child"]
    for name, one in events.items():
        lines = [line for line in bench.lines if line.invocation == one.id]
        texts = [line.text for line in lines]
        assert [texts.count(f"{name} {way}") for way in [*ways, "without an end"]] == [1] * 8, texts
        assert [line.level for line in lines if line.text.endswith(f"{name} logs")] == ["warning"]
        [record] = [line for line in lines if line.text.endswith("by the context")]
        assert bytes(record.extra) == f'{{"name_of_call":"{name}"}}'.encode()
        assert {word for text in texts for word in events if word in text} == {name}
    unmarked = {line.text for line in bench.lines if line.invocation is None}
    assert {f"{name} by the system" for name in events} <= unmarked
    assert not [line for line in bench.lines if "\x1f" in line.text]


async def test_each_call_has_the_whole_limit_of_its_log(bench: Bench) -> None:
    spec = bench.spec("together", "floods", concurrency=2, limits=Limits(log_bytes=10_600))
    instance, _ = await bench.tree.start(spec)
    flood, modest = event(b"20000"), event(b"3")
    await asyncio.gather(instance.invoke(flood), instance.invoke(modest))

    texts = {one.id: [line.text for line in bench.lines if line.invocation == one.id] for one in (flood, modest)}
    assert texts[modest.id] == ["000000", "000001", "000002"]
    await until(lambda: [line for line in bench.lines if "more bytes of log dropped" in line.text])
    texts[flood.id] = [line.text for line in bench.lines if line.invocation == flood.id]
    assert texts[flood.id][:-1] == [f"{n:06}" for n in range(100)]
    assert texts[flood.id][-1].startswith("[forklight] ")


@pytest.mark.parametrize(("how", "code"), [("memory", "MemoryExceeded"), ("head", "Breach")])
async def test_the_neighbour_of_a_call_that_costs_the_process_its_life_is_innocent(
    bench: Bench, how: str, code: str
) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "fails_hard", concurrency=2))
    outcomes = await asyncio.gather(instance.invoke(event(f'"{how}"'.encode())), instance.invoke(event(b'"waits"')))

    assert [failure(outcome).code for outcome in outcomes] == [code, "InstanceKilled"]
    assert is_gone(instance.pid)


async def test_the_death_of_the_process_ends_all_its_calls(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("together", "fails_hard", concurrency=3))
    waits = [instance.invoke(event(b'"waits"')) for _ in range(3)]
    os.kill(instance.pid, signal.SIGKILL)

    assert [failure(outcome).code for outcome in await asyncio.gather(*waits)] == ["Signal"] * 3


async def test_hundreds_of_calls_that_are_overdue_together_are_all_cancelled_and_the_process_lives_on(
    bench: Bench,
) -> None:
    spec = bench.spec("together", "late", concurrency=300, timeout_s=0.5, grace_s=20.0)
    instance, _ = await bench.tree.start(spec)
    waits = [instance.invoke(event(b'"obeys"')) for _ in range(300)]
    failed = [failure(outcome) for outcome in await asyncio.gather(*waits)]

    assert {one.kind for one in failed} == {"timeout"}
    assert all("in obeys" in one.traceback for one in failed)
    assert instance.free_slots == 300
