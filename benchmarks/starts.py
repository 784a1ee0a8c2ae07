"""`python -m benchmarks.starts [--quick] [--heavy]`: what an instance costs before, in and after its first event.

Everything is measured over HTTP beside its floor, in turns: a fork beside a bare fork of a process of the same size, a
spare and an instance for each event beside an instance that stays. It takes about two minutes.
"""

import argparse
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks import footprint, pauses
from benchmarks.bare import bare_socket
from benchmarks.heavy import python_with_libraries
from benchmarks.http_load import LoadError, require_wrk, run_wrk
from benchmarks.http_servers import Client, Running, ServerError, forklight, running, state_folder
from benchmarks.table import Quantiles, Row, Target, quantiles, render, single
from benchmarks.tree import machine
from benchmarks.workshop import Workshop, workshop

FORK_TARGET = Target(1.5, of_ratio=True, plus=0.5)
TAIL_TARGET = Target(3)
HEAVY_TARGET = Target(2)
SPARE_TARGET = Target(0.5)
NEVER_TARGET = Target(1, of_ratio=True, plus=0.5)
RATE_TARGET = Target(400, at_least=True)
USS_TARGET = Target(1.5)
_PAUSE_S = 0.02
"""Between two starts, until what the last one started has ended."""
_CONFIG = """
[runtimes.default]
python = "{python}"

[functions.shared]
handler = "{module}:handler"
http = "GET /shared"
reserved = 1

[functions.fork]
handler = "{module}:handler"
http = "GET /fork"
max_invocations = 1
spare = 0

[functions.never]
handler = "{module}:handler"
http = "GET /never"
reuse = "never"
spare = 4
"""


class Plan(NamedTuple):
    """How often each is measured, and for how many seconds."""

    starts: int
    seconds: int


FULL = Plan(starts=400, seconds=10)
QUICK = Plan(starts=40, seconds=2)


@contextmanager
def server(work: Workshop, function: str, state: Path) -> Iterator[Running]:
    """Forklight, serving one handler in several ways."""
    config = work.code(function) / "forklight.toml"
    config.write_text(_CONFIG.format(python=work.runtime.python, module=function))
    with running(forklight(config, state / function, sys.executable, "--quiet", name=function)) as up:
        yield up


def forks(up: Running, bare: socket.socket, times: int) -> list[Row]:
    """One of ours, one bare, in turns."""
    ours, floor = [], []
    with closing(Client(up)) as client:
        client.get("/fork")
        for _ in range(times):
            time.sleep(_PAUSE_S)
            ours.append(_start(client, "/fork", "fork"))
            floor.append(_bare_fork_ms(bare))
    found = quantiles(ours)
    return [
        Row(f"start by fork, {up.name}", "ms", found, quantiles(floor), FORK_TARGET),
        Row(f"its p99 to its p50, {up.name}", "", single(found.p99 / found.p50), target=TAIL_TARGET),
    ]


def _bare_fork_ms(bare: socket.socket) -> float:
    bare.sendall(b"f")
    (found_ns,) = struct.unpack("=Q", bare.recv(8))
    return float(found_ns) / 1e6


def spares(up: Running, times: int) -> Row:
    """The first event of an instance that was forked ahead, beside an event of an instance that stays.

    On a busy machine the next spare may come too late; such an event is another row's.
    """
    first, warm = [], []
    with closing(Client(up)) as client:
        client.get("/never")
        for _ in range(times):
            time.sleep(_PAUSE_S)
            answer = client.get("/never")
            if answer.start == "warm":
                first.append(answer.taken_ms)
                warm.append(_start(client, "/shared", "warm"))
    if len(first) < times / 2:
        raise ServerError(f"only {len(first)} of {times} events met a spare")
    return Row(f"first event of a spare, {up.name}", "ms", quantiles(first), quantiles(warm), SPARE_TARGET)


def _start(client: Client, path: str, kind: str) -> float:
    answer = client.get(path)
    if answer.start != kind:
        raise ServerError(f"GET {path} was answered by {answer.start!r}")
    return answer.taken_ms


def never(up: Running, seconds: int) -> list[Row]:
    """A process for each event: how many a second, and how long one takes at half of that."""
    url = f"http://127.0.0.1:{up.port}"
    load = run_wrk(f"{url}/never", connections=4, seconds=seconds)
    rate = load.requests / (load.duration_us / 1e6)
    with closing(Client(up)) as client:
        paced = {path: _paced(client, path, rate / 2, seconds) for path in ("/never", "/shared")}
    return [
        Row("a process for each event", "/s", single(rate), target=RATE_TARGET),
        Row("one of them, at half that rate", "ms", paced["/never"], paced["/shared"], NEVER_TARGET),
    ]


def _paced(client: Client, path: str, rate: float, seconds: int) -> Quantiles:
    """One request after the other, begun at this rate."""
    taken_ms, begin_s = [], time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, begin_s + number / rate - time.monotonic()))
        taken_ms.append(client.get(path).taken_ms)
    return quantiles(taken_ms)


def measure(hello: Workshop, heavy: Workshop | None, plan: Plan, state: Path) -> list[Row]:
    """All rows. Raises ServerError and LoadError."""
    with ExitStack() as stack:
        up = stack.enter_context(server(hello, "world", state))
        bare, _ = stack.enter_context(bare_socket(hello, "fork", "world"))
        rows = forks(up, bare, plan.starts)
        rows.append(spares(up, plan.starts))
        rows += never(up, plan.seconds)
    if heavy is not None:
        with ExitStack() as stack:
            up = stack.enter_context(server(heavy, "with_pandas", state))
            bare, _ = stack.enter_context(bare_socket(heavy, "fork", "with_pandas"))
            ours = forks(up, bare, plan.starts)
            assert ours[0].ours is not None
            assert rows[0].ours is not None
            ratio = single(ours[0].ours.p50 / rows[0].ours.p50)
            rows += [*ours, Row("start by fork, with_pandas to world", "", ratio, target=HEAVY_TARGET)]
    rows += uvloop.run(footprint.measure(hello, "hello"))
    rows += pauses.measure(hello)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starts", description="What starts cost.")
    parser.add_argument("--quick", action="store_true", help="a smoke run: a few of each")
    parser.add_argument("--heavy", action="store_true", help="also a function that imports numpy and pandas")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    heavy_python = python_with_libraries() if arguments.heavy else None
    print(machine(), file=sys.stderr)
    try:
        require_wrk()
        with ExitStack() as stack:
            state = stack.enter_context(state_folder())
            hello = stack.enter_context(workshop())
            heavy = stack.enter_context(workshop(heavy_python)) if heavy_python else None
            rows = measure(hello, heavy, plan, state)
    except (LoadError, ServerError) as error:
        sys.exit(str(error))
    print(render(rows))


if __name__ == "__main__":
    main()
