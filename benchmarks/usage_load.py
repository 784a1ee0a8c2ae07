"""Runs a day on the servers: calls every function when the day says so, and reads the memory meanwhile."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import aio_pika
import aiohttp
from aio_pika.abc import AbstractChannel

from benchmarks.guest_facts import memory
from benchmarks.http_cpu import tree_cpu_us, tree_pids
from benchmarks.http_servers import ServerError
from benchmarks.table import Quantiles, quantiles
from benchmarks.usage_day import Arrival, Called
from benchmarks.usage_systems import SERVES, Systems
from tests.kit.served import eventually

SAMPLE_S = 0.25


class Lived(NamedTuple):
    """A server's day: MiB at seconds since it began, CPU time, and ms until answers and until messages were begun."""

    memory: list[tuple[float, float]]
    cpu_s: float
    http_ms: Quantiles | None
    message_ms: Quantiles | None


class Load:
    """Calls functions, and remembers how long each request took."""

    def __init__(self, systems: Systems, http: aiohttp.ClientSession, channel: AbstractChannel) -> None:
        self._systems = systems
        self._http = http
        self._channel = channel
        self.request_ms: list[float] = []
        self.sent = 0

    async def call(self, function: Called) -> None:
        """Raises ServerError if the answer is not 200."""
        if function.by == "message":
            await self._send(function)
            return
        begin_ns = time.monotonic_ns()
        async with self._http.get(f"http://127.0.0.1:{self._systems.port}/{function.name}") as response:
            body = await response.read()
        self.request_ms.append((time.monotonic_ns() - begin_ns) / 1e6)
        if response.status != 200:
            raise ServerError(f"{function.name} was answered with {response.status}: {body[:300]!r}")

    async def _send(self, function: Called) -> None:
        wire = self._systems.message({"at_ns": time.monotonic_ns()})
        message = aio_pika.Message(
            wire.body,
            headers=wire.headers,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await self._channel.default_exchange.publish(message, routing_key=self._systems.queue(function))
        self.sent += 1

    async def are_consumed(self) -> bool:
        """Whether every queue has a consumer."""
        try:
            found = [await self._channel.declare_queue(name, passive=True) for name in self._systems.queues]
        except aio_pika.exceptions.ChannelNotFoundEntity:
            await self._channel.reopen()
            return False
        return all(queue.declaration_result.consumer_count for queue in found)


async def live(
    opened: AbstractContextManager[Systems], url: str, arrivals: Sequence[Arrival], scale: float, latency_file: Path
) -> dict[str, Lived]:
    """Run the day, `scale` times as fast; return it by server. Raises ServerError."""

    async def are_handled() -> bool:
        return len(_begun_ms(latency_file)) >= load.sent

    async with (
        await aio_pika.connect(url) as connection,
        await connection.channel() as channel,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        with opened as systems:
            load = Load(systems, http, channel)
            await eventually(load.are_consumed)
            for function in systems.functions:
                await load.call(function)
            await eventually(are_handled)
            requests, messages = len(load.request_ms), load.sent
            cpu_us = {name: tree_cpu_us(pid) for name, pid in systems.pids.items()}
            with _sampling(systems.pids) as samples:
                served = {function.name for function in systems.functions}
                await _replay(load, [one for one in arrivals if one.function.name in served], scale)
                await eventually(are_handled)
            cpu_us = {name: tree_cpu_us(pid) - cpu_us[name] for name, pid in systems.pids.items()}
    begun_ms = _begun_ms(latency_file)[messages:]
    os.truncate(latency_file, 0)
    return {
        name: Lived(
            memory=samples[name],
            cpu_s=cpu_us[name] / 1e6,
            http_ms=quantiles(load.request_ms[requests:]) if "http" in SERVES[name] else None,
            message_ms=quantiles(begun_ms) if "message" in SERVES[name] else None,
        )
        for name in systems.pids
    }


def _begun_ms(latency_file: Path) -> list[float]:
    return [int(line) / 1000 for line in latency_file.read_text().split()]


async def _replay(load: Load, arrivals: Sequence[Arrival], scale: float) -> None:
    begin_s = time.monotonic()
    async with asyncio.TaskGroup() as calls:
        for arrival in arrivals:
            await asyncio.sleep(max(0.0, begin_s + arrival.at_s / scale - time.monotonic()))
            calls.create_task(load.call(arrival.function))


@contextmanager
def _sampling(pids: dict[str, int]) -> Iterator[dict[str, list[tuple[float, float]]]]:
    """Read the memory of all processes in a thread, until the end of the block."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in pids}
    done, begin_s = threading.Event(), time.monotonic()

    def sample() -> None:
        while not done.wait(SAMPLE_S):
            for name, pid in pids.items():
                samples[name].append((time.monotonic() - begin_s, _pss_mib(pid)))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _pss_mib(root: int) -> float:
    """Of the process and all below it; one that has just ended has none."""
    total = 0.0
    for pid in tree_pids(root):
        try:
            found = memory(pid)
        except (FileNotFoundError, ProcessLookupError, KeyError):
            continue
        assert found is not None, "root reads the memory of every process"
        total += found.pss_mib
    return total
