"""An application whose messages are counted: HTTP → queue `a` → queue `b`, each step noted in a file that outlives
every process; and the ledger that tells what was lost, what came that nobody sent, and what came twice."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp

from tests.kit.application import application
from tests.kit.served import Server, serving
from tests.kit.support import until

SLOTS = 4
TOML = f"""
[defaults]
max_instances = {SLOTS}
max_waiting = 1000
[defaults.env]
LEDGER = "${{LEDGER}}"

[functions.accept]
handler = "steps:accept"
http = "POST /accept"

[functions.first]
handler = "steps:first"
queue = "a"

[functions.second]
handler = "steps:second"
queue = "b"

[functions.tick]
handler = "steps:tick"
timer = ["* * * * * *", "*/2 * * * * *"]
"""
STEPS = """
import os

def note(step, what):
    ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)
    os.write(ledger, f"{step} {what}\\n".encode())
    os.close(ledger)

def accept(event, context):
    context.send("a", event["data"])
    return event["data"]

def accept_silently(event, context):
    context.send("a", event["data"])

def first(event, context):
    note("a", event["data"]["n"])
    context.send("b", event["data"])

def second(event):
    note("b", event["data"]["n"])

def tick(event):
    note("tick", event["id"])

def yearly(event):
    timer = event["timer"]
    note("yearly", f"{timer['name']} {timer['scheduled_at']} past_due={timer['past_due']} missed={timer['missed']}")
"""


class Ledger:
    """`sent` are the numbers that were tried, `accepted` those for which the server has answered that it has them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.sent: set[int] = set()
        self.accepted: set[int] = set()

    def noted(self, step: str) -> Counter[str]:
        """How often each was noted in this step."""
        lines = [line.split(" ", 1) for line in self._file.read_text().splitlines()]
        return Counter(what for at, what in lines if at == step)

    def handled(self) -> int:
        """How many numbers have come through both queues."""
        return len(self.noted("b"))

    async def wait_handled(self) -> None:
        """Until all that was accepted has come through both."""
        wanted = set(map(str, self.accepted))
        await until(lambda: wanted <= self.noted("b").keys())

    def duplicates(self) -> int:
        """How often something was handled again. Fails for what was lost, and for what nobody sent."""
        for step in ("a", "b"):
            noted = self.noted(step)
            assert {n for n in self.accepted if str(n) not in noted} == set(), f"lost in {step}"
            assert set(noted) <= set(map(str, self.sent)), f"unexpected in {step}"
        return sum(count - 1 for step in ("a", "b") for count in self.noted(step).values())


Starter = Callable[[], contextlib.AbstractAsyncContextManager[Server]]


@contextlib.asynccontextmanager
async def counted(bus_url: str, more: str = "") -> AsyncIterator[tuple[Ledger, Starter]]:
    """The ledger, and what starts the application's server, again and again on the same state.

    `more` are tables of further functions, for tests that need them: each function has a template, a target of kills.
    """
    with application(TOML + more, steps=STEPS) as folder:
        file = folder / "ledger"
        file.touch()
        file.chmod(0o666)
        variables = {"LEDGER": str(file), "FORKLIGHT_BUS_URL": bus_url}
        yield Ledger(file), lambda: serving(folder, "--listen", "127.0.0.1:0", **variables)


async def load(server: Server, ledger: Ledger, numbers: "itertools.count[int]", clients: int = 6) -> None:
    """Clients that send one number after the other, until the server is gone or this is cancelled."""

    async def client() -> None:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            for n in numbers:
                ledger.sent.add(n)
                if (await server.post("/accept", {"n": n})).status == 200:
                    ledger.accepted.add(n)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(client())


async def wait_more(ledger: Ledger, count: int) -> None:
    """Until so many more have come through both queues."""
    before = ledger.handled()
    await until(lambda: ledger.handled() >= before + count)
