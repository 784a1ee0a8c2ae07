"""An application that is deployed again and again while requests and messages pass through it, each of them counted."""

import contextlib
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tests.kit.application import at_limits, open_folder
from tests.kit.deploys import Deploys
from tests.kit.messages import STEPS, TOML, Ledger
from tests.kit.served import Server, serving

NAME = "counted"
BASE = '[deploy]\nkeep_versions = 3\nenv = ["LEDGER"]\n'
APPLICATION = f"""{TOML.replace("steps:second", "steps:numbered")}
[functions.version]
handler = "steps:version"
http = "GET /version"
reserved = 1
"""
VERSIONED = """
def version(event):
    return NUMBER

def numbered(event):
    second(event)
    note("by", f"{os.getpid()} {NUMBER}")
"""


class Counted:
    """The application on a server that holds nothing else."""

    def __init__(self, server: Server, ledger: Ledger) -> None:
        self.server = server
        self.ledger = ledger
        self.deploys = Deploys(server)
        self.times_ms: dict[str, list[float]] = defaultdict(list)
        """`total` and `switching` of each change, by what was done."""
        self._folder = server.folder / NAME
        self._numbers = itertools.count(1)

    async def number(self) -> int:
        """Which version answers a request."""
        return int((await self.server.get("/version")).json())

    async def deploy(self, *, canary: float = 0) -> int:
        """Deploy the next version, and return its number."""
        number = next(self._numbers)
        self._folder.mkdir(exist_ok=True)
        (self._folder / "forklight.toml").write_text(at_limits(APPLICATION))
        (self._folder / "steps.py").write_text(f"{STEPS}\nNUMBER = {number}\n{VERSIONED}")
        done = await self.deploys.deploy(NAME, self._folder, canary=canary)
        self._note("canary" if canary else "deploy", done)
        assert done["version"] == number
        return number

    async def change(self, what: str) -> int:
        """`rollback`, `promote` or `abort`; return the version that is live then."""
        done = await self.deploys.change(NAME, what)
        self._note(what, done)
        return int(done["version"])

    def _note(self, what: str, done: Any) -> None:
        assert done["ok"], done
        for step in ("total", "switching"):
            self.times_ms[f"{what}: {step}"].append(done["times_ms"][step])

    def versions_by_process(self) -> dict[str, set[str]]:
        """The versions of the messages that each instance has handled."""
        found = defaultdict(set)
        for noted in self.ledger.noted("by"):
            pid, number = noted.split()
            found[pid].add(number)
        return found

    def messages_by_version(self) -> Counter[int]:
        """How many messages each version has handled."""
        found = Counter[int]()
        for noted, count in self.ledger.noted("by").items():
            found[int(noted.split()[1])] += count
        return found


@contextlib.asynccontextmanager
async def counted_application(bus_url: str) -> AsyncIterator[Counted]:
    """A server that began empty, and serves version 1 now."""
    with open_folder() as folder:
        file = folder / "ledger"
        file.touch()
        file.chmod(0o666)
        (folder / "forklight.toml").write_text(BASE)
        variables = {"LEDGER": str(file), "FORKLIGHT_BUS_URL": bus_url}
        async with serving(folder, "--quiet", "--listen", "127.0.0.1:0", **variables) as server:
            counted = Counted(server, Ledger(file))
            await counted.deploy()
            yield counted


async def go_round(counted: Counted, moment: Callable[[], Awaitable[None]]) -> None:
    """A deploy, a rollback, a canary that is promoted, and one that is aborted; `moment` passes under load after each.

    What a change has said is true of the next request.
    """
    before = await counted.number()
    number = await counted.deploy()
    assert await counted.number() == number
    await moment()
    assert await counted.change("rollback") == before
    assert await counted.number() == before
    await moment()
    canary = await counted.deploy(canary=50)
    assert {await counted.number() for _ in range(40)} == {before, canary}
    await moment()
    assert await counted.change("promote") == canary
    assert await counted.number() == canary
    await moment()
    await counted.deploy(canary=50)
    await moment()
    assert await counted.change("abort") == canary
    assert {await counted.number() for _ in range(5)} == {canary}
