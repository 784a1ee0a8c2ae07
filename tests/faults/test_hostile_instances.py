"""Hostile handlers: whatever one does to its socket, only its own instance suffers."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bus import Ok
from sandbox.instance import Instance
from sandbox.processes import memory_kb
from tests.kit.support import Bench, answer, event, failure, is_gone, until

pytestmark = pytest.mark.ordinary_user

QUICK: dict[str, Any] = {"timeout_s": 0.4, "grace_s": 0.1}
WRONG = (
    *("wrong_id", "negative_id", "illegal_kind", "no_kind", "early_timeout", "unknown_failure", "bad_status"),
    *("bad_types", "bad_headers", "wrong_length", "negative_length", "huge_number", "huge_header", "huge_body"),
    *("too_big_a_body", "garbage", "text", "deep", "not_utf8", "empty_header", "null"),
    *("head_unasked", "chunk_unasked", "end_unasked", "credit_unasked", "call_unasked"),
)


@asynccontextmanager
async def unharmed(bench: Bench, victim: Instance) -> AsyncIterator[None]:
    """The block costs at most one process: a neighbour keeps working, and the server loses no descriptor."""
    neighbour, _ = await bench.tree.start(bench.spec("plain"))
    before = answer(await neighbour.invoke(event()))
    await _end_a_sibling(bench, victim)
    descriptors = len(os.listdir("/proc/self/fd"))
    yield
    await until(lambda: victim.state == "dead" and is_gone(victim.pid))
    after = answer(await neighbour.invoke(event()))

    assert (after["pid"], after["calls"]) == (before["pid"], before["calls"] + 1)
    await until(lambda: len(os.listdir("/proc/self/fd")) < descriptors)


async def _end_a_sibling(bench: Bench, victim: Instance) -> None:
    """Their template has then prepared the kit for its next instance, so the end of the victim adds no descriptor."""
    sibling, _ = await bench.tree.start(victim.spec)
    buried = asyncio.Event()
    sibling.on_dead = lambda _instance: buried.set()
    sibling.leave()
    await buried.wait()


async def test_what_is_no_legal_frame_is_a_breach(bench: Bench) -> None:
    for what in WRONG:
        instance, _ = await bench.tree.start(bench.spec("hostile", "wrong"))
        async with unharmed(bench, instance):
            failed = failure(await instance.invoke(event(f'"{what}"'.encode())))

            assert (failed.kind, failed.code) == ("protocol", "Breach"), what
            assert failed.message.startswith("the instance sent "), what
            assert len(failed.message) < 1000, what


async def test_a_length_is_not_believed_before_its_bytes_have_come(bench: Bench) -> None:
    instances = [(await bench.tree.start(bench.spec("hostile", "wrong")))[0] for _ in range(5)]
    before_kb = memory_kb(os.getpid()) or 0
    for instance, what in zip(instances, ["huge_body", "huge_header"] * 3, strict=False):
        failure(await instance.invoke(event(f'"{what}"'.encode())))

    assert (memory_kb(os.getpid()) or 0) - before_kb < 50_000


async def test_a_second_reply_kills_the_instance_but_not_the_call(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("hostile", "replies_twice"))
    async with unharmed(bench, instance):
        outcome = await instance.invoke(event())

        assert isinstance(outcome, Ok)
        assert outcome.body == b"first"


async def test_half_a_frame_is_none(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("hostile", "half_a_frame"))
    async with unharmed(bench, instance):
        failed = failure(await instance.invoke(event()))

        assert (failed.kind, failed.code) == ("crash", "Exit")
        assert "exit code 4" in failed.message


@pytest.mark.parametrize("handler", ["slow_drip", "endless_body", "floods_the_log", "floods_with_children"])
async def test_what_goes_on_for_ever_ends_at_its_deadline(bench: Bench, handler: str) -> None:
    instance, _ = await bench.tree.start(bench.spec("hostile", handler, **QUICK))
    async with unharmed(bench, instance):
        failed = failure(await instance.invoke(event()))

        assert (failed.kind, failed.code) == ("timeout", "Timeout")


async def test_a_closed_socket_is_a_crash(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("hostile", "shuts_down", **QUICK))
    async with unharmed(bench, instance):
        failed = failure(await instance.invoke(event()))

        assert (failed.kind, failed.code) == ("crash", "Exit")
        assert "closed its connection" in failed.message


async def test_a_big_event_that_is_never_read_ends_at_its_deadline(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("hostile", **QUICK))
    async with unharmed(bench, instance):
        os.kill(instance.pid, signal.SIGSTOP)
        failed = failure(await instance.invoke(event(bytes(5 * 1024 * 1024))))

        assert (failed.kind, failed.code) == ("timeout", "Timeout")


async def test_a_fork_chain_is_ended(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("hostile", "fork_chain", **QUICK))
    (template,) = bench.tree.templates()
    async with unharmed(bench, instance):
        failed = failure(await instance.invoke(event()))

        assert failed.kind == "timeout"
    assert _descendants(template.pid) == set()


def _descendants(pid: int) -> set[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as listing:
            children = set(map(int, listing.read().split()))
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return children.union(*map(_descendants, children))


async def test_a_flood_of_log_lines_keeps_nobody_waiting(bench: Bench) -> None:
    flood, _ = await bench.tree.start(bench.spec("hostile", "floods_with_children", timeout_s=3.0, grace_s=0.1))
    neighbour, _ = await bench.tree.start(bench.spec("plain"))
    flooding = flood.invoke(event())
    await until(lambda: bench.lines)
    for _ in range(50):
        answer(await neighbour.invoke(event()))

    assert not flooding.done()
    assert failure(await flooding).kind == "timeout"


async def test_a_function_cannot_look_into_its_neighbours(bench: Bench) -> None:
    victims = [(await bench.tree.start(bench.spec("plain", name)))[0] for name in ("handler", "parent")]
    pids = [instance.pid for instance in victims]
    pids += [zygote.pid for zygote in bench.tree.zygotes()] + [template.pid for template in bench.tree.templates()]
    instance, _ = await bench.tree.start(bench.spec("hostile", "replies_for_a_neighbour"))

    assert answer(await instance.invoke(event(str(pids).encode()))) == []


async def test_many_hostile_instances_at_once(bench: Bench) -> None:
    spec = bench.spec("hostile", "wrong")
    started = await asyncio.gather(*(bench.tree.start(spec) for _ in WRONG))
    calls = [instance.invoke(event(f'"{what}"'.encode())) for (instance, _), what in zip(started, WRONG, strict=True)]
    outcomes = await asyncio.gather(*calls)

    assert {failure(outcome).kind for outcome in outcomes} == {"protocol"}
