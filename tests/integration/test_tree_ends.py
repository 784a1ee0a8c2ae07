"""Calls that fail by deadlines, crashes and memory: their outcomes, and that no process of them is left."""

import asyncio
import signal
import uuid

import pytest

from sandbox.spec import MIB, Limits
from tests.kit.support import Bench, answer, event, failure, is_gone, processes_with, until

pytestmark = pytest.mark.any_user

QUICK = {"timeout_s": 0.2, "grace_s": 0.2}


@pytest.mark.parametrize(
    ("handler", "place"),
    [
        ("loops", "in loops"),
        ("sleeps", "in sleeps"),
        ("backtracks", "in backtracks"),
        ("powers", "in powers"),
        ("holds_gil", "in holds_gil"),
        ("ignores_sigterm", "in ignores_sigterm"),
        ("catches_everything", "in catches_everything"),
        ("awaits", "in deeper"),
        ("blocks_the_loop", "in blocks_the_loop"),
        ("swallows", "in swallows"),
    ],
)
async def test_a_handler_past_its_deadline_is_ended_and_says_where_it_was(
    bench: Bench, handler: str, place: str
) -> None:
    failed = await bench.failure(bench.spec("slow", handler, **QUICK))

    assert (failed.kind, failed.code) == ("timeout", "Timeout")
    assert place in failed.traceback
    assert "_forklight" not in failed.traceback
    assert failed.timings.finished_ns - failed.timings.assigned_ns >= 200_000_000


@pytest.mark.parametrize("handler", ["cleans_up", "awaits"])
async def test_the_grace_is_for_finally(bench: Bench, handler: str) -> None:
    instance, _ = await bench.tree.start(bench.spec("slow", handler, timeout_s=0.2, grace_s=20.0))
    one = event()
    failed = failure(await instance.invoke(one))

    assert failed.kind == "timeout"
    assert [line.text for line in bench.lines if line.invocation == one.id] == ["cleaned up"]


async def test_a_result_after_the_deadline_is_too_late(bench: Bench) -> None:
    failed = await bench.failure(bench.spec("slow", "finishes_late", timeout_s=0.2, grace_s=20.0))

    assert (failed.kind, failed.code) == ("timeout", "Timeout")


async def test_a_sync_instance_that_timed_out_is_never_used_again(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("slow", "sleeps", timeout_s=0.2, grace_s=20.0))
    failure(await instance.invoke(event()))

    assert instance.free_slots == 0
    await until(lambda: is_gone(instance.pid))


async def test_an_async_instance_lives_on(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("slow", "sometimes", timeout_s=0.2, grace_s=20.0))
    failed = failure(await instance.invoke(event(b'"slow"')))

    assert failed.kind == "timeout"
    assert "in sometimes" in failed.traceback
    assert answer(await instance.invoke(event(b'"quick"'))) == "quick"


async def test_nothing_that_a_timed_out_call_started_is_left(bench: Bench) -> None:
    mark = uuid.uuid4().hex
    instance, _ = await bench.tree.start(bench.spec("slow", "starts_others", timeout_s=4.0, grace_s=0.1))
    call = instance.invoke(event(f'"{mark}"'.encode()))
    await until(lambda: "started" in bench.texts() and len(processes_with(mark)) == 3)
    failed = failure(await call)

    assert failed.kind == "timeout"
    await until(lambda: not processes_with(mark))


async def test_what_a_handler_left_running_ends_with_its_instance(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("children", "leaves_behind"))
    mark = f"1000.{uuid.uuid4().int}"
    answer(await instance.invoke(event(f'"{mark}"'.encode())))
    assert len(processes_with(mark)) == 3
    dead = asyncio.Event()
    instance.on_dead = lambda _instance: dead.set()
    instance.leave()
    await dead.wait()

    assert not processes_with(mark)


@pytest.mark.parametrize(
    ("handler", "data", "code", "message"),
    [
        ("hard_exit", 3, "Exit", "exit code 3"),
        ("hard_exit", 0, "Exit", "exit code 0"),
        ("signals", signal.SIGKILL, "Signal", "SIGKILL"),
        ("signals", signal.SIGUSR1, "Signal", "SIGUSR1"),
        ("segfaults", None, "Signal", "SIGSEGV"),
        ("aborts", None, "Signal", "SIGABRT"),
        ("closes_all", None, "Exit", "closed its connection"),
    ],
)
async def test_a_handler_that_ends_its_process(
    bench: Bench, handler: str, data: object, code: str, message: str
) -> None:
    failed = await bench.failure(bench.spec("crashing", handler), data)

    assert (failed.kind, failed.code) == ("crash", code)
    assert message in failed.message


@pytest.mark.parametrize(("handler", "place"), [("segfaults", "in inner"), ("aborts", "in aborts")])
async def test_a_fatal_signal_leaves_the_stack(bench: Bench, handler: str, place: str) -> None:
    failed = await bench.failure(bench.spec("crashing", handler))

    assert place in failed.traceback
    assert "_forklight" not in failed.traceback


@pytest.mark.parametrize(("handler", "code"), [("exits", "SystemExit"), ("recurses", "RecursionError")])
async def test_what_can_be_caught_is_an_error_and_the_instance_goes_on(bench: Bench, handler: str, code: str) -> None:
    instance, _ = await bench.tree.start(bench.spec("crashing", handler))
    failed = [failure(await instance.invoke(event(b"3"))) for _ in range(2)]

    assert [(one.kind, one.code, one.instance) for one in failed] == [("error", code, instance.id)] * 2


@pytest.mark.parametrize("handler", ["grows", "asks_for_too_much", "one_by_one", "fails_with_memory"])
async def test_memory_over_the_limit_is_a_crash(bench: Bench, handler: str) -> None:
    instance, _ = await bench.tree.start(bench.spec("crashing", handler, limits=Limits(memory_bytes=64 * MIB)))
    failed = failure(await instance.invoke(event()))

    assert (failed.kind, failed.code) == ("crash", "MemoryExceeded")
    await until(lambda: is_gone(instance.pid))


async def test_a_reply_counts_though_the_process_died_right_after(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("crashing", "replies_then_dies"))

    assert answer(await instance.invoke(event())) == "still good"


async def test_a_crash_is_no_matter_for_the_siblings(bench: Bench) -> None:
    spec = bench.spec("crashing", "segfaults")
    sibling, _ = await bench.tree.start(bench.spec("plain"))
    for _ in range(3):
        failed = await bench.failure(spec)
        assert failed.code == "Signal"
        assert answer(await sibling.invoke(event()))["pid"] == sibling.pid
