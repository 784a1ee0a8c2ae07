"""The admin API over a real socket and TCP, with a real embedded store and a target that echoes."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from ssl import SSLContext
from typing import Any

import aiohttp
import anyio

from bus import Event, Failed, Ok, Outcome
from bus.bus import Bus
from bus.outcome import ExceptionName
from bus.sqlite import SqliteStore, open_sqlite
from bus.store import Store
from dispatcher.dispatcher import Dispatcher
from forklight.admin.applications import Deployer
from forklight.admin.server import Admin
from forklight.config.configuration import Config, Function
from forklight.config.document import Node
from forklight.config.environment import Secrets
from forklight.config.functions import FunctionSettings, Handler, Name, Settings
from forklight.config.queue import BrokerSettings, BrokerUrl
from forklight.observe.formats import json_lines
from forklight.observe.journal import Journal
from forklight.observe.observer import Observer
from forklight.observe.status import Reloaded
from forklight.serving.deployments import Deployments, Loaded
from forklight.serving.isolation import account_of
from forklight.serving.reloaded import ReloadResult
from forklight.serving.running import Running
from forklight.serving.stores import Stores
from forklight.serving.strays import Strays
from forklight.serving.triggers import Triggers
from forklight.serving.versions import Versions
from forklight.state.directory import State
from forklight.state.users import unprivileged_user
from sandbox.tree import open_tree
from tests.kit.targets import Awaiting
from triggers.http import HttpSettings, RouteTable
from triggers.http.server import HttpServer
from triggers.queue import QueueConsumer, QueueTrigger
from triggers.timer import Timer, TimerRunner, parse_cron

TRIGGERS = tuple(
    QueueTrigger(function="greet", queue=queue, dead_letter="greet.dead", slots=1)
    for queue in ("orders", "forklight.inbox.greet")
)
TIMERS = tuple(
    Timer(function="greet", name=name, schedule=parse_cron("0 7 1 1 *", "Europe/Berlin")) for name in ("early", "late")
)


class Echo(Awaiting):
    """A target that answers with the event's body, and fails if that is `fail`."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def call(self, event: Event) -> Outcome:
        self.events.append(event)
        if event.body == b"fail":
            return Failed(kind="error", code=ExceptionName("KeyError"), message="'x'", traceback="Traceback …")
        return Ok(body=event.body, content_type=event.datacontenttype)


class Asked:
    """The socket, and the parts behind it."""

    def __init__(self, session: aiohttp.ClientSession, store: SqliteStore, running: Running, port: int) -> None:
        self.target = Echo()
        self.running = running
        self.store = store
        self.journal = running.observer.journal
        self.port = port
        self.state = store.path.parent
        self._session = session

    async def post(self, resource: str, data: Any = None, **options: Any) -> tuple[int, bytes]:
        async with self._session.post(f"http://localhost{resource}", data=data, **options) as response:
            return response.status, await response.read()

    async def get(self, resource: str) -> tuple[int, bytes]:
        async with self._session.get(f"http://localhost{resource}") as response:
            return response.status, await response.read()

    async def json(self, resource: str) -> Any:
        async with self._session.get(f"http://localhost{resource}") as response:
            assert response.status == 200
            return await response.json()


def _config(folder: Path) -> Config:
    """The function `greet` with its queues and timers, and the broker `shop`."""
    settings = FunctionSettings(handler=Handler.parse("greet:handler"))
    greet = Function(
        name="greet", settings=settings, code=folder, env={}, secrets=Secrets(), pool=settings.pool, node=Node({}, "")
    )
    path = folder / "forklight.toml"
    return Config(
        path=path,
        origin=path,
        settings=Settings(brokers={Name("shop"): BrokerSettings(url=BrokerUrl("amqp://localhost/"))}),
        functions={"greet": greet},
        runtimes={},
        interpreters={},
        user=unprivileged_user(),
        uids=folder / "uids",
        state=folder / "state",
        data=folder / "state/data",
        queues=TRIGGERS,
        timers=TIMERS,
    )


def _no_consumer(trigger: QueueTrigger) -> QueueConsumer:
    raise AssertionError(trigger)


async def _reload(*, renew_all: bool) -> ReloadResult:
    return ReloadResult(ok=True, changed=("greet", "all") if renew_all else ("greet",))


@contextlib.asynccontextmanager
async def serving(
    folder: Path, shop: Store | None = None, tls: SSLContext | None = None, deployer: Deployer | None = None
) -> AsyncIterator[Asked]:
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_sqlite(folder / "store.db"))
        brokers: dict[str, Store] = {"shop": store if shop is None else shop}
        journal, bus = Journal(json_lines, -1), Bus(store, brokers, functions={"greet"})
        observer = Observer(journal, {})
        observer.subscribe_to(bus)
        timers = TimerRunner(bus, store, TIMERS)
        await stack.enter_async_context(timers.running())
        account = account_of(unprivileged_user())
        tree = await stack.enter_async_context(
            open_tree(guest=folder, folders=folder, sink=journal.line, account=account)
        )
        tasks = await stack.enter_async_context(anyio.create_task_group())
        config, versions = _config(folder), Versions(functions={}, code={}, settings={})
        running = Running(
            config=config,
            state=State(folder),
            versions=versions,
            deployments=Deployments(base=Loaded(config=config, versions=versions)),
            reloaded=Reloaded(at=datetime.now(UTC), succeeded_at=datetime.now(UTC)),
            guest=folder,
            stores=Stores(store, brokers, store),
            tree=tree,
            dispatcher=Dispatcher({}, tree, tasks),
            bus=bus,
            triggers=Triggers(HttpServer(bus, RouteTable((), ()), HttpSettings()), timers, _no_consumer, tasks),
            strays=Strays(bus, store),
            observer=observer,
        )
        admin = Admin(lambda: running, _reload, deployer)
        await stack.enter_async_context(admin.on_socket(folder / "socket"))
        port = await stack.enter_async_context(admin.on_tcp("127.0.0.1", 0, tls))
        connector = aiohttp.UnixConnector(str(folder / "socket"))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        asked = Asked(session, store, running, port)
        bus.attach(asked.target)
        yield asked
