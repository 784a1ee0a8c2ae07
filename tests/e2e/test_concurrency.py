"""`concurrency = N` on HTTP: many calls at once in one instance, each with its own deadline, log and end."""

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.kit.application import application, function
from tests.kit.served import Reply, Server, eventually, serving
from tests.kit.support import until

pytestmark = pytest.mark.any_user

CODE = """
import asyncio, os, subprocess, time

VERSION = 1
inside = 0
all_here, cancelled, may_block = (asyncio.Event() for _ in range(3))
ran = 0

async def hang(event):
    try:
        await asyncio.Event().wait()
    finally:
        cancelled.set()

async def slow(event):
    match event["data"]:
        case "hang":
            await hang(event)
        case "until cancelled":
            await cancelled.wait()
        case "for ever":
            await asyncio.Event().wait()
        case "block":
            await may_block.wait()
            time.sleep(1000)
        case "exit":
            os._exit(3)
        case "let it block":
            may_block.set()
    return os.getpid()

async def held(event):
    while not os.path.exists(event["data"]):
        await asyncio.sleep(0.005)
    return {"version": VERSION, "pid": os.getpid()}

def fork(me):
    child = os.fork()
    if child == 0:
        print(me, "from a child", flush=True)
        os._exit(0)
    os.waitpid(child, 0)

async def talk(event, context):
    global inside
    me = event["data"]
    print(me, "printed")
    inside += 1
    if inside == 20:
        all_here.set()
    await all_here.wait()
    context.log.info("%s logged", me)
    await asyncio.to_thread(print, me, "from a thread")
    await asyncio.to_thread(fork, me)
    await asyncio.to_thread(subprocess.run, ["echo", "from a program"])
    print(me, "at last")

async def few(event):
    global ran
    ran += 1
    await asyncio.sleep(0)
    return [os.getpid(), ran]
"""


async def _posted(server: Server, path: str, data: list[Any]) -> list[Reply]:
    return await asyncio.gather(*(server.post(path, one) for one in data))


async def test_two_hundred_calls_are_in_flight_in_two_instances() -> None:
    with application(function("held", concurrency=100, max_instances=8, spare=0), f=CODE) as folder:
        async with serving(folder) as server:
            calls, gate = await _hold(server, folder, "gate", 200)
            status = await server.status("held")
            assert (status["instances"]["busy"], status["instances"]["starting"], status["instances"]["waiting"]) == (
                2,
                0,
                0,
            )
            assert sorted(status["calls"].values()) == [100, 100]
            assert "2 200/200" in (await server.run("ps")).stdout
            metrics = (await server.ask("/metrics")).body.decode().splitlines()
            assert {'forklight_running_calls{function="held"} 200.0', 'forklight_slots{function="held"} 200.0'} <= {
                *metrics
            }
            assert len(server.instances()) == 2
            gate.touch()
            replies = await asyncio.gather(*calls)
            assert sorted(Counter(reply.json()["pid"] for reply in replies).values()) == [100, 100]


async def test_an_overdue_call_is_cancelled_alone() -> None:
    with application(function("slow", concurrency=10, max_instances=1, timeout="2s"), f=CODE) as folder:
        async with serving(folder) as server:
            overdue, pid = await _begin_well_before(server, "hang", 1.0)
            replies = await _posted(server, "/slow", ["until cancelled"] * 5)
            assert [(reply.status, reply.json()) for reply in replies] == [(200, pid)] * 5
            assert _told(await overdue) == (504, "Timeout")
            assert (await server.post("/slow")).json() == pid, "its process goes on"
            [entry] = await until(lambda: server.entries(outcome="timeout/Timeout"))
            assert "await asyncio.Event().wait()" in entry["traceback"]


async def test_one_that_blocks_the_event_loop_takes_its_neighbours_along() -> None:
    settings: dict[str, Any] = {"concurrency": 10, "max_instances": 1, "timeout": "1500ms", "grace": "100ms"}
    with application(function("slow", **settings), f=CODE) as folder:
        async with serving(folder) as server:
            blocks, pid = await _begin_well_before(server, "block", 0.5)
            neighbours = [asyncio.create_task(server.post("/slow", "for ever")) for _ in range(5)]
            await server.wait_instances("slow", calls=6)
            await server.post("/slow", "let it block")
            assert _told(await blocks) == (504, "Timeout")
            assert set(map(_told, await asyncio.gather(*neighbours))) == {(502, "InstanceKilled")}
            assert (await server.post("/slow")).json() != pid


async def test_the_death_of_the_process_ends_all_its_calls_alike() -> None:
    """Nobody can tell which of them was the reason."""
    with application(function("slow", concurrency=10, max_instances=1), f=CODE) as folder:
        async with serving(folder) as server:
            calls = [asyncio.create_task(server.post("/slow", "for ever")) for _ in range(5)]
            await server.wait_instances("slow", calls=5)
            assert _told(await server.post("/slow", "exit")) == (502, "Exit")
            assert set(map(_told, await asyncio.gather(*calls))) == {(502, "Exit")}
            assert (await server.post("/slow")).status == 200


async def _begin_well_before(server: Server, data: str, lead_s: float) -> "tuple[asyncio.Task[Reply], int]":
    """A call that runs, and its process; what begins now has its deadline so long after that of the call."""
    call = asyncio.create_task(server.post("/slow", data))
    await server.wait_instances("slow", calls=1)
    clock = asyncio.get_running_loop().time
    until_s = clock() + lead_s
    while True:
        pid = (await server.post("/slow")).json()
        if clock() > until_s:
            return call, pid


def _told(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json()["code"]


async def test_each_line_of_the_log_is_of_its_call() -> None:
    with application(function("talk", concurrency=20, max_instances=1), f=CODE) as folder:
        async with serving(folder) as server:
            await _posted(server, "/talk", list(range(20)))
            ended = await until(lambda: len(found := server.entries(outcome="ok")) == 20 and found)
            told = [[one["text"] for one in _lines(server, invocation=each["invocation"])] for each in ended]
            programs = [one for one in _lines(server, function="talk") if one["text"] == "from a program"]
    assert sorted(int(texts[0].split()[0]) for texts in told) == list(range(20))
    for texts in told:
        me = texts[0].split()[0]
        later = [f"{me} {how}" for how in ("from a thread", "from a child", "at last")]
        ours = [text for text in texts if text != "from a program"]
        assert ours == [f"{me} printed", f"INFO talk: {me} logged", *later]
    assert len(programs) == 20, "nothing is lost, but nothing tells whose it is while several calls run"


def _lines(server: Server, **wanted: Any) -> list[dict[str, Any]]:
    return [entry for entry in server.entries(**wanted) if "outcome" not in entry]


async def test_a_reload_and_a_stop_finish_all_calls() -> None:
    with application(function("held", concurrency=50, max_instances=2), f=CODE) as folder:
        async with serving(folder) as server:
            first, gate = await _hold(server, folder, "first", 50)
            (folder / "f.py").write_text(CODE.replace("VERSION = 1", "VERSION = 2"))
            assert (await server.run("reload")).status == 0
            second, other = await _hold(server, folder, "second", 50)
            gate.touch()
            assert await _versions(first) == {1}
            server.send(signal.SIGTERM)

            async def is_draining() -> bool:
                return (await server.ask("/readyz")).status == 503

            await eventually(is_draining)
            other.touch()
            assert await _versions(second) == {2}
            assert await server.wait() == 0


async def _hold(server: Server, folder: Path, name: str, count: int) -> "tuple[list[asyncio.Task[Reply]], Path]":
    """Begin so many calls, which wait until the file is made."""
    before = (await server.status("held"))["instances"]["calls"]
    calls = [asyncio.create_task(server.post("/held", str(folder / name))) for _ in range(count)]
    await server.wait_instances("held", calls=before + count)
    return calls, folder / name


async def _versions(calls: "list[asyncio.Task[Reply]]") -> set[int]:
    """The versions that answered; each was one process."""
    replies = await asyncio.gather(*calls)
    assert {reply.status for reply in replies} == {200}
    assert len({reply.json()["pid"] for reply in replies}) == 1
    return {reply.json()["version"] for reply in replies}


async def test_an_instance_runs_no_more_than_max_invocations() -> None:
    with application(function("few", concurrency=10, max_invocations=25, max_instances=4), f=CODE) as folder:
        async with serving(folder) as server:
            replies = await _posted(server, "/few", [None] * 200)
            assert {reply.status for reply in replies} == {200}
            most: dict[int, int] = {}
            for pid, ran in (reply.json() for reply in replies):
                most[pid] = max(ran, most.get(pid, 0))
            assert sum(most.values()) == 200
            assert max(most.values()) == 25
