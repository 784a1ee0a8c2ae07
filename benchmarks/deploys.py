"""`python -m benchmarks.deploys [--deploys N] [--many | --load]`: deploys, rollbacks and canaries on a running server.

Without options, one client does one thing after the other with one function; with `--many`, with 40 functions, beside
another client that asks without pause. With `--load`, wrk asks the server without pause, messages pass
through two queues, first of the embedded store and then of a RabbitMQ of the benchmark's own, and every request and
message is counted.
"""

import argparse
import asyncio
import itertools
import subprocess
import sys
import time

from benchmarks.deploys_many import ROLLBACK
from benchmarks.deploys_many import measure as measure_many
from benchmarks.deploys_shop import Shop, Times, open_shop
from benchmarks.http_load import Load, require_wrk, run_wrk
from benchmarks.table import Row, quantiles, render
from benchmarks.tree import machine
from tests.kit.broker import running_node
from tests.kit.deployed_traffic import Counted, counted_application, go_round
from tests.kit.messages import load, wait_more

FILES = {
    "forklight.toml": '[functions.orders]\nhandler = "orders:handler"\nhttp = "GET /orders"\n',
    "orders.py": "import decimal, email.message, sqlite3\n\ndef handler(event):\n    return VERSION\n",
}
CONNECTIONS, CLIENTS = 8, 4
"""Of wrk, and of those who send messages."""
MOMENT = 20
"""How many messages pass between two changes."""


def measure(deploys: int) -> list[Row]:
    """Deploys and rollbacks, then canaries that are promoted and aborted; each beside what it cannot be faster than."""
    with open_shop(_files) as (shop, _):
        starts_ms = [_go_round(shop) for _ in range(deploys)]
        times_ms = shop.times_ms
    warm = quantiles(times_ms["warm"])
    rows = [Row("deploy", "ms", quantiles(times_ms["deploy"]), quantiles(starts_ms))]
    rows += _rows(times_ms, "deploy: loading", "deploy: switching")
    rows.append(Row("first answer after it", "ms", quantiles(times_ms["first after deploy"]), warm))
    rows.append(Row("rollback", "ms", quantiles(times_ms["rollback"]), target=ROLLBACK))
    rows += _rows(times_ms, "rollback: loading", "rollback: switching")
    rows.append(Row("first answer after it", "ms", quantiles(times_ms["first after rollback"]), warm))
    return rows + _rows(times_ms, "canary of 10 %", "promote", "abort")


def _files(version: int) -> dict[str, str]:
    return {name: text.replace("VERSION", str(version)) for name, text in FILES.items()}


def _go_round(shop: Shop) -> float:
    """Return how long an interpreter takes to start and import the same module, in ms."""
    shop.deploy()
    shop.ask("first after deploy", "/orders")
    shop.ask("warm", "/orders")
    shop.change("rollback")
    shop.ask("first after rollback", "/orders")
    shop.ask("warm", "/orders")
    for change in ("promote", "abort"):
        shop.deploy(canary=True)
        shop.change(change)
    begin_ns = time.monotonic_ns()
    subprocess.run([sys.executable, "-c", "import orders"], cwd=shop.folder, check=True)
    return (time.monotonic_ns() - begin_ns) / 1e6


def _rows(times_ms: Times, *names: str) -> list[Row]:
    return [Row(name, "ms", quantiles(times_ms[name])) for name in names]


async def measure_load(bus_url: str, rounds: int) -> str:
    """Three deploys, two of them canaries, and a rollback in each round, under requests and messages; the account."""
    async with counted_application(bus_url) as counted:
        asked: list[Load] = []
        ended = asyncio.Event()

        async def ask() -> None:
            while not ended.is_set():
                url = f"{counted.server.url}/version"
                asked.append(await asyncio.to_thread(run_wrk, url, connections=CONNECTIONS, seconds=3))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask())
            sending = tasks.create_task(load(counted.server, counted.ledger, itertools.count(), clients=CLIENTS))
            for _ in range(rounds):
                await go_round(counted, lambda: wait_more(counted.ledger, MOMENT))
            ended.set()
            sending.cancel()
        await counted.ledger.wait_handled()
        return told(counted, asked)


def told(counted: Counted, asked: list[Load]) -> str:
    """Return the account. Raises AssertionError if a message was lost, or an instance had two versions."""
    duplicates, by_process = counted.ledger.duplicates(), counted.versions_by_process()
    assert all(len(versions) == 1 for versions in by_process.values()), "an instance has had two versions"
    changes = ", ".join(
        f"{len(times)} x {what.partition(':')[0]} ({quantiles(times).p50:.0f} ms)"
        for what, times in counted.times_ms.items()
        if what.endswith("total")
    )
    slowest_ms = max(one.p999_us for one in asked) / 1e3
    return (
        f"{changes}: {sum(one.requests for one in asked)} requests, {sum(one.failed for one in asked)} failed, slowest"
        f" of a thousand {slowest_ms:.0f} ms; {len(counted.ledger.accepted)} messages through two queues each, 0 lost,"
        f" {duplicates} twice, by {len(by_process)} instances of {len(counted.messages_by_version())} versions"
    )


async def measure_loads(rounds: int) -> None:
    """On the embedded store, and on RabbitMQ."""
    print("embedded store:", await measure_load("sqlite:", rounds))
    with running_node() as node:
        print("RabbitMQ:", await measure_load(node.fresh_url(), rounds))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deploys", description="Deploys, rollbacks, canaries.")
    parser.add_argument("--deploys", type=int, default=20, metavar="N", help="how many; default 20")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--many", action="store_true", help="10 rollbacks of 40 functions, beside another client")
    what.add_argument("--load", action="store_true", help="under load of requests and messages, each counted")
    options = parser.parse_args()
    print(machine(), file=sys.stderr)
    if options.load:
        require_wrk()
        asyncio.run(measure_loads(-(-options.deploys // 3)))
    elif options.many:
        print(render(measure_many()))
    else:
        print(render(measure(options.deploys)))


if __name__ == "__main__":
    main()
