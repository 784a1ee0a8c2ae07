"""The admin API over a real socket with a real embedded store: what it does and what it refuses."""

import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import anyio
import msgspec
import pytest

from bus import Event, Failed, Ok, Outcome
from bus.bus import Bus
from bus.invocation import Invocation
from bus.message import Message, Outgoing
from bus.outcome import ExceptionName
from bus.rabbitmq import open_rabbitmq
from bus.sqlite import SqliteStore, open_sqlite
from bus.store import Source, Store
from dispatcher.dispatcher import Dispatcher
from forklight.admin.server import Admin
from forklight.config.configuration import Config, Function
from forklight.config.document import Node
from forklight.config.environment import Secrets
from forklight.config.functions import FunctionSettings, Handler, Name, Settings
from forklight.config.queue import BrokerSettings, BrokerUrl
from forklight.observe.entry import Selection
from forklight.observe.formats import json_lines
from forklight.observe.journal import Journal
from forklight.observe.observer import Observer
from forklight.observe.status import Reloaded
from forklight.serving.change import ReloadResult
from forklight.serving.invoking import outcome_as_json
from forklight.serving.isolation import account_of
from forklight.serving.running import Running
from forklight.serving.stores import Stores
from forklight.serving.strays import Strays
from forklight.serving.triggers import Triggers
from forklight.serving.versions import Versions
from forklight.state.directory import State
from forklight.state.users import unprivileged_user
from sandbox.log_lines import LogLine
from sandbox.tree import open_tree
from tests.kit.proxy import proxy_to
from tests.kit.stores import take
from tests.kit.support import until
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

    def __init__(self, session: aiohttp.ClientSession, store: SqliteStore, journal: Journal, port: int) -> None:
        self.target = Echo()
        self.store = store
        self.journal = journal
        self.port = port
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
        data=folder / "state/data",
        queues=TRIGGERS,
        timers=TIMERS,
    )


def _no_consumer(trigger: QueueTrigger) -> QueueConsumer:
    raise AssertionError(trigger)


async def _reload(*, renew_all: bool) -> ReloadResult:
    return ReloadResult(ok=True, changed=("greet", "all") if renew_all else ("greet",))


@contextlib.asynccontextmanager
async def serving(folder: Path, shop: Store | None = None) -> AsyncIterator[Asked]:
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
        running = Running(
            config=_config(folder),
            state=State(folder),
            versions=Versions(functions={}, code={}, settings={}),
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
        admin = Admin(lambda: running, _reload)
        await stack.enter_async_context(admin.on_socket(folder / "socket"))
        port = await stack.enter_async_context(admin.on_tcp("127.0.0.1", 0))
        connector = aiohttp.UnixConnector(str(folder / "socket"))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        asked = Asked(session, store, journal, port)
        bus.attach(asked.target)
        yield asked


async def test_an_invocation_has_body_and_type_as_they_are(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        body = bytes(range(256))
        status, answer = await asked.post("/invoke/greet", body, headers={"Content-Type": "image/png"})
        assert (status, answer) == (200, outcome_as_json(Ok(body=body, content_type="image/png")))
        [event] = asked.target.events
        assert event.call is not None
        assert (event.function, event.type, event.call.caller) == ("greet", "forklight.call", "cli")
        [entry] = asked.journal.latest(Selection(function="greet"))
        assert (entry.trigger, entry.outcome, entry.invocation) == ("call", "ok", event.id)


async def test_a_failure_is_an_answer_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        failed = Failed(kind="error", code=ExceptionName("KeyError"), message="'x'", traceback="Traceback …")
        assert await asked.post("/invoke/greet", b"fail") == (200, outcome_as_json(failed))


async def test_an_invocation_is_explained(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        assert await asked.get("/why") == (404, b"no invocation is remembered\n")
        for body in (b"fail", b"x"):
            await asked.post("/invoke/greet", body)
        first, second = (event.id for event in asked.target.events)
        [told] = await asked.json(f"/why?id={first[-8:]}")
        assert (told["entry"]["invocation"], told["entry"]["outcome"]) == (first, "error/KeyError")
        [told] = await asked.json(f"/why?id={second}&function=greet")
        assert (told["entry"]["invocation"], told["entry"]["outcome"]) == (second, "ok")
        status, line = await asked.get("/why?id=nobody")
        assert (status, line.startswith(b"no remembered invocation has an id that ends in 'nobody': ")) == (404, True)


async def test_of_an_end_that_several_ids_have_nothing_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        for number in range(7):
            asked.journal.report(Invocation(Event(source="/", type="t", id=f"{number}-same", function="greet"), Ok()))
        line = b"7 ids end in 'same': 0-same, 1-same, 2-same, 3-same, 4-same, \xe2\x80\xa6\n"
        assert await asked.get("/why?id=same") == (400, line)


async def test_lines_are_selected(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        for level, invocation in (("", "1-a"), ("warning", "1-a"), ("error", "2-b")):
            asked.journal.line(LogLine("greet", "greet-1", invocation, f"{level} of {invocation}", level))
        asked.journal.line(LogLine("other", "other-1", None, "of other"))
        for query, lines in {
            "": [" of 1-a", "warning of 1-a", "error of 2-b", "of other"],
            "function=greet&id=a": [" of 1-a", "warning of 1-a"],
            "level=warning": ["warning of 1-a", "error of 2-b"],
            "level=info": [" of 1-a", "warning of 1-a", "error of 2-b", "of other"],
            "last=2": ["error of 2-b", "of other"],
            "last=9&function=other": ["of other"],
        }.items():
            found = (await asked.get(f"/logs?{query}"))[1].splitlines()
            assert [msgspec.json.decode(line)["text"] for line in found] == lines, query
        refused = (400, b"level 'loud' is not one of debug, info, warning, error, critical\n")
        assert await asked.get("/logs?level=loud") == refused


async def test_a_timer_is_fired_by_hand(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        assert (await asked.post("/invoke/greet?timer=late"))[0] == 200
        [event] = asked.target.events
        assert event.timer is not None
        assert event.timer.name == "late"
        assert asked.journal.latest(Selection(function="greet"))[0].timer == "late"


@pytest.mark.parametrize(
    ("resource", "status", "line"),
    [
        ("/invoke/great", 404, "there is no function 'great' here (did you mean 'greet'?)"),
        ("/invoke/greet?timer=lat", 404, "greet has no timer 'lat' (did you mean 'late'?)"),
        ("/invoke/greet?timer=x", 404, "greet has no timer 'x': its timers are 'early', 'late'"),
        ("/invoke/greet?timer=", 404, "greet has 2 timers, say which: 'early', 'late'"),
        ("/send?queue=", 400, "'' is not a queue name: names have 1 to 255 printable bytes"),
        ("/send?queue=a%0Ab", 400, "'a\\nb' is not a queue name: names have 1 to 255 printable bytes"),
        (f"/send?queue={'x' * 256}", 400, f"'{'x' * 256}' is not a queue name: names have 1 to 255 printable bytes"),
        ("/send?queue=orders@shpo", 404, "there is no broker 'shpo' here (did you mean 'shop'?)"),
        ("/send?queue=orders&delay=soon", 400, "the delay 'soon' is not a duration: "),
        ("/send?queue=orders&header=x", 400, "the header 'x' is not of the form name=value"),
        ("/send?queue=orders&header=Forklight-Hops=1", 400, "the header 'Forklight-Hops' cannot be set: "),
        ("/send?queue=forklight.dead.greet", 400, "cannot send to 'forklight.dead.greet': "),
        ("/dlq/replay", 400, "Input data was truncated"),
    ],
)
async def test_what_is_refused(tmp_path: Path, resource: str, status: int, line: str) -> None:
    async with serving(tmp_path) as asked:
        found, body = await asked.post(resource)
        assert (found, body.decode()[: len(line)]) == (status, line)
        assert asked.target.events == []
        assert await asked.store.browse("orders", 9) == []


async def test_a_message_is_stored_before_it_answers(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        headers = {"Content-Type": "application/json"}
        status, answer = await asked.post(
            "/send?queue=orders&id=order-7&header=tenant=a=b&header=Caf%C3%A9=%C3%A9", b'{"n": 1}', headers=headers
        )
        assert (status, answer) == (200, b'{"id":"order-7","queue":"orders","consumers":["greet"],"hint":""}')
        [listed] = await asked.store.browse("orders", 9)
        stored = await asked.store.fetch("orders", listed.key)
        assert stored is not None
        message = stored.message
        assert (message.id, message.body, message.content_type) == ("order-7", b'{"n": 1}', "application/json")
        assert {"tenant": "a=b", "Caf\u00e9": "\u00e9", "ce-id": "order-7"}.items() <= message.headers.items()
        assert (await asked.post("/send?queue=order", b"1"))[1].endswith(
            b'"consumers":[],"hint":" (did you mean \'orders\'?)"}'
        )


async def test_a_delayed_message_waits(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        assert (await asked.post("/send?queue=orders&delay=1h30m", b"1"))[0] == 200
        orders, inbox = await asked.json("/queues")
        assert (orders["queue"], orders["ready"], orders["delayed"], inbox["delayed"]) == ("orders", 0, 1, 0)


async def test_timers_are_told_with_the_times_to_come(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        early, late = await asked.json("/timers?next=3")
        assert (early["name"], late["name"], early["timezone"]) == ("early", "late", "Europe/Berlin")
        assert len(early["next"]) == 3
        assert early["next"][0].endswith("-01-01T07:00:00+01:00")
        assert (await asked.get("/timers?next=0"))[0] == 400
        assert len((await asked.json("/status"))["timers"]) == 2


async def test_dead_letters_are_looked_after(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked:
        headers = {"forklight-queue": "orders", "forklight-died-at": time.time(), "forklight-attempt": 5}
        letters = [Message(id=f"a/{number}", body=b"\xff", headers=headers) for number in range(3)]
        await asked.store.publish([Outgoing(queue="greet.dead", message=letter) for letter in letters])
        assert [letter["id"] for letter in await asked.json("/dlq?queue=orders")] == ["a/0", "a/1", "a/2"]
        shown = await asked.json("/dlq/a/1")
        assert (shown["letter"]["attempts"], shown["body"], shown["headers"]) == (5, "ff", {})
        assert (await asked.get("/dlq/b"))[0] == 404
        assert await asked.post("/dlq/replay", b'{"ids":["a/0"]}') == (200, b'{"moved":1,"left":0}')
        source = Source(queue="orders", function="greet", dead_letter="greet.dead")
        async with asked.store.consume(source, prefetch=1) as consumer:
            [delivery] = await take(consumer)
            assert (delivery.message.id, delivery.message.headers) == ("a/0", {})
        assert await asked.post("/dlq/purge", b'{"all":true}') == (200, b'{"moved":2,"left":0}')
        assert await asked.json("/dlq") == []


async def test_over_tcp_nothing_can_be_done(tmp_path: Path) -> None:
    async with serving(tmp_path) as asked, aiohttp.ClientSession(f"http://127.0.0.1:{asked.port}") as session:
        for resource in ("/invoke/greet", "/send?queue=orders", "/dlq/purge"):
            async with session.post(resource) as response:
                assert response.status == 404
        for resource in ("/queues", "/timers", "/dlq", "/status"):
            async with session.get(resource) as response:
                assert response.status == 404
        async with session.get("/metrics") as response:
            assert 'forklight_queue_messages{queue="orders",state="ready"} 0.0' in await response.text()


async def test_while_a_store_is_away_it_is_not_ready(tmp_path: Path, amqp_url: str) -> None:
    place = urlsplit(amqp_url)
    async with proxy_to(place.port or 5672) as proxy:
        through = place._replace(netloc=f"{place.username}:{place.password}@127.0.0.1:{proxy.port}").geturl()
        async with open_rabbitmq(through) as shop, serving(tmp_path, shop) as asked:
            assert await asked.get("/readyz") == (200, b"ready\n")
            assert (await asked.post("/send?queue=orders@shop", b"1"))[0] == 200
            proxy.cut()
            await until(lambda: not shop.is_connected)
            assert await asked.get("/readyz") == (503, b"not connected: shop\n")
            status, line = await asked.post("/send?queue=orders@shop", b"2")
            assert (status, line.count(b"\n")) == (503, 1)
            assert await asked.get("/healthz") == (200, b"ok\n")
            proxy.mend()
            await until(lambda: shop.is_connected)
            assert await asked.get("/readyz") == (200, b"ready\n")
