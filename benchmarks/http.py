"""`python -m benchmarks.http [--quick] [--seconds N]`: what an event over HTTP costs, beside other Python servers.

All servers run at the same time and are loaded in turns. The first run makes the peers' environment, and as root
installs wrk where it is missing; after that it takes about five minutes.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks import http_cold, http_table, http_warm
from benchmarks.compiled import compiled
from benchmarks.http_load import LoadError, require_wrk
from benchmarks.http_peers import FOLDER, environment, peers
from benchmarks.http_servers import Running, Server, ServerError, forklight, running, state_folder
from benchmarks.http_table import OURS, OURS_COMPILED, OURS_LOGGED
from benchmarks.http_warm import HELLO, LARGE_UPLOAD, UPLOAD, Cell
from benchmarks.table import Row, render
from benchmarks.tree import machine


class Plan(NamedTuple):
    """How much is measured; `seconds` for each cell."""

    connections: Sequence[int]
    seconds: int
    cold: http_cold.Times


FULL = Plan(connections=(1, 16, 64), seconds=3, cold=http_cold.Times(forks=200, loads=30, boots=10, first_answers=5))
QUICK = Plan(connections=(16,), seconds=1, cold=http_cold.Times(forks=20, loads=4, boots=2, first_answers=1))


def measure(plan: Plan, others: list[Server], state: Path) -> tuple[list[Cell], list[Row]]:
    """The cells of the warm loads, and the rows of cold starts."""

    def ours(config: str, name: str, *options: str) -> Server:
        return forklight(FOLDER / "forklight" / config, state / name, sys.executable, *options, name=name)

    quiet = ours("forklight.toml", OURS, "--quiet")
    built = compiled()
    with ExitStack() as stack:
        logged = stack.enter_context(running(ours("forklight.toml", OURS_LOGGED, "--log-format", "json")))
        fast = [ours("forklight.toml", OURS_COMPILED, "--quiet")._replace(env={"PYTHONPATH": str(built)})]
        servers = [stack.enter_context(running(server)) for server in (quiet, *(fast if built else []), *others)]
        cells = warm_cells(plan, servers, logged)
        rows = [
            http_cold.starts(servers[0], "fork", plan.cold.forks),
            http_cold.starts(servers[0], "load", plan.cold.loads),
        ]
    with running(ours("rest.toml", "Forklight at rest", "--quiet")) as at_rest:
        rows.append(http_cold.starts(at_rest, "boot", plan.cold.boots))
    rows += http_cold.first_answers([quiet, *others], plan.cold.first_answers)
    return cells, rows


def warm_cells(plan: Plan, servers: list[Running], logged: Running) -> list[Cell]:
    """Grouped by load, so that what is to be compared stands together."""
    cells = []
    for connections in plan.connections:
        cells += http_warm.measure([*servers, logged], HELLO, connections, plan.seconds)
    for connections in plan.connections:
        cells += http_warm.measure(servers, UPLOAD, connections, plan.seconds)
    return cells + http_warm.measure(servers, LARGE_UPLOAD, http_table.TARGET_CONNECTIONS, plan.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description="What an event over HTTP costs.")
    parser.add_argument("--quick", action="store_true", help="a smoke run: 16 connections only, a second each")
    parser.add_argument("--seconds", type=int, metavar="N", help=f"of load for each cell; default {FULL.seconds}")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    if arguments.seconds is not None:
        plan = plan._replace(seconds=max(1, arguments.seconds))
    print(machine(), file=sys.stderr)
    try:
        require_wrk()
        with state_folder() as state:
            cells, rows = measure(plan, peers(environment()), state)
    except (LoadError, ServerError) as error:
        sys.exit(str(error))
    print(http_table.render(cells), render([*http_table.targets(cells), *rows]), sep="\n\n")


if __name__ == "__main__":
    main()
