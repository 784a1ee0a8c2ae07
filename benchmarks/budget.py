"""`python -m benchmarks.budget`: functions that burst together on a small budget, beside one function alone.

Every function has clients that never pause, each with one call at a time. All share `[machine] max_instances`, which is
far below their number, so they take turns: what that costs in throughput, how long a call waits, and whether any
function comes short. Alone is one function with two clients for each instance.
"""

import argparse
import sys
import time
from statistics import median

import anyio
import uvloop
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.table import Quantiles, Row, Target, quantiles, render, single
from benchmarks.tree import machine
from benchmarks.workshop import Workshop, workshop
from bus import Ok, Outcome
from dispatcher.budget import Limits
from dispatcher.dispatcher import Dispatcher
from dispatcher.settings import Function, PoolSettings
from sandbox.spec import FunctionSpec
from tests.kit.support import event
from tests.kit.targets import outcome_of

TURNS = 3


class Share(Struct, frozen=True):
    """What came of one measurement."""

    calls_per_s: float
    least: float
    """calls of the function that got the fewest, as a part of the mean"""
    waited_ms: Quantiles
    waited_max_ms: float
    starts: int


async def measure(shop: Workshop, functions: int, clients: int, places: int, seconds: float) -> Share:
    """Let so many functions, each with so many clients, run for a while."""
    specs = [replace(shop.spec("hello"), name=f"f{number}") for number in range(functions)]
    async with shop.tree() as tree, anyio.create_task_group() as tasks:
        for spec in specs:
            await tree.load(spec)
        served = {spec.name: Function(spec=spec, pool=PoolSettings(max_instances=places)) for spec in specs}
        dispatcher = Dispatcher(served, tree, tasks, Limits(max_instances=places))
        counts, waits_ms = await _burst(dispatcher, specs, clients, seconds)
        starts = sum(record.starts.get("fork", 0) for record in dispatcher.records.values())
        dispatcher.stop()
        tasks.cancel_scope.cancel()
    total = sum(counts.values())
    return Share(
        calls_per_s=total / seconds,
        least=min(counts.values()) * functions / total,
        waited_ms=quantiles(waits_ms),
        waited_max_ms=max(waits_ms),
        starts=starts,
    )


async def _burst(
    dispatcher: Dispatcher, specs: list[FunctionSpec], clients: int, seconds: float
) -> tuple[dict[str, int], list[float]]:
    """Return the calls of each function in this time, and how long each took."""
    counts = {spec.name: 0 for spec in specs}
    waits_ms: list[float] = []

    async def client(name: str) -> None:
        while True:
            sent = time.monotonic()
            _check(await outcome_of(dispatcher, event(b'{"name": "x"}', function=name)))
            counts[name] += 1
            waits_ms.append((time.monotonic() - sent) * 1000)

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as bursting:
            for name in counts:
                for _ in range(clients):
                    bursting.start_soon(client, name)
    return counts, waits_ms


def _check(outcome: Outcome) -> None:
    if not isinstance(outcome, Ok):
        raise SystemExit(f"a call failed: {outcome}")


async def _rows(shop: Workshop, functions: int, places: int, seconds: float) -> list[Row]:
    """Measure both in turns."""
    alone, together = [], []
    for _ in range(TURNS):
        alone.append(await measure(shop, 1, 2 * places, places, seconds))
        together.append(await measure(shop, functions, 2, places, seconds))
    rate, bare = (median(one.calls_per_s for one in shares) for shares in (together, alone))
    name = f"{functions} functions on {places} instances"
    return [
        Row(f"a call, {name}", "us", single(1e6 / rate), single(1e6 / bare), Target(1.25, of_ratio=True)),
        Row("the least served one, of the mean", "%", single(100 * min(one.least for one in together))),
        Row("a call with its wait for a turn", "ms", Quantiles(*_waits(together)), Quantiles(*_waits(alone))),
        Row("the longest of these", "ms", single(max(one.waited_max_ms for one in together))),
        Row("starts", "1/s", single(median(one.starts for one in together) / seconds)),
    ]


def _waits(shares: list[Share]) -> tuple[float, float]:
    return median(one.waited_ms.p50 for one in shares), median(one.waited_ms.p99 for one in shares)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description="Functions that share a budget.")
    parser.add_argument("--functions", type=int, default=50)
    parser.add_argument("--places", type=int, default=6, help="[machine] max_instances")
    parser.add_argument("--seconds", type=float, default=10, help="of each of the six measurements")
    options = parser.parse_args()
    print(machine(), file=sys.stderr)
    with workshop() as shop:
        print(render(uvloop.run(_rows(shop, options.functions, options.places, options.seconds))))


if __name__ == "__main__":
    main()
