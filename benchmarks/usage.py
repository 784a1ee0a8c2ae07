"""`python -m benchmarks.usage [--quick] [--svg FILE]`: what a day costs, beside gunicorn and Celery. Ten minutes.

A day of events (`usage_day.py`) passes three times, in three minutes each: once Forklight serves all of it, once
gunicorn serves the requests and Celery the messages, once gunicorn with `--preload` serves the requests. The memory of
all their processes (PSS) is read four times a second, and drawn over the day. Forklight's `keep_alive` is shortened as
the day is. A private RabbitMQ carries the messages, and is not counted. Only root can read the memory of Forklight's
instances.
"""

import argparse
import asyncio
import os
import statistics
import sys
from pathlib import Path

from benchmarks.http_servers import ServerError, state_folder
from benchmarks.table import Row, render, single
from benchmarks.tree import machine
from benchmarks.usage_day import DAY_S, Arrival, day
from benchmarks.usage_drawing import Line, drawing
from benchmarks.usage_load import Lived, live
from benchmarks.usage_systems import CELERY, GUNICORN, PROCESSES, WORKERS, gunicorn_and_celery, ours, preloaded_gunicorn
from tests.kit.broker import running_node

TOGETHER = "gunicorn + Celery"
MINUTES = 3.0
_PARTS = 96
"""Quarters of an hour: the memory is averaged over each, and the events are counted."""


async def measure(arrivals: list[Arrival], scale: float) -> dict[str, Lived]:
    """Each server's day. Raises ServerError."""
    with running_node() as node, state_folder() as folder:
        latency_file = folder / "latencies"
        latency_file.touch()
        latency_file.chmod(0o666)
        urls = [node.fresh_url() for _ in range(3)]
        servers = (
            ours(folder, urls[0], latency_file, scale),
            gunicorn_and_celery(urls[1], latency_file),
            preloaded_gunicorn(),
        )
        found: dict[str, Lived] = {}
        for opened, url in zip(servers, urls, strict=True):
            found |= await live(opened, url, arrivals, scale, latency_file)
        return found


def by_quarter(lived: Lived, scale: float) -> list[float]:
    """The mean memory in MiB in each quarter of an hour of the day; of one without a reading, that before it."""
    found: list[list[float]] = [[] for _ in range(_PARTS)]
    for at_s, mib in lived.memory:
        part = int(at_s * scale / DAY_S * _PARTS)
        if part < _PARTS:
            found[part].append(mib)
    means: list[float] = []
    for readings in found:
        means.append(statistics.mean(readings) if readings else (means[-1] if means else lived.memory[0][1]))
    return means


def picture(days: dict[str, list[float]], arrivals: list[Arrival], note: str) -> str:
    """The SVG of each server's memory by quarter of an hour."""
    events = [0] * _PARTS
    for arrival in arrivals:
        events[min(_PARTS - 1, int(arrival.at_s / DAY_S * _PARTS))] += 1
    hours = [(part + 0.5) * 24 / _PARTS for part in range(_PARTS)]
    lines = [Line(name, list(zip(hours, means, strict=True))) for name, means in days.items()]
    return drawing("Memory over one day of the same events", lines, events, note)


def rows(found: dict[str, Lived], days: dict[str, list[float]]) -> list[Row]:
    """Memory over the day, CPU time, latencies."""
    told = []
    for name, means in days.items():
        told.append(Row(f"memory, mean of the day, {name}", "MiB", single(statistics.mean(means))))
        told.append(Row(f"memory, largest quarter of an hour, {name}", "MiB", single(max(means))))
    for name, lived in found.items():
        told.append(Row(f"CPU, {name}", "s", single(lived.cpu_s)))
        if lived.http_ms is not None:
            told.append(Row(f"request, {name}", "ms", lived.http_ms))
        if lived.message_ms is not None:
            told.append(Row(f"message, sent to begun, {name}", "ms", lived.message_ms))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.usage", description="What a day costs.")
    parser.add_argument("--quick", action="store_true", help="a smoke run: every sixth event, in half a minute")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the memory over the day")
    arguments = parser.parse_args()
    if os.getuid() != 0:
        sys.exit("only root can read the memory of Forklight's instances")
    minutes, arrivals = (0.5, day()[::6]) if arguments.quick else (MINUTES, day())
    scale = DAY_S / 60 / minutes
    print(f"{machine()}; {len(arrivals):,} events, a day in {minutes:g} min", file=sys.stderr)
    try:
        found = asyncio.run(measure(arrivals, scale))
    except* ServerError as errors:
        sys.exit("; ".join(map(str, errors.exceptions)))
    days = {name: by_quarter(lived, scale) for name, lived in found.items()}
    days[TOGETHER] = [sum(pair) for pair in zip(days[GUNICORN], days[CELERY], strict=True)]
    print(render(rows(found, days)))
    if arguments.svg is not None:
        note = f"{len(arrivals):,} events; gunicorn with {WORKERS} workers, Celery with {PROCESSES} processes"
        arguments.svg.write_text(picture(days, arrivals, f"{note}; PSS; one day in {minutes:g} minutes"))


if __name__ == "__main__":
    main()
