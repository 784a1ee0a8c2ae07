"""The admin API over a real socket with a real embedded store: what it does and what it refuses."""

import time
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest

from bus import Event, Failed, Ok
from bus.invocation import Invocation
from bus.message import Message, Outgoing
from bus.outcome import ExceptionName
from bus.rabbitmq import open_rabbitmq
from bus.store import Source
from forklight.observe.entry import Selection
from forklight.serving.invoking import outcome_as_json
from sandbox.log_lines import LogLine
from tests.kit.admin import serving
from tests.kit.proxy import proxy_to
from tests.kit.stores import take
from tests.kit.support import until


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
        unknown = "there is no function 'greed' here, and no line of it is kept (did you mean 'greet'?)\n"
        assert await asked.get("/logs?function=greed&follow=1") == (404, unknown.encode())
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
