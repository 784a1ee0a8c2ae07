"""Each limit has its own outcome, which names it; and what one function uses up is not missing in another."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from bus import Ok
from sandbox.containment import MIB, Containment, Level
from sandbox.errors import StartFailed
from sandbox.spec import Limits
from tests.kit.groups import FOUND, can, told
from tests.kit.levels import contained, levels, why_not
from tests.kit.support import Bench, answer, event, failure, hosted_tree, until

pytestmark = pytest.mark.ordinary_user

FEW = Containment(max_processes=12)


@pytest.fixture
async def grouped() -> AsyncIterator[Bench]:
    """A running process tree with control groups, where there are any."""
    async with hosted_tree(cgroups=FOUND) as running:
        yield running


async def test_too_many_open_files_name_open_files(bench: Bench) -> None:
    failed = await bench.failure(bench.spec("limits", "leaves_files_open", limits=Limits(open_files=64)))

    assert (failed.kind, failed.code) == ("error", "OSError")
    told_limit = "the process has all 64 files, sockets and pipes open that open_files allows"
    assert failed.message == f"[Errno 24] Too many open files: {told_limit}"


async def test_a_socket_without_data_names_no_limit(bench: Bench) -> None:
    failed = await bench.failure(bench.spec("limits", "reads_nothing"))

    assert (failed.code, failed.message) == ("BlockingIOError", "[Errno 11] Resource temporarily unavailable")


@pytest.mark.parametrize("handler", ["forks", "starts_programs", "starts_threads"])
async def test_too_many_processes_name_max_processes(grouped: Bench, handler: str) -> None:
    spec = grouped.spec("limits", handler, containment=FEW)
    instance, _ = await grouped.tree.start(spec)
    if not can("pids"):
        assert told("pids")
        return
    failed = failure(await instance.invoke(event()))

    assert (failed.kind, failed.code) == ("error", "RuntimeError" if "threads" in handler else "BlockingIOError")
    assert "max_processes" in failed.message
    if handler == "forks":  # the children live until their instance ends
        with pytest.raises(StartFailed, match=r"could be forked: all 12 processes .* taken \(max_processes\)"):
            await grouped.tree.start(spec)
    instance.leave()
    template = await grouped.tree.load(spec)
    await until(lambda: not template.instances)
    assert not template.group.is_full()


async def test_a_fork_bomb_ends_in_its_own_function(grouped: Bench) -> None:
    """Its call times out and everything that it started is gone, while other functions answer."""
    spec = grouped.spec("limits", "fork_bomb", containment=FEW, timeout_s=1.0, grace_s=0.2)
    bomb, _ = await grouped.tree.start(spec)
    other, _ = await grouped.tree.start(grouped.spec("plain", "echo"))
    if not can("pids", "cpu"):
        assert told("pids", "cpu")
        return
    template = await grouped.tree.load(spec)
    outcome = bomb.invoke(event())
    answers = 0
    while not outcome.done():
        answer(await other.invoke(event()))
        answers += 1
        await asyncio.sleep(0.01)

    assert failure(await outcome).kind == "timeout"
    assert answers > 5
    await until(lambda: not template.instances)
    assert not template.group.is_full()
    assert (await grouped.failure(spec)).kind == "timeout"  # the next instance starts as if nothing had been


@pytest.mark.parametrize("handler", ["forks", "starts_threads"])
async def test_in_a_box_processes_are_counted_without_a_group(bench: Bench, handler: str) -> None:
    if Level.NAMESPACES not in levels():
        assert why_not(Level.NAMESPACES)
        return
    few = structs.replace(contained(Level.NAMESPACES), max_processes=12)
    failed = await bench.failure(bench.spec("limits", handler, containment=few))

    assert failed.code == ("RuntimeError" if "threads" in handler else "BlockingIOError")
    assert "max_processes" in failed.message


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
async def test_a_full_box_names_scratch(bench: Bench, folder: str) -> None:
    if Level.NAMESPACES not in levels():
        assert why_not(Level.NAMESPACES)
        return
    small = structs.replace(contained(Level.NAMESPACES), scratch_bytes=2 * MIB)
    failed = await bench.failure(bench.spec("limits", "fills", containment=small), folder)

    told_limit = f"all files in {folder} together have at most scratch, 2 MiB"
    assert failed.message == f"[Errno 28] No space left on device: {told_limit}"


async def test_a_slow_call_is_told_what_its_function_waited_for(grouped: Bench) -> None:
    burns = grouped.spec("limits", "burns", containment=Containment(cpu=0.1))
    instance, _ = await grouped.tree.start(burns)
    if not can("cpu"):
        assert told("cpu")
        return
    slow, fast = await instance.invoke(event(b"50")), await instance.invoke(event(b"0"))

    assert isinstance(slow, Ok)
    assert slow.waits is not None
    assert slow.waits.throttled_ms > 100
    assert slow.cpu_ns < 100_000_000
    assert isinstance(fast, Ok)
    assert fast.waits is None


async def test_files_in_a_box_are_memory_of_its_function(bench: Bench) -> None:
    if Level.NAMESPACES not in levels():
        assert why_not(Level.NAMESPACES)
        return
    roomy = structs.replace(contained(Level.NAMESPACES), scratch_bytes=16 * MIB)
    spec = bench.spec("limits", "keeps", containment=roomy)
    instance, _ = await bench.tree.start(spec)
    template = await bench.tree.load(spec)
    before_kb = template.look_kb()
    for folder in ("/tmp", "/dev/shm"):
        answer(await instance.invoke(event(json.dumps({"folder": folder, "mib": 7}).encode())))

    assert 14 * 1024 <= template.look_kb() - before_kb < 15 * 1024
