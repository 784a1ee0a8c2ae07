"""What is done with a running server by command: invoke, send, dlq, timers, ps; and what each says when it cannot."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.kit.application import application, function
from tests.kit.served import Server, eventually, run, serving
from tests.kit.support import until

pytestmark = pytest.mark.any_user

CODE = """
import pathlib

def take(event):
    if event["data"] == "poison" and not pathlib.Path(event["queue"]["headers"]["cure"]).exists():
        raise RuntimeError("cannot be digested")
    return event["queue"]["message_id"]

def report(event):
    return event["timer"]["name"]

def raw(event):
    return event["body"]
"""
TOML = (
    function("echo")
    + """
[functions.raw]
handler = "more:raw"
[functions.orders]
handler = "more:take"
[[functions.orders.queue]]
queue = "orders"
attempts = 2
backoff = "1ms"
[functions.report]
handler = "more:report"
[[functions.report.timer]]
name = "yearly"
schedule = "0 7 1 1 *"
timezone = "Europe/Berlin"
"""
)


@pytest.fixture(params=["sqlite", "rabbitmq"])
def bus_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("amqp_url")) if request.param == "rabbitmq" else "sqlite:"


@asynccontextmanager
async def _serving(bus_url: str = "sqlite:") -> AsyncIterator[Server]:
    with application(TOML, more=CODE) as folder:
        async with serving(folder, "--listen", "127.0.0.1:0", FORKLIGHT_BUS_URL=bus_url) as server:
            yield server


async def _done(server: Server, *arguments: str) -> str:
    """What a command printed that has to go well."""
    finished = await server.run(*arguments)
    assert (finished.status, finished.stderr) == (0, ""), finished.stderr
    return finished.stdout


async def _letters(server: Server) -> Any:
    return json.loads(await _done(server, "dlq", "list", "--json"))


async def test_invoke_is_answered_by_the_server() -> None:
    async with _serving() as server:
        assert json.loads(await _done(server, "invoke", "echo", "-d", '{"a": 1}')) == {"a": 1}
        told = json.loads(await _done(server, "invoke", "echo", "-d", '"x"', "--json"))
        assert (told["ok"], told["body"], told["start"]) == (True, "x", "warm")
        (server.folder / "raw.bin").write_bytes(b"\xff\x00")
        assert json.loads(await _done(server, "invoke", "raw", "-f", "raw.bin", "--json"))["body_base64"] == "/wA="
        await until(lambda: len(server.entries(function="echo", trigger="call", outcome="ok")) == 2)

        failed = await server.run("invoke", "orders", "-d", '"poison"')
        assert (failed.status, failed.stdout) == (1, "")
        assert failed.stderr.startswith("orders: error/KeyError: 'queue'\nTraceback ")


async def test_a_message_is_sent_and_consumed() -> None:
    async with _serving() as server:
        assert await _done(server, "send", "orders", "-d", "1", "--id", "order-7") == "stored in orders: order-7\n"
        await until(lambda: server.entries(invocation="order-7"))
        [entry] = server.entries(invocation="order-7")
        assert (entry["trigger"], entry["queue"], entry["attempt"]) == ("queue", "orders", 1)
        assert (entry["outcome"], entry["decision"]) == ("ok", "ack")
        assert re.search(r"^orders +orders +0 +0 +0 +0 +-$", await _done(server, "ps"), re.MULTILINE)


async def test_a_delayed_message_waits() -> None:
    async with _serving() as server:
        told = json.loads(await _done(server, "send", "orders", "-d", "1", "--delay", "1h", "--json"))
        assert (told["queue"], told["consumers"]) == ("orders", ["orders"])
        assert re.search(r"^orders +orders +0 +0 +1 +0 +-$", await _done(server, "ps"), re.MULTILINE)


async def test_a_poison_message_is_looked_at_cured_and_replayed(bus_url: str) -> None:
    async with _serving(bus_url) as server:
        cure = server.folder / "cure"
        poison = ("send", "orders", "-d", '"poison"', "--header", f"cure={cure}")
        await _done(server, *poison, "--id", "first")
        await _done(server, *poison, "--id", "second")

        async def are_dead() -> bool:
            return len(await _letters(server)) == 2

        await eventually(are_dead)
        letters = {letter["id"]: letter for letter in await _letters(server)}
        first = letters["first"]
        assert (first["queue"], first["function"], first["reason"], first["attempts"]) == (
            "orders",
            "orders",
            "Attempts",
            2,
        )
        decisions = [entry["decision"] for entry in server.entries(invocation="first")]
        assert decisions[0].startswith("retry in ")
        assert decisions[1:] == ["dead: Attempts"]

        listed = await _done(server, "dlq", "list", "--queue", "orders")
        assert re.search(
            r"^first +orders +orders +\S+ +2 +Attempts +error/RuntimeError: cannot be", listed, re.MULTILINE
        )
        shown = await _done(server, "dlq", "show", "fir")
        assert re.search(rf"^header cure +{cure}$", shown, re.MULTILINE)
        assert shown.endswith('\n\n"poison"\n')
        assert re.search(r"^orders +orders +0 +0 +(0|unknown) +2 +-$", await _done(server, "ps"), re.MULTILINE)

        page = await server.run("dlq", "list", "--limit", "1", "--json")
        assert len(json.loads(page.stdout)) == 1
        assert page.stderr == "there are more: --skip 1 shows the next, --limit more at once\n"
        assert len(json.loads(await _done(server, "dlq", "list", "--skip", "1", "--json"))) == 1

        cure.touch()
        assert await _done(server, "dlq", "replay", "first") == "replayed: 1\n"
        await until(lambda: server.entries(invocation="first", decision="ack"))
        [entry] = server.entries(invocation="first", decision="ack")
        assert entry["attempt"] == 1
        assert await _done(server, "dlq", "purge", "--queue", "orders") == "removed: 1\n"
        assert await _letters(server) == []
        empty = await server.run("dlq", "list")
        assert (empty.status, empty.stdout, empty.stderr) == (0, "", "no dead letters\n")


async def test_timers_are_shown_and_fired() -> None:
    async with _serving() as server:
        told = await _done(server, "timers", "--next", "2")
        headings, first, second = told.splitlines()
        assert headings.split() == ["FUNCTION", "TIMER", "SCHEDULE", "ZONE", "LAST", "OUTCOME", "NEXT"]
        assert re.search(r"^report +yearly +0 7 1 1 \* +Europe/Berlin +- +- +\d{4}-01-01T07:00:00\+01:00$", first)
        assert re.search(r"^ +\d{4}-01-01T07:00:00\+01:00$", second)
        assert first.index("T07:00") == second.index("T07:00"), "aligned"
        [timer] = json.loads(await _done(server, "timers", "--json"))
        assert (timer["name"], len(timer["next"])) == ("yearly", 1)
        assert await _done(server, "invoke", "report", "--timer") == "yearly"
        assert await _done(server, "invoke", "report", "--timer", "yearly") == "yearly"
        await until(lambda: len(server.entries(function="report", timer="yearly", outcome="ok")) == 2)
        assert re.search(r"^yearly +report +- +- +\d{4}-01-01T07:", await _done(server, "ps"), re.MULTILINE)
        metrics = (await server.ask("/metrics")).body.decode()
        assert 'forklight_timer_fires_total{function="report",outcome="ok",timer="yearly"} 2.0' in metrics


WRONG = [
    (("invoke", "eco"), 2, "there is no function 'eco' here (did you mean 'echo'?)"),
    (("invoke", "a/b"), 2, "there is no function 'a/b' here"),
    (("invoke", "echo", "--timer"), 2, "echo has no timer"),
    (("invoke", "report", "--timer", "yearli"), 2, "report has no timer 'yearli' (did you mean 'yearly'?)"),
    (("invoke", "report", "--timer", "-d", "1"), 2, "a timer's event has no body"),
    (("invoke", "report", "--timer", "--here"), 2, "timers belong to a running server"),
    (("send", "orders", "-d", "{"), 2, "the data is not valid JSON"),
    (("send", "orders", "-d", "1", "--delay", "soon"), 2, "the delay 'soon' is not a duration"),
    (("send", "orders@shop", "-d", "1"), 2, "there is no broker 'shop' here"),
    (("dlq", "show", ""), 2, "say which: an id, or its beginning"),
    (("dlq", "list", "--queue", "forklight.undelivered"), 0, "no dead letters"),
    (("logs", "totle"), 2, "there is no function 'totle' here, and no line of it is kept"),
    (("dlq", "list", "--queue", "order"), 2, "no function here has dead letters of 'order' (did you mean 'orders'?)"),
    (("dlq", "show", "x"), 2, "there is no dead letter 'x'"),
    (("dlq", "purge"), 2, "say what to purge: ids, --queue QUEUE, or --all alone"),
    (("dlq", "replay", "x", "--all"), 2, "say what to replay: ids, --queue QUEUE, or --all alone"),
    (("timers", "--next", "0"), 2, "0 is not in the range"),
]


async def test_what_is_asked_wrongly_is_told_in_a_line() -> None:
    async with _serving() as server:
        running = [server.run(*arguments) for arguments, _, _ in WRONG]
        for one, (arguments, status, line) in zip(await asyncio.gather(*running), WRONG, strict=True):
            assert (one.status, one.stdout) == (status, ""), arguments
            assert line in one.stderr.splitlines()[-1], arguments

        sent = await server.run("send", "order", "-d", "1")
        assert sent.status == 0
        assert sent.stderr == "warning: no function here consumes 'order' (did you mean 'orders'?)\n"


@pytest.mark.parametrize(
    "arguments", [("invoke", "echo"), ("send", "orders"), ("dlq", "list"), ("dlq", "purge", "--all"), ("timers",)]
)
async def test_without_a_server_it_is_said(arguments: tuple[str, ...]) -> None:
    with application(TOML, more=CODE) as folder:
        finished = await run(*arguments, cwd=folder)
    assert (finished.status, finished.stdout, finished.stderr.count("\n")) == (1, "", 1)
    assert f"no server runs on {folder}/state: start one with forklight serve" in finished.stderr
    assert ("--here" in finished.stderr) == (arguments[0] == "invoke")
