"""`python -m benchmarks.density [--functions N] [--quick]`: what deployed functions cost that nobody calls.

A server with so many functions at `rest = "none"`, each a module of its own, beside one with a single function and one
with a tenth of them: how long it takes to start, what it holds and does while nothing happens, whether a warm call
notices the others, and how long commands take. Then one function with 500 instances that live at the same time.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from benchmarks.crowd import Answers, Crowd, raise_file_limit
from benchmarks.guest_facts import cpu_ns
from benchmarks.http_cpu import tree_pids
from benchmarks.http_servers import Client, Running, Server, ServerError, forklight, running, state_folder
from benchmarks.table import Quantiles, Row, Target, quantiles, render, single
from benchmarks.tree import machine
from forklight.admin.client import get, post
from sandbox.processes import memory_kb

LIVE = 500
HELD_S = 12.0
"""How long each handler of the live instances runs, so that none serves two requests."""
_SETTLE_S = 1.0
"""After the start, before its idling is measured."""
_START, _CPU, _FLAT = Target(3000), Target(0.1), Target(1.1, of_ratio=True)
_HANDLER = 'def handler(event):\n    return {"hello": "world"}\n'
_HOLDING = f"import os, time\n\ndef handler(event):\n    time.sleep({HELD_S})\n    return {{'pid': os.getpid()}}\n"


class Deployed(NamedTuple):
    """An application with so many functions, and the folder around it and its state."""

    folder: Path
    functions: int

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def server(self) -> Server:
        return forklight(self.folder / "app", self.state, sys.executable, "--quiet", name=f"{self.functions} functions")


def deploy(folder: Path, count: int) -> Deployed:
    """Write the application."""
    app = folder / "app"
    app.mkdir(parents=True)
    tables = [f'[functions.f{n}]\nhandler = "m{n}:handler"\nhttp = "GET /f{n}"\nrest = "none"\n' for n in range(count)]
    (app / "forklight.toml").write_text("".join(tables))
    for n in range(count):
        (app / f"m{n}.py").write_text(_HANDLER)
    return Deployed(folder, count)


class Start(NamedTuple):
    """From the start of the process to the first answer of a function; the CPU time is the server's alone."""

    taken_ms: float
    cpu_ms: float


def start(deployed: Deployed) -> Start:
    """Start the server once, and end it."""
    with running(deployed.server) as up, closing(Client(up)) as client:
        client.get("/f0")
        return Start((time.monotonic_ns() - up.started_ns) / 1e6, cpu_ns(up.pid) / 1e6)


class Idle(NamedTuple):
    """A server that nobody has called yet."""

    processes: int
    cpu_percent: float
    rss_kib: float


def idle(server: Running, window_s: float) -> Idle:
    """What it is and does in a window of time."""
    time.sleep(_SETTLE_S)
    before_ns = cpu_ns(server.pid)
    time.sleep(window_s)
    used_ns = cpu_ns(server.pid) - before_ns
    return Idle(len(tree_pids(server.pid)), used_ns / window_s / 1e7, memory_kb(server.pid) or 0)


def warm_us(servers: Sequence[Running], calls: int) -> list[Quantiles]:
    """Of each server, the times of warm calls of one function, in turns."""
    found: list[list[float]] = [[] for _ in servers]
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(Client(server))) for server in servers]
        for client in clients:
            client.get("/f0")
        for _ in range(calls):
            for client, taken in zip(clients, found, strict=True):
                taken.append(client.get("/f0").taken_ms * 1e3)
    return [quantiles(taken) for taken in found]


def commands_ms(deployed: Deployed, server: Running) -> dict[str, float]:
    """How long each takes; those that start an interpreter include that."""
    app, state = deployed.folder / "app", deployed.state
    changed = app / f"m{deployed.functions - 1}.py"

    def reload_after_a_change() -> None:
        changed.write_text(f"{_HANDLER}# {time.monotonic_ns()}\n")
        post(state, "/reload", b"", None, timeout_s=None)

    def command(*arguments: str) -> None:
        argv = [sys.executable, "-m", "forklight", *arguments]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)

    doing: dict[str, Callable[[], object]] = {
        "forklight check": lambda: command("check", str(app)),
        "forklight ps": lambda: command("ps", str(app), "--state", str(state)),
        "a scrape of the metrics": lambda: get(state, "/metrics"),
        "a reload, nothing changed": lambda: post(state, "/reload", b"", None, timeout_s=None),
        "a reload, one module changed": reload_after_a_change,
    }
    return {name: _taken_ms(do) for name, do in doing.items()}


def _taken_ms(do: Callable[[], object]) -> float:
    begin_ns = time.monotonic_ns()
    do()
    return (time.monotonic_ns() - begin_ns) / 1e6


def compared(folder: Path, count: int, window_s: float, calls: int) -> list[Row]:
    """Start, rest and warm calls of many functions beside one."""
    one, some, many = (deploy(folder / str(n), n) for n in (1, count // 10, count))
    rows = []
    for what, target in (("first start", None), ("start", _START)):
        bare, ours = start(one), start(many)
        rows += [
            Row(f"{what}, {count} functions", "ms", single(ours.taken_ms), single(bare.taken_ms), target),
            Row(f"its CPU time, {what}", "ms", single(ours.cpu_ms), single(bare.cpu_ms)),
        ]
    with ExitStack() as stack:
        servers = [stack.enter_context(running(each.server)) for each in (one, some, many)]
        alone, among = idle(servers[0], window_s), idle(servers[2], window_s)
        rows += [
            Row("processes while nothing happens", "", single(among.processes), single(alone.processes)),
            Row("CPU while nothing happens", "%", single(among.cpu_percent), single(alone.cpu_percent), _CPU),
            Row("memory of a function", "KiB", single((among.rss_kib - alone.rss_kib) / (count - 1))),
        ]
        alone_us, *others = warm_us(servers, calls)
        for each, taken in zip((some, many), others, strict=True):
            rows.append(Row(f"warm call among {each.functions} functions", "us", taken, alone_us, _FLAT))
        taken_ms = [commands_ms(each, server) for each, server in ((one, servers[0]), (many, servers[2]))]
    return rows + [Row(name, "ms", single(ms), single(taken_ms[0][name])) for name, ms in taken_ms[1].items()]


def live(folder: Path, count: int) -> list[Row]:
    """So many instances of one function at the same time, each with one request, and the same ones once more."""
    app = folder / "app"
    app.mkdir(parents=True)
    (app / "hold.py").write_text(_HOLDING)
    table = (
        f'[functions.hold]\nhandler = "hold:handler"\nhttp = "GET /hold"\nmax_instances = {count}\nkeep_alive = "10m"\n'
    )
    (app / "forklight.toml").write_text(table)
    with running(forklight(app, folder / "state", sys.executable, "--quiet")) as server:
        all_ms, pids = _held(server, count)
        again_ms, again = _held(server, count)
        if len(pids) != count or again != pids:
            raise ServerError(f"{len(pids)} instances, then {len(again)} of which {len(again & pids)} are the same")
        kib = sum(memory_kb(pid) or 0 for pid in tree_pids(server.pid) if pid not in pids)
    return [
        Row(f"{count} requests at once, until all are answered, less {HELD_S:g} s", "ms", single(all_ms)),
        Row("the same, by the instances that live", "ms", single(again_ms)),
        Row("memory of all other processes", "MiB", single(kib / 1024)),
    ]


def _held(server: Running, count: int) -> tuple[float, set[int]]:
    crowd = Crowd(server.port, "/hold", count)
    crowd.send()
    answers: Answers = crowd.answers()
    if answers.failed:
        raise ServerError(f"{answers.failed} of {count} requests failed")
    return (answers.last_ns - answers.sent_ns) / 1e6 - HELD_S * 1e3, {body["pid"] for body in answers.bodies}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.density", description="What many functions cost.")
    parser.add_argument("--functions", type=int, default=1000, metavar="N", help="default 1000")
    parser.add_argument("--quick", action="store_true", help="a smoke run: short windows, few calls")
    arguments = parser.parse_args()
    print(machine(), file=sys.stderr)
    raise_file_limit()
    try:
        with state_folder() as folder:
            window_s, calls = (3.0, 500) if arguments.quick else (20.0, 5000)
            rows = compared(folder, arguments.functions, window_s, calls)
            rows += live(folder / "live", LIVE)
    except ServerError as error:
        sys.exit(str(error))
    print(render(rows))


if __name__ == "__main__":
    main()
