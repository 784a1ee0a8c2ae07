"""`python -m benchmarks.deploys [--deploys N] [--load]`: deploys, rollbacks and canaries on a running server.

Without `--load`, one client does one thing after the other. With it, wrk asks the server without pause, messages pass
through two queues, first of the embedded store and then of a RabbitMQ of the benchmark's own, and every request and
message is counted.
"""

import argparse
import asyncio
import itertools
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import msgspec

from benchmarks.http_load import Load, require_wrk, run_wrk
from benchmarks.http_servers import Client, Running, Server, running, state_folder
from benchmarks.table import Row, Target, quantiles, render
from benchmarks.tree import machine
from forklight.admin.places import Session, of_state
from forklight.admin.upload import upload
from forklight.packages.package import build
from forklight.serving.deployment import Deployed
from forklight.state.control_socket import socket_path
from tests.kit.broker import running_node
from tests.kit.deployed_traffic import Counted, counted_application, go_round
from tests.kit.messages import load, wait_more

NAME = "shop"
FILES = {
    "forklight.toml": '[functions.orders]\nhandler = "orders:handler"\nhttp = "GET /orders"\n',
    "orders.py": "import decimal, email.message, sqlite3\n\ndef handler(event):\n    return VERSION\n",
}
ROLLBACK = Target(50)
CONNECTIONS, CLIENTS = 8, 4
"""Of wrk, and of those who send messages."""
MOMENT = 20
"""How many messages pass between two changes."""

Times = dict[str, list[float]]


class Shop:
    """An application, and what `forklight deploy` and `forklight rollback` do with it once they have started."""

    def __init__(self, folder: Path, state: Path, server: Running) -> None:
        self._folder, self._state = folder, state
        self._client = Client(server)
        self._versions = itertools.count(1)
        self.times_ms: Times = defaultdict(list)

    def deploy(self, *, canary: bool = False) -> None:
        """From the files to the answer of the server; then, unless it is a canary, ask for the first time."""
        what = "canary of 10 %" if canary else "deploy"
        self._write(next(self._versions))
        begin_ns = time.monotonic_ns()
        with closing(Session(of_state(self._state), 60.0)) as session, tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "package.zip"
            built = build(self._folder, package, also=[self._folder / "forklight.toml"])
            upload(session, built.sha256, package, lambda at: None)
            self._post(session, f"deploy?package={built.sha256}{'&canary=10' * canary}", what, begin_ns)

    def change(self, change: str) -> None:
        """`rollback`, `promote` or `abort`."""
        begin_ns = time.monotonic_ns()
        with closing(Session(of_state(self._state), 60.0)) as session:
            self._post(session, change, change, begin_ns)

    def ask(self, what: str) -> None:
        """A request, and the time until its answer begins."""
        self.times_ms[what].append(self._client.get("/orders").taken_ms)

    def _post(self, session: Session, resource: str, what: str, begin_ns: int) -> None:
        with session.answer("POST", f"/applications/{NAME}/{resource}") as answer:
            done = msgspec.json.decode(answer.read().strip().splitlines()[-1], type=Deployed)
        self.times_ms[what].append((time.monotonic_ns() - begin_ns) / 1e6)
        if not done.ok:
            raise RuntimeError(f"the {what} failed: {done}")
        for step in ("loading", "switching"):
            self.times_ms[f"{what}: {step}"].append(done.times_ms.get(step, 0))

    def _write(self, version: int) -> None:
        for name, text in FILES.items():
            (self._folder / name).write_text(text.replace("VERSION", str(version)))


def measure(deploys: int) -> list[Row]:
    """Deploys and rollbacks, then canaries that are promoted and aborted; each beside what it cannot be faster than."""
    with state_folder() as folder:
        state, application = folder / "state", folder / NAME
        application.mkdir()
        serve = (sys.executable, "-m", "forklight", "serve", "--state", str(state), "--listen", "127.0.0.1:{port}")
        with running(Server("Forklight", (*serve, "--quiet"), {"PYTHONPATH": str(Path.cwd())})) as server:
            while not socket_path(state).exists():  # it is made after the listener
                time.sleep(0.01)
            shop = Shop(application, state, server)
            shop.deploy()
            shop.times_ms.clear()
            starts_ms = [_go_round(shop, application) for _ in range(deploys)]
            times_ms = shop.times_ms
    warm = quantiles(times_ms["warm"])
    rows = [Row("deploy", "ms", quantiles(times_ms["deploy"]), quantiles(starts_ms))]
    rows += _rows(times_ms, "deploy: loading", "deploy: switching")
    rows.append(Row("first answer after it", "ms", quantiles(times_ms["first after deploy"]), warm))
    rows.append(Row("rollback", "ms", quantiles(times_ms["rollback"]), target=ROLLBACK))
    rows += _rows(times_ms, "rollback: loading", "rollback: switching")
    rows.append(Row("first answer after it", "ms", quantiles(times_ms["first after rollback"]), warm))
    return rows + _rows(times_ms, "canary of 10 %", "promote", "abort")


def _go_round(shop: Shop, application: Path) -> float:
    """Return how long an interpreter takes to start and import the same module, in ms."""
    shop.deploy()
    shop.ask("first after deploy")
    shop.ask("warm")
    shop.change("rollback")
    shop.ask("first after rollback")
    shop.ask("warm")
    for change in ("promote", "abort"):
        shop.deploy(canary=True)
        shop.change(change)
    begin_ns = time.monotonic_ns()
    subprocess.run([sys.executable, "-c", "import orders"], cwd=application, check=True)
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
    parser.add_argument("--load", action="store_true", help="under load of requests and messages, each counted")
    options = parser.parse_args()
    print(machine(), file=sys.stderr)
    if options.load:
        require_wrk()
        asyncio.run(measure_loads(-(-options.deploys // 3)))
    else:
        print(render(measure(options.deploys)))


if __name__ == "__main__":
    main()
