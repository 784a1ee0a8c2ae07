"""Warm requests under load: every server in turn, a second each, so that what else the machine does hits all alike."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.http_cpu import tree_cpu_us
from benchmarks.http_load import Load, run_wrk
from benchmarks.http_servers import Running

TURN_S = 1


class Workload(NamedTuple):
    """What is sent; `body_bytes` 0: a GET."""

    name: str
    path: str
    body_bytes: int = 0


HELLO = Workload("hello, GET", "/hello")
UPLOAD = Workload("100 KiB POST", "/upload", 100 * 1024)
LARGE_UPLOAD = Workload("1 MiB POST", "/upload", 1024 * 1024)


class Cell(NamedTuple):
    """One server under one load; CPU time is that of all its processes, for each request."""

    server: str
    workload: str
    connections: int
    cpu_us: float
    per_s: float
    p50_us: float
    p99_us: float
    p999_us: float


class _Turn(NamedTuple):
    load: Load
    cpu_us: float


def measure(
    servers: Sequence[Running], workload: Workload, connections: int, seconds: int, *, turn_s: int = TURN_S
) -> list[Cell]:
    """One cell a server, each of `seconds` in all. The first turn of each warms up and does not count."""
    turns: dict[str, list[_Turn]] = {server.name: [] for server in servers}
    for _ in range(1 + seconds // turn_s):
        for server in servers:
            turns[server.name].append(_turn(server, workload, connections, turn_s))
    return [_cell(name, workload, connections, taken[1:]) for name, taken in turns.items()]


def _turn(server: Running, workload: Workload, connections: int, turn_s: int) -> _Turn:
    url = f"http://127.0.0.1:{server.port}{workload.path}"
    begin_us = tree_cpu_us(server.pid)
    load = run_wrk(url, connections=connections, seconds=turn_s, body_bytes=workload.body_bytes)
    return _Turn(load, tree_cpu_us(server.pid) - begin_us)


def _cell(server: str, workload: Workload, connections: int, turns: list[_Turn]) -> Cell:
    """Sums of all turns; of the latencies, which do not add up, the median turn's."""
    requests = sum(turn.load.requests for turn in turns)
    return Cell(
        server=server,
        workload=workload.name,
        connections=connections,
        cpu_us=sum(turn.cpu_us for turn in turns) / requests,
        per_s=requests * 1e6 / sum(turn.load.duration_us for turn in turns),
        p50_us=median(turn.load.p50_us for turn in turns),
        p99_us=median(turn.load.p99_us for turn in turns),
        p999_us=median(turn.load.p999_us for turn in turns),
    )
