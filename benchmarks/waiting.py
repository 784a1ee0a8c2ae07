"""`python -m benchmarks.waiting [--quick]`: what handlers cost that wait, hundreds at a time in one process.

Over HTTP beside raw ASGI on uvicorn, on RabbitMQ beside FastStream and Dramatiq. Less than two minutes.
"""

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import ExitStack, closing

from benchmarks import http_table
from benchmarks.crowd import Answers, Crowd, raise_file_limit
from benchmarks.guest_facts import memory
from benchmarks.http_cpu import tree_pids
from benchmarks.http_load import LoadError, require_wrk
from benchmarks.http_peers import FOLDER, environment, peers
from benchmarks.http_servers import Client, Running, ServerError, forklight, running, state_folder
from benchmarks.http_warm import Workload, measure
from benchmarks.queue_load import load
from benchmarks.queue_peers import FASTSTREAM, OURS, waiting_consumers
from benchmarks.queues import rates, throughput
from benchmarks.queues import running as consuming
from benchmarks.table import Quantiles, Row, Target, quantiles, render, single
from benchmarks.tree import machine
from tests.kit.broker import running_node

SLEEP = Workload("0.1 s, async", "/sleep")
SLEEPERS, HELD, BURST = 1000, 2000, 2048
_KIB_PER_MIB = 1024
_WINDOW, _NORMAL = 25, 2.0
"""Latency is normal again when the median of so many requests is at most so many times the median before the burst."""


def held(server: Running, rounds: int) -> tuple[Quantiles, float | None]:
    """Return ms from the first request of `HELD` until the last handler has begun, and KiB of all processes for each.

    None if nobody but root may read the memory.
    """
    begun_ms, kib = [], []
    for _ in range(rounds):
        crowd = Crowd(server.port, "/hold", HELD)
        before = _memory_kib(server)
        crowd.send()
        time.sleep(3)  # they wait for 5 s
        after = _memory_kib(server)
        answers = _all_answered(server, crowd.answers())
        begun_ms.append((max(body["began_ns"] for body in answers.bodies) - answers.sent_ns) / 1e6)
        if before is not None and after is not None:
            kib.append((after - before) / HELD)
    return quantiles(begun_ms), kib[0] if kib else None  # later rounds find the memory of the first


def recovery_ms(server: Running, rounds: int) -> Quantiles:
    """From when `BURST` requests come at once until the latency of another client is what it was before."""
    taken_ms = []
    for _ in range(rounds):
        with closing(Client(server)) as probe:
            normal_ms = statistics.median(probe.get("/hello").taken_ms for _ in range(300))
            crowd = Crowd(server.port, "/hello", BURST)
            crowd.send()
            begin_ns = time.monotonic_ns()
            probe.get("/hello")
            while True:
                end_ms = (time.monotonic_ns() - begin_ns) / 1e6
                if statistics.median(probe.get("/hello").taken_ms for _ in range(_WINDOW)) <= _NORMAL * normal_ms:
                    break
            taken_ms.append(end_ms)
            _all_answered(server, crowd.answers())
    return quantiles(taken_ms)


def _all_answered(server: Running, answers: Answers) -> Answers:
    if answers.failed:
        raise ServerError(f"{server.name} did not answer {answers.failed} of {answers.failed + len(answers.bodies)}")
    return answers


def _memory_kib(server: Running) -> float | None:
    found = [memory(pid) for pid in tree_pids(server.pid)]
    return sum(one.uss_mib for one in found if one) * _KIB_PER_MIB if all(found) else None


def over_http(seconds: int, rounds: int) -> tuple[str, list[Row]]:
    """Return the table of the sleepers, and the rows of the crowds."""
    with state_folder() as state, ExitStack() as stack:
        ours = forklight(FOLDER / "forklight" / "waiting.toml", state / "state", sys.executable, "--quiet")
        raw = peers(environment())[0]
        servers = [stack.enter_context(running(server)) for server in (ours, raw)]
        cells = measure(servers, SLEEP, SLEEPERS, seconds, turn_s=3)
        (our_ms, our_kib), (raw_ms, raw_kib) = (held(server, rounds) for server in servers)
        our_recovery, raw_recovery = (recovery_ms(server, rounds) for server in servers)
    our_size, raw_size = (None if kib is None else single(kib) for kib in (our_kib, raw_kib))
    note = "" if our_size else "memory is unknown: only root can read it."
    return http_table.render(cells), [
        Row(f"{HELD} calls of 5 s, until all have begun", "ms", our_ms, raw_ms, Target(1000)),
        Row("memory of one of them, server and instance", "KiB", our_size, raw_size, Target(20), note),
        Row(f"{BURST} requests at once, until p50 is normal", "ms", our_recovery, raw_recovery),
    ]


async def on_queues(count: int) -> list[Row]:
    """Messages a second and CPU time for each, beside FastStream."""
    found: dict[str, tuple[float, float]] = {}
    with running_node() as node, state_folder() as folder:
        for consumer in waiting_consumers(node.fresh_url, folder):
            async with load(consumer.url) as source:
                with consuming(consumer) as process:
                    found[consumer.name] = rates(consumer.name, await throughput(consumer, source, process.pid, count))
    peer_per_s, peer_us = found[FASTSTREAM]
    rows = []
    for name, (per_s, cpu_us) in found.items():
        target = Target(1 / 0.7, of_ratio=True) if name == OURS else None  # 0.7 times the messages a second
        rows.append(Row(f"time per message, {name}", "us", single(1e6 / per_s), single(1e6 / peer_per_s), target))
        rows.append(Row(f"CPU per message, {name}", "us", single(cpu_us), single(peer_us)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description="What waiting handlers cost.")
    parser.add_argument("--quick", action="store_true", help="a smoke run: one turn of everything")
    quick = parser.parse_args().quick
    print(machine(), file=sys.stderr)
    raise_file_limit()
    try:
        require_wrk()
        cells, rows = over_http(seconds=3 if quick else 9, rounds=1 if quick else 3)
        queues = asyncio.run(on_queues(10_000 if quick else 30_000))
    except (LoadError, ServerError) as error:
        sys.exit(str(error))
    print(cells, render([*rows, *queues]), sep="\n\n")


if __name__ == "__main__":
    main()
