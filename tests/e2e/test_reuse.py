"""`spare` and `reuse` with a real server: over HTTP, from queues, by `invoke`."""

import asyncio
import json
from collections import defaultdict
from typing import Any

import pytest

from tests.kit.application import Gate, application, function
from tests.kit.served import Reply, Server, serving
from tests.kit.support import until

pytestmark = pytest.mark.any_user

CODE = """
import os, time

seen = []

def session(event):
    seen.append(event["data"])
    return {"pid": os.getpid(), "seen": seen}

def worker(event):
    number = event["data"]["n"]
    seen.append(number)
    with open(os.environ["FORKLIGHT_DATA"] + "/done", "a") as file:
        file.write(f"{event['data']['account']} {number} {os.getpid()} {seen == [number]}\\n")

def mortal(event):
    if event["data"] == "die":
        os.kill(os.getpid(), 9)
    return os.getpid()

def wait(event):
    with open(event["data"]["gate"]) as gate:
        gate.read()
    return os.getpid()
"""


async def test_a_spare_is_shown_and_taken_by_the_event_that_finds_no_idle_instance() -> None:
    with application(function("wait", max_instances=2), f=CODE) as folder:
        gates = [Gate(folder, name) for name in ("first", "second")]
        async with serving(folder) as server:
            await server.wait_instances("wait", spare=0, starting=0)
            running = asyncio.create_task(server.post("/wait", gates[0].request))
            async with gates[0].held():
                await server.wait_instances("wait", busy=1, idle=0, spare=1, starting=0)
                assert "0+1" in (await server.run("ps")).stdout
                spare = asyncio.create_task(server.post("/wait", gates[1].request))
                async with gates[1].held():
                    await server.wait_instances("wait", busy=2, spare=0, starting=0)
            answers = [await running, await spare]

            await until(lambda: [entry["start"] for entry in server.entries(spare=True)] == ["warm"])

        assert answers[1].start == "warm"
        assert answers[0].json() != answers[1].json()


async def test_with_reuse_never_no_event_sees_what_another_one_left() -> None:
    with application(function("session", reuse="never", max_instances=4), f=CODE) as folder:
        async with serving(folder) as server:
            answers = [await server.post("/session", n) for n in range(3)]
            answers += await asyncio.gather(*(server.post("/session", n) for n in range(3, 20)))
            invoked = await server.run("invoke", "session", "-d", "20")
            await server.wait_instances("session", busy=0, leaving=0, idle=0, spare=1)
            told = [*(answer.json() for answer in answers), json.loads(invoked.stdout)]

        assert [one["seen"] for one in told] == [[n] for n in range(21)]
        assert len({one["pid"] for one in told}) == 21


async def test_a_session_has_one_instance_and_its_events_come_in_order() -> None:
    settings = {"reuse": "key:header.x-session", "max_instances": 3}
    with application(function("session", **settings), f=CODE) as folder:
        async with serving(folder) as server:
            asked = [("ada", n) for n in range(5)] + [("bob", n) for n in range(5)]
            replies = [await _ask(server, name, n) for name, n in asked]
            strangers = [await server.post("/session", n) for n in range(2)]
            for name in ("eve", "fay"):  # there is room for one more; then the longest idle one goes
                await _ask(server, name, 0)
            again = [await _ask(server, "bob", 5), await _ask(server, "ada", 5)]

            burst = await asyncio.gather(*(_ask(server, "bob", n) for n in range(20)))
            last = max(burst, key=lambda reply: len(reply.json()["seen"]))
            why = (await server.run("why", last.headers["X-Forklight-Id"])).stdout

        assert "the instance of its key ran another event" in why
        assert len({reply.json()["pid"] for reply in replies}) == 2
        assert [reply.json()["seen"] for reply in replies] == [list(range(n + 1)) for _, n in asked]
        assert [reply.json()["seen"] for reply in strangers] == [[0], [1]]
        assert again[0].json()["seen"] == list(range(6))
        assert again[1].json()["seen"] == [5], "its instance made room"


async def _ask(server: Server, session: str, data: Any) -> Reply:
    return await server.post("/session", data, headers={"X-Session": session})


async def test_the_messages_of_each_account_are_handled_one_after_the_other_in_its_own_instance() -> None:
    settings = {"queue": "orders", "reuse": "key:data.account", "max_instances": 3, "data": True}
    with application(function("worker", **settings), f=CODE) as folder:
        async with serving(folder) as server:
            for n in range(4):
                for account in ("a", "b"):
                    sent = await server.run("send", "orders", "-d", json.dumps({"account": account, "n": n}))
                    assert sent.status == 0, sent.stderr
            done = folder / "state/data/done"
            await until(lambda: done.exists() and len(done.read_text().splitlines()) == 8)
            lines = [line.split() for line in done.read_text().splitlines()]

        numbers, pids = defaultdict(list), defaultdict(set)
        for account, number, pid, _ in lines:
            numbers[account].append(int(number))
            pids[account].add(pid)
        assert numbers == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3]}
        assert [len(found) for found in pids.values()] == [1, 1]
        assert pids["a"] != pids["b"]


async def test_the_next_event_of_a_session_whose_instance_was_killed_has_a_new_one() -> None:
    with application(function("mortal", reuse="key:header.x-session"), f=CODE) as folder:
        async with serving(folder) as server:
            for _ in range(2):
                before = await _live(server, "live")
                killed, after = await asyncio.gather(_live(server, "die"), _live(server, "live"))
                assert (before.status, killed.status, after.status) == (200, 502, 200)
                assert (await _live(server, "live")).json() != before.json()


async def _live(server: Server, data: str) -> Reply:
    return await server.post("/mortal", data, headers={"X-Session": "ada"})
