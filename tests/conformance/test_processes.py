"""Instances as processes, in every runtime: several calls at once, and every level of isolation."""

import asyncio

import pytest
from msgspec.structs import replace

from sandbox.containment import Level
from sandbox.levels import Asked, resolve
from tests.conformance.conftest import Runtimes
from tests.kit.levels import contained, found, levels
from tests.kit.support import answer, event, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.any_user
async def test_calls_of_one_instance_overlap_and_each_has_its_lines(runtime: Runtimes) -> None:
    if not runtime.spec("meets").runtime.abilities.concurrency:
        return
    instance = await runtime.start("meets", concurrency=2)
    events = [event(b"1"), event(b"2")]
    pids = await asyncio.gather(*(instance.invoke(each) for each in events))
    lines = runtime.bench.lines
    await until(lambda: {"met 1", "met 2"} <= {line.text for line in lines})

    assert {answer(pid) for pid in pids} == {instance.pid}
    for number, each in enumerate(events, 1):
        own = [line.text for line in lines if line.invocation == each.id]
        assert own == [f"begin {number}", f"met {number}"]
    instance.leave()


@pytest.mark.ordinary_user
@pytest.mark.parametrize("level", levels())
async def test_functions_run_at_every_level(runtime: Runtimes, level: Level) -> None:
    spec = runtime.spec("sees", containment=contained(level))
    instance, _ = await runtime.bench.tree.start(replace(spec, name=f"at-{level}", version=f"at-{level}"))
    for number in (1, 2):
        assert answer(await instance.invoke(event()))["calls"] == number
    instance.leave()


@pytest.mark.box
async def test_a_box_without_a_network_has_what_a_function_needs(runtime: Runtimes) -> None:
    """A command has its loopback interface."""
    asked = Asked(level=Level.NAMESPACES, network=False, loopback=runtime.spec("x").runtime.abilities.needs_loopback)
    spec = runtime.spec("sees", containment=resolve(asked, found()))
    instance, _ = await runtime.bench.tree.start(replace(spec, name="alone", version="alone"))

    assert answer(await instance.invoke(event()))["calls"] == 1
    instance.leave()
