"""`python -m benchmarks.queues [--messages N]`: what a message costs, beside Celery and Dramatiq on the same broker.

One private RabbitMQ for all, a virtual host each. Throughput: the consumer is stopped (SIGSTOP), its queue is filled,
and it goes on; between the first tenth and the last message its CPU time and the queue's depth are read several times a
second. Latency: 200 messages a second, each with the time it was sent at, which the handler compares with its own.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import queue_embedded
from benchmarks.http_cpu import tree_cpu_us, tree_pids
from benchmarks.http_servers import state_folder
from benchmarks.queue_load import Load, load
from benchmarks.queue_peers import CELERY, EMBEDDED, OURS, Consumer, consumers
from benchmarks.table import Quantiles, Row, Target, quantiles, render, single
from benchmarks.tree import machine
from tests.kit.broker import running_node
from tests.kit.served import eventually

SAMPLE_S = 0.2
PER_S, LATENCY_S = 200, 10.0
WARM_UP = 400
_LIMIT_S = 180.0


class Result(NamedTuple):
    """Of one consumer."""

    name: str
    per_s: float
    cpu_us: float
    latency_ms: Quantiles


class Sample(NamedTuple):
    """What a consumer has used, and what its queue still has to deliver."""

    at_s: float
    cpu_us: float
    depth: int


async def measure(consumer: Consumer, count: int, latency_file: Path) -> Result:
    """Start it, fill its queue, pace its queue, end it."""
    if not consumer.url:
        control = queue_embedded.Control(consumer.state)
        await queue_embedded.fill(consumer.state, count)
        with running(consumer) as process:
            samples = await _drained(process.pid, control.depth, count)
            sent = await control.pace(PER_S, LATENCY_S)
            return _result(consumer.name, samples, await _latencies(latency_file, sent))
    async with load(consumer.url) as source:
        with running(consumer) as process:
            samples = await throughput(consumer, source, process.pid, count)
            sent = await source.pace(consumer, PER_S, LATENCY_S)
            return _result(consumer.name, samples, await _latencies(latency_file, sent))


async def throughput(consumer: Consumer, source: Load, pid: int, count: int) -> list[Sample]:
    """Fill the queue of a consumer that is stopped, and let it go on."""
    if not consumer.declares:
        await source.declare()  # of the same type as the others make theirs
    await source.wait_consumed()
    await source.fill(consumer, WARM_UP)
    await eventually(source.is_empty)
    with _stopped(pid):
        await source.fill(consumer, count)
    return await _drained(pid, source.depth, count)


async def _drained(pid: int, depth: Callable[[], Awaitable[int]], count: int) -> list[Sample]:
    samples = []
    async with asyncio.timeout(_LIMIT_S):
        while (left := await depth()) != 0:
            if 0 < left < count * 0.9:
                samples.append(Sample(time.monotonic(), tree_cpu_us(pid), left))
            await asyncio.sleep(SAMPLE_S)
    return samples


def rates(name: str, samples: list[Sample]) -> tuple[float, float]:
    """Messages a second, and CPU time in us for each."""
    first, last = samples[0], samples[-1]
    consumed = first.depth - last.depth
    if consumed <= 0:
        sys.exit(f"{name} consumed too fast to be measured: ask for more --messages")
    return consumed / (last.at_s - first.at_s), (last.cpu_us - first.cpu_us) / consumed


def _result(name: str, samples: list[Sample], latencies_us: list[int]) -> Result:
    return Result(name, *rates(name, samples), quantiles([us / 1000 for us in latencies_us]))


async def _latencies(file: Path, sent: int) -> list[int]:
    """Once all have come; those of the first second warm up. The file is emptied for the next."""

    async def have_come() -> bool:
        return await asyncio.to_thread(_count_lines, file) >= sent

    await eventually(have_come)
    lines = await asyncio.to_thread(file.read_text)
    os.truncate(file, 0)
    return [int(line) for line in lines.split()[PER_S:]]


def _count_lines(file: Path) -> int:
    return file.read_bytes().count(b"\n")


@contextmanager
def running(consumer: Consumer) -> Iterator["subprocess.Popen[bytes]"]:
    """The consumer's first process. If the block raises, its last words go to standard error."""
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            consumer.argv, env=os.environ | consumer.env, stdout=subprocess.DEVNULL, stderr=words
        )
        try:
            yield process
        except BaseException:
            words.seek(0)
            sys.stderr.write(words.read().decode(errors="replace")[-3000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _stopped(root: int) -> Iterator[None]:
    pids = tree_pids(root)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def rows(results: list[Result]) -> list[Row]:
    """CPU per message beside Celery's, rates, latencies."""
    celery = next(result for result in results if result.name == CELERY)
    found = []
    for result in results:
        target = Target(0.7, of_ratio=True) if result.name == OURS else None
        found.append(Row(f"CPU per message, {result.name}", "us", single(result.cpu_us), single(celery.cpu_us), target))
    found += [Row(f"messages a second, {result.name}", "1/s", single(result.per_s)) for result in results]
    for result in results:
        found.append(Row(f"sent to handled at {PER_S}/s, {result.name}", "ms", result.latency_ms))
        if result.name in (OURS, EMBEDDED):
            found.append(Row("its 99th percentile", "ms", single(result.latency_ms.p99), None, Target(5)))
    return found


async def _all(count: int) -> list[Result]:
    with running_node() as node, state_folder() as folder:
        latency_file = folder / "latencies"
        latency_file.touch()
        latency_file.chmod(0o666)
        return [
            await measure(consumer, count, latency_file) for consumer in consumers(node.fresh_url, latency_file, folder)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queues", description="What a message costs.")
    parser.add_argument("--messages", type=int, default=15_000, metavar="N", help="in the queue at the start")
    arguments = parser.parse_args()
    print(machine(), file=sys.stderr)
    print(render(rows(asyncio.run(_all(arguments.messages)))))


if __name__ == "__main__":
    main()
