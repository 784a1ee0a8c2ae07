"""Versions side by side, also under load: which of them answers, who may choose, when a canary is aborted."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forklight.commands.explaining import tell
from forklight.observe.explanation import Explanation
from forklight.state.keys import changing_keys, make_key
from tests.kit.application import application
from tests.kit.deploys import Deploys, write
from tests.kit.served import Reply, Server, eventually, serving

pytestmark = pytest.mark.any_user

BASE = """[http]
version_header = true
[functions.local]
handler = "local:handler"
http = "GET /local"
"""
TOML = """[functions.{{name}}]
handler = "app:handler"
http = "GET /{{name}}"

[functions.post]
handler = "app:post"
http = "POST /post"

[[functions.work.queue]]
queue = "jobs"
backoff = "10ms"

[functions.work]
handler = "app:work"
max_instances = 2
""".replace("{{name}}", "app")
CODE = """import os

VERSION = {answer!r}
calls = 0

def handler(event, context):
    if VERSION == "fails":
        raise RuntimeError("a new bug")
    http = event["http"]
    seen = "authorization" in http["headers"] or "x-api-key" in http["headers"] or http["key"]
    return VERSION + " " + str(bool(seen))

def post(event, context):
    context.send("jobs", event["data"])

def work(event, context):
    if event["data"]["fails"] >= event["queue"]["attempt"]:
        context.log.info("as %s", VERSION)
        raise RuntimeError("again")
    return VERSION
"""


def new_key(server: Server, name: str, *scopes: str, deploy: bool = False, of: tuple[str, ...] = ()) -> str:
    with changing_keys(server.state) as keys:
        key, keys[name] = make_key(name, scopes, deploy=deploy, applications=of)
    return key


def shop(folder: Path, version: str) -> Path:
    return write(folder / f"shop-{version}", "app", version, toml=TOML, code=CODE)


def told(reply: Reply) -> tuple[str, str]:
    """The version that the header tells, and the one that answered."""
    assert reply.status == 200, reply.body
    return reply.headers["X-Forklight-Version"], reply.body.decode().split()[0]


async def pinned(server: Server, version: str, status: int = 200, *, key: str = "", bearer: str = "") -> str:
    """What a request for this version gets: its answer, or the detail of the problem."""
    headers = {"X-Api-Key": key} if key else {}
    headers |= {"Authorization": f"Bearer {bearer}"} if bearer else {}
    reply = await server.get("/app", headers={"X-Forklight-Version": version} | headers)
    assert reply.status == status, reply.body
    if status == 200:
        return reply.body.decode()
    problem = reply.json()
    assert (reply.headers["Content-Type"], problem["status"]) == ("application/problem+json", status)
    return str(problem["detail"])


async def choosing(server: Server, deploys: Deploys) -> None:
    """A deploy key, or one with the scope, may have any kept version. No function sees the key."""
    deploy, tester = new_key(server, "ci", deploy=True), new_key(server, "tester", "forklight:version")
    other = new_key(server, "other", "forklight:versions")
    await deploys.change("shop", "aliases/first?version=1", "PUT")
    for version, answer in (("1", "one"), ("2", "two"), ("first", "one"), ("live", "one"), ("canary", "two")):
        assert await pinned(server, version, key=deploy) == f"{answer} False"
    assert await pinned(server, "2", bearer=tester) == "two False"
    assert await pinned(server, "2", key=tester, bearer="of-the-function") == "two True"
    assert "no key was sent" in await pinned(server, "2", 401)
    assert "the key is not valid" in await pinned(server, "9", 401, key="fl_wrong")
    assert "the key other may not choose a version" in await pinned(server, "9", 403, key=other)
    team = new_key(server, "team", deploy=True, of=("shop",))
    assert "that takes a deploy key of the whole server" in await pinned(server, "2", 403, key=team)
    for version in ("9", "latest", "٣", "1" * 5000):
        detail = await pinned(server, version, 404, key=deploy)
        assert f"app has no version {version[:64]!r}: 1 (live) and 2 (canary) serve;" in detail
    local = await server.get("/local", headers={"X-Forklight-Version": "9"})
    assert (local.status, len(local.headers["X-Forklight-Version"])) == (200, 12), "not deployed: it has a hash alone"


async def messages_stay(server: Server) -> None:
    """All attempts of a message run on one version, and both versions get some."""
    for n in range(12):
        assert (await server.post("/post", {"n": n, "fails": 2})).status == 204

    async def are_done() -> bool:
        return len(server.entries(function="work", decision="ack")) == 12

    await eventually(are_done)
    by_message: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for entry in server.entries(function="work"):
        if "decision" in entry:
            by_message[entry["invocation"]].append((entry["attempt"], entry["release"]))
    assert [[attempt for attempt, _ in attempts] for attempts in by_message.values()] == [[1, 2, 3]] * 12
    assert [len({release for _, release in attempts}) for attempts in by_message.values()] == [1] * 12
    assert {attempts[0][1] for attempts in by_message.values()} == {1, 2}


async def logs_tell(server: Server) -> None:
    lines = (await server.run("logs", "work@2", "--json")).stdout.splitlines()
    assert lines == (await server.run("logs", "work", "--version", "2", "--json")).stdout.splitlines()
    both = await server.run("logs", "work@2", "--version", "1")
    assert (both.status, "work@2 is version 2, and --version says 1" in both.stderr) == (2, True)
    entries = [json.loads(line) for line in lines]
    assert {entry["release"] for entry in entries} == {2}
    assert "INFO work: as two" in [entry.get("text") for entry in entries]
    id_of_one = next(entry["invocation"] for entry in entries if "decision" in entry)
    found = msgspec.json.decode((await server.ask(f"/why?id={id_of_one}")).body, type=list[Explanation])
    assert all("version 2 of the function" in tell(one)[1] for one in found)
    assert [(await server.status(name))["release"] for name in ("app", "app@2")] == [1, 2]


async def test_who_gets_which_version_and_what_tells_it() -> None:
    with application(BASE) as folder:
        (folder / "local.py").write_text("def handler(event):\n    return 'local'\n")
        async with serving(folder, "--log-format", "json") as server:
            deploys = Deploys(server)
            await deploys.deploy("shop", shop(folder, "one"))
            assert {told(await server.get("/app")) for _ in range(3)} == {("1", "one")}
            await deploys.deploy("shop", shop(folder, "two"), canary=50)
            assert {told(await server.get("/app")) for _ in range(40)} == {("1", "one"), ("2", "two")}
            await choosing(server, deploys)
            await messages_stay(server)
            await logs_tell(server)
            await a_bad_canary_is_aborted(server, deploys, folder)


async def a_bad_canary_is_aborted(server: Server, deploys: Deploys, folder: Path) -> None:
    await deploys.deploy("shop", shop(folder, "fails"), canary=50)
    statuses = []

    async def is_aborted() -> bool:
        statuses.append((await server.get("/app")).status)
        return "canary" not in (await deploys.applications())["shop"]

    await eventually(is_aborted)
    assert set(statuses) == {200, 500}
    [release] = [one for one in (await deploys.applications())["shop"]["releases"] if one["number"] == 3]
    assert "app failed" in release["aborted"]
    assert "as version 3, and 0 of" in release["aborted"]
    assert {told(await server.get("/app")) for _ in range(10)} == {("1", "one")}
    await server.wait_said("version 1 serves alone again: app failed")


class Load:
    """Requests and messages without pause, and what came of them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.is_over = False
        self.answers: list[tuple[str, str]] = []
        self.posted = 0

    async def requests(self) -> None:
        while not self.is_over:
            self.answers.append(told(await self._server.get("/app")))

    async def messages(self) -> None:
        while not self.is_over:
            self.posted += 1
            assert (await self._server.post("/post", {"n": self.posted, "fails": 0})).status == 204


async def test_changes_of_versions_under_load_fail_no_request_and_lose_no_message() -> None:
    with application(BASE) as folder:
        (folder / "local.py").write_text("def handler(event):\n    return 'local'\n")
        async with serving(folder, "--log-format", "json") as server:
            deploys, load = Deploys(server), Load(server)
            await deploys.deploy("shop", shop(folder, "v1"))
            async with asyncio.TaskGroup() as tasks:
                for work in (load.requests, load.requests, load.requests, load.messages):
                    tasks.create_task(work())
                for done in [
                    await deploys.deploy("shop", shop(folder, "v2")),
                    await deploys.change("shop", "rollback"),
                    await deploys.deploy("shop", shop(folder, "v3"), canary=30),
                    await deploys.change("shop", "abort"),
                    await deploys.deploy("shop", shop(folder, "v4"), canary=70),
                    await deploys.change("shop", "promote"),
                    await deploys.change("shop", "rollback"),
                    await deploys.change("shop", "rollback?version=2"),
                ]:
                    assert done["ok"], done
                load.is_over = True
            assert {answer for version, answer in load.answers} >= {"v1", "v2", "v4"}
            assert {version for version, _ in load.answers} <= {answer[1:] for _, answer in load.answers}
            for version, answer in load.answers:
                assert f"v{version}" == answer, "the header tells what ran"

            async def all_done() -> bool:
                return len(server.entries(function="work", decision="ack")) >= load.posted

            await eventually(all_done)
            assert_no_mixture(server.entries(outcome="ok"), load.posted)


def assert_no_mixture(entries: list[dict[str, Any]], posted: int) -> None:
    """Each message ran once, and no instance has run code of two versions."""
    work = [entry["invocation"] for entry in entries if entry["function"] == "work"]
    assert len(work) == len(set(work)) == posted
    code: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if "instance" in entry:
            code[entry["instance"]].add(entry["version"])
    assert all(len(versions) == 1 for versions in code.values())
