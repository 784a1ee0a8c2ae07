"""Instances come and go all the time, in every way, and nothing piles up in the server and its processes."""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox import processes
from sandbox.kits import MOST_FOLDERS
from tests.kit.application import CODE, application, function
from tests.kit.children import children
from tests.kit.rounds import rounds
from tests.kit.served import Server, eventually, serving

ROUNDS = rounds(3, 300)
WARM_UP = 3
"""Rounds until everything that grows once has grown: buffers, rings, caches."""
GROWTH_KIB = 6 * 1024
"""What the server may have more after the other rounds, however many."""
TOML = "".join(
    (
        function("pid", max_invocations=1, keep_alive="300ms"),
        function("echo", keep_alive="0s"),
        function("hang", timeout="100ms", grace="50ms", keep_alive="0s"),
        function("crash", rest="none", keep_alive="0s", template_keep_alive="0s"),
    )
)
FREQUENT = {"pid": 20, "echo": 20, "hang": 3, "crash": 3}
"""How many requests each function gets at once."""
LIVES_ON = ("pid", "echo", "hang")
"""The functions whose templates stay when their instances have gone."""
RIGHT = {"pid": {200, 502}, "echo": {200, 502}, "hang": {502, 504}, "crash": {502}}
"""502 is what a request gets whose instance or template was killed."""


@pytest.mark.timeout(900)
async def test_nothing_piles_up_while_instances_come_and_go() -> None:
    chance = random.Random(11)
    with application(TOML) as folder:
        async with serving(folder, "--quiet") as server:
            for number in range(WARM_UP):
                await _round(server, chance, number)
            before = await _settled(server)
            used_kib = _memory_kib(server)
            for number in range(WARM_UP, WARM_UP + ROUNDS):
                await _round(server, chance, number)

            assert await _settled(server, before) == before
            assert _memory_kib(server) - used_kib < GROWTH_KIB
            # each template has one, and keeps some for instances to come
            assert len(list((server.state / "tmp").iterdir())) <= 3 * (2 + MOST_FOLDERS)


async def _round(server: Server, chance: random.Random, number: int) -> None:
    """A burst for each function, two processes killed in the middle of it, and a reload that renews all."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client, asyncio.TaskGroup() as asking:
        asked = {
            name: [asking.create_task(_status(client, f"{server.url}/{name}")) for _ in range(count)]
            for name, count in FREQUENT.items()
        }
        await asyncio.wait(asked["echo"], return_when=asyncio.FIRST_COMPLETED)
        for victims in (server.instances, server.templates):
            with contextlib.suppress(IndexError, ProcessLookupError):  # none lives just now
                os.kill(chance.choice(victims()), signal.SIGKILL)
    for name, tasks in asked.items():
        assert {task.result() for task in tasks} <= RIGHT[name], name
    (server.folder / "f.py").write_text(f"{CODE}\n# {number}\n")
    done = await server.run("reload")
    assert done.stdout == "reloaded: crash, echo, hang, pid changed\n", done.stderr


async def _status(client: aiohttp.ClientSession, url: str) -> int:
    async with client.post(url, json="data") as response:
        await response.read()
        return response.status


async def _holdings(server: Server) -> dict[str, Any]:
    """What the server has at rest: three templates, one zygote, and whatever it keeps open for them."""

    async def rests() -> bool:
        states = [(await server.status(name))["instances"] for name in FREQUENT]
        return not any(sum(state.values()) for state in states) and len(server.templates()) == 3

    await eventually(rests)
    for name in LIVES_ON:  # a template may have had no instance since the reload: now each has made a kit for the next
        assert await _status(server.http, f"{server.url}/{name}") in RIGHT[name]
    await eventually(rests)
    assert (await server.run("reload")).status == 0  # which removes the snapshots of what has ended
    [zygote] = server.zygotes()
    templates = children(zygote)
    held: dict[str, Any] = {
        "snapshots": len(list((server.state / "versions").iterdir())),
        "zombies": sum(map(_zombies, (server.process.pid, zygote, *templates))),
    }
    if os.getuid() == 0:  # nobody else may look into processes that are not dumpable
        held["descriptors"] = Counter(map(_target, _descriptors(server.process.pid)))
        del held["descriptors"][str(server.state / "log.jsonl")]  # open from the first line on, which an error may be
        held["others' descriptors"] = [len(_descriptors(pid)) for pid in (zygote, *templates)]
    return held


async def _settled(server: Server, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """What it has once that is what is wanted, or what it had before if nothing is; or after a while in any case."""
    found = await _holdings(server)
    for _ in range(20):
        latest, found = found, await _holdings(server)  # folders for the next instances are made in a thread
        if found == (latest if wanted is None else wanted):
            break
    return found


def _descriptors(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


def _target(descriptor: Path) -> str:
    """What it is, without the number of its inode."""
    try:
        return os.readlink(descriptor).partition(":")[0]
    except FileNotFoundError:
        return "closed since"


def _zombies(parent: int) -> int:
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return len(pids) - len(children(parent))


def _memory_kib(server: Server) -> int:
    return processes.memory_kb(server.process.pid) or 0
