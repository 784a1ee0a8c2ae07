"""What a function's processes hold and use is counted from their start to their end, however they end."""

import time
from itertools import count

import pytest

from sandbox.endings import memory_exceeded
from sandbox.spec import FunctionSpec
from sandbox.usage import LEAST_KB, Meter
from tests.kit.support import Bench, answer, event, until

pytestmark = pytest.mark.any_user

HELD_KB = 36 * 1024
"""Of 40 MiB: the kernel is slow to count some pages, and others were the template's before."""
BURNT_NS = 200_000_000
STEP_NS = 20_000_000
"""The kernel tells the times of living processes in steps of 10 ms, of which each has two."""


def _meter(bench: Bench, spec: FunctionSpec) -> Meter:
    return bench.tree.meters.of(spec.name)


def _cpu_ns(bench: Bench, spec: FunctionSpec) -> int:
    """Of the living and the dead, added up anew: `Meter.cpu_ns` would hide a sum that falls."""
    return _meter(bench, spec).ended_cpu_ns + bench.tree.cpu_ns().get(spec.name, 0)


async def test_memory_counts_while_the_processes_live(bench: Bench) -> None:
    spec = bench.spec("usage", "hold")
    meter = _meter(bench, spec)
    instance, _ = await bench.tree.start(spec)
    assert (meter.templates.count.now, meter.instances.count.now) == (1, 1)
    assert meter.templates.held_kb.now >= LEAST_KB

    answer(await instance.invoke(event(b"40")))
    await until(lambda: meter.instances.held_kb.now >= HELD_KB)
    instance.leave()
    await until(lambda: meter.instances.count.now == 0)
    bench.tree.drop(spec)
    await until(lambda: meter.templates.count.now == 0)

    for crowd in (meter.instances, meter.templates):
        assert crowd.held_kb.now == 0
        assert crowd.held_kb.integral(time.monotonic_ns()) >= LEAST_KB * crowd.count.integral(time.monotonic_ns()) > 0


async def test_a_life_too_short_for_a_reading_counts_with_its_peak(bench: Bench) -> None:
    for number in count():
        spec = bench.spec("usage", "hold", name=f"short {number}")
        await bench.tree.load(spec)
        instance, _ = await bench.tree.start(spec)
        answer(await instance.invoke(event(b"40")))
        if instance.held.is_unread:
            break
        bench.tree.drop(spec)  # it was not so short, as the machine is busy
    instance.leave()

    meter, now_ns = _meter(bench, spec), time.monotonic_ns()
    held_kb_ns = meter.instances.held_kb.integral(now_ns)
    assert held_kb_ns >= HELD_KB * meter.instances.count.integral(now_ns), "from its start, sweep or not"
    bench.tree.drop(spec)


@pytest.mark.parametrize("end", ["leaves", "is killed", "outlives its template"])
async def test_processor_time_stays_when_processes_end(bench: Bench, end: str) -> None:
    spec = bench.spec("usage", "burn", name=f"burn {end}")
    instance, _ = await bench.tree.start(spec)
    [template] = [one for one in bench.tree.templates() if one.spec == spec]
    answer(await instance.invoke(event(str(BURNT_NS).encode())))
    assert _cpu_ns(bench, spec) >= BURNT_NS - STEP_NS

    if end == "outlives its template":  # then the zygote buries it
        template.kill("the test ends it")
    elif end == "is killed":
        instance.kill(memory_exceeded("the test ends it"))
    else:
        instance.leave()
    await until(lambda: not template.instances)
    assert _cpu_ns(bench, spec) >= BURNT_NS - STEP_NS

    bench.tree.drop(spec)
    await template.gone.wait()
    assert spec.name not in bench.tree.cpu_ns()
    assert _cpu_ns(bench, spec) >= BURNT_NS
