"""From SIGKILL to a death that is verified, and to a burial: reaped, and all that it left behind killed."""

import asyncio
import os
import time

import anyio

from benchmarks.table import Row, quantiles
from benchmarks.warm import EVENT
from benchmarks.workshop import Workshop
from sandbox.endings import Verdict
from sandbox.instance import Instance

KILLS = 100
_VERDICT = Verdict("crash", "InstanceKilled", "the benchmark killed it")


async def measure(workshop: Workshop) -> list[Row]:
    """Idle instances that have answered once."""
    async with workshop.tree() as tree:
        spec = workshop.spec("hello")
        dead, buried = [], []
        for _ in range(KILLS):
            instance, kind = await tree.start(spec)
            await instance.invoke(EVENT, start=kind)
            dead_ms, buried_ms = await _kill(instance)
            dead.append(dead_ms)
            buried.append(buried_ms)
    return [Row("kill, verified dead", "ms", quantiles(dead)), Row("kill, buried", "ms", quantiles(buried))]


async def _kill(instance: Instance) -> tuple[float, float]:
    """Milliseconds until its pidfd was readable, and until it was buried."""
    loop = asyncio.get_running_loop()
    pidfd = os.dup(instance.pidfd)  # the instance has the one reader that its own can have
    death: asyncio.Future[int] = loop.create_future()
    burial = anyio.Event()

    def died() -> None:
        loop.remove_reader(pidfd)
        death.set_result(time.monotonic_ns())

    loop.add_reader(pidfd, died)
    instance.on_dead = lambda _instance: burial.set()
    begin_ns = time.monotonic_ns()
    instance.kill(_VERDICT)
    await burial.wait()
    buried_ns = time.monotonic_ns()
    dead_ns = await death
    os.close(pidfd)
    return (dead_ns - begin_ns) / 1e6, (buried_ns - begin_ns) / 1e6
