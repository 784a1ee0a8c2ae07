"""Applications deployed to a running server: what is refused, rollbacks, canaries, a restart that serves the same."""

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.kit.application import Gate, application, at_limits
from tests.kit.deploys import Deploys, write
from tests.kit.runtimes import write_wheel
from tests.kit.served import Server, eventually, serving
from tests.kit.support import until

pytestmark = pytest.mark.any_user

BASE = """[deploy]
keep_versions = 2
env = ["SHOP_*"]
"""
NOTES = """[functions.notes]
handler = "notes:handler"
http = "GET /notes"
data = true
secrets = { PASSWORD = { file = "password" } }
queue = "noted"
[http]
listen = "0.0.0.0:1"
[bus]
name = "notes"
"""
KEEP = """import os, pathlib

def handler(event, context):
    folder = pathlib.Path(os.environ["FORKLIGHT_DATA"])
    (folder / "note").write_text({answer!r})
    return os.environ["PASSWORD"] + " " + str(sorted(one.name for one in folder.parent.parent.iterdir()))
"""


async def body(server: Server, path: str) -> str:
    return (await server.get(path)).body.decode()


def told(done: Any) -> str:
    """Why a deploy failed."""
    failures = [f"{one['function']}: {one['message']}" for one in done.get("result", {}).get("failures", [])]
    problems = [f"{one['file']}:{one.get('line')} {one['key']}: {one['message']}" for one in done.get("problems", [])]
    return "\n".join([*failures, *problems, done.get("error", "")])


def shas(server: Server) -> set[str]:
    return {path.stem for path in (server.state / "packages").glob("*.zip")}


def put_secret(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("sesame\n")


async def first_deploys(server: Server, deploys: Deploys, folder: Path) -> None:
    """The same again is nothing to do; something else that does not load leaves what serves."""
    lines = await deploys.lines("shop", write(folder, "hello", "one"))
    assert [line["step"] for line in lines[:-1]] == ["checking", "loading", "loading", "switching"]
    assert lines[-1]["version"] == 1
    assert lines[-1]["result"]["added"] == ["hello"]
    assert await body(server, "/hello") == "one"
    assert (await deploys.deploy("shop", folder))["already"]
    failed = await deploys.deploy("shop", write(folder, "hello", "", code="1 / 0{answer:.0}"))
    assert told(failed).startswith("hello: importing 'hello' failed: ZeroDivisionError")
    assert 'File "hello.py", line 1' in failed["result"]["failures"][0]["traceback"]
    assert await body(server, "/hello") == "one"


async def another_application(server: Server, deploys: Deploys, folder: Path) -> None:
    """Its secret is missing, then there; its data is its own; [http] is not. Names are one for all."""
    write(folder, "notes", "x", toml=NOTES, code=KEEP)
    missing = await deploys.deploy("notes", folder)
    place = server.state / "secrets/notes/password"
    assert f"forklight.toml:5 functions.notes.secrets.PASSWORD: needs the file {place} on the" in told(missing)
    put_secret(place)
    await server.run("send", "noted", "-d", "1")
    done = await deploys.deploy("notes", folder)
    assert [one["message"] for one in done["notes"]] == ["is ignored: [http] is the server's own"]
    assert place.parent.parent.stat().st_mode & 0o777 == 0o700
    assert await body(server, "/notes") == "sesame ['notes']"
    assert (server.state / "applications/notes/data/note").read_text() == "x"
    [first] = await eventually_entries(server, trigger="queue")
    assert first["release"] == 1
    clash = await deploys.deploy("third", write(folder.parent / "third", "hello", "mine"))
    assert "the application 'third' has a function 'hello', and so has the application 'shop'" in told(clash)
    assert sorted(await deploys.applications()) == ["notes", "shop"]


async def eventually_entries(server: Server, **wanted: Any) -> list[dict[str, Any]]:
    async def are_there() -> bool:
        return bool(server.entries(**wanted))

    await eventually(are_there)
    return server.entries(**wanted)


async def rollbacks(server: Server, deploys: Deploys, folder: Path) -> None:
    """A rollback forks from the template that stayed, and reads nothing. So does the way forward again."""
    assert (await deploys.deploy("shop", write(folder, "hello", "two")))["before"] == 1
    assert await body(server, "/hello") == "two"
    back = await deploys.change("shop", "rollback")
    assert (back["version"], set(back["times_ms"])) == (1, {"loading", "switching", "total"})
    reply = await server.get("/hello")
    assert (reply.body, reply.start) in [(b"one", "fork"), (b"one", "warm")]
    loaded = sorted(server.templates())
    assert (await deploys.change("shop", "rollback?version=2"))["before"] == 1
    assert sorted(server.templates()) == loaded
    reply = await server.get("/hello")
    assert (reply.body, reply.start) in [(b"two", "fork"), (b"two", "warm")]


async def two_at_once(server: Server, deploys: Deploys, folder: Path) -> str:
    """They are ordered, and of the older versions none is kept. Return what serves then."""
    later = [write(folder / text, "hello", text) for text in ("three", "four")]
    done = await asyncio.gather(*(deploys.deploy("shop", one) for one in later))
    assert sorted((one["version"], one["before"]) for one in done) == [(3, 2), (4, 3)]
    releases = (await deploys.applications())["shop"]["releases"]
    assert [(one["number"], one.get("role", "")) for one in releases] == [(4, "live"), (3, "")]
    return await body(server, "/hello")


async def the_servers_own_functions_come_last(server: Server, deploys: Deploys) -> None:
    """A reload cannot take the name of what is deployed."""
    assert json.loads(await deploys.ask("POST", "/reload")) == {"ok": True}
    file = server.folder / "forklight.toml"
    own = file.read_text()
    file.write_text(own + '[functions.hello]\nhandler = "notes.notes:handler"\n')
    refused = json.loads(await deploys.ask("POST", "/reload"))
    assert "shop/forklight.toml:1 functions.hello: the application 'shop' has a function 'hello'" in told(refused)
    file.write_text(own)


async def test_an_empty_server_gets_applications() -> None:
    with application(BASE) as folder:
        async with serving(folder) as server:
            deploys = Deploys(server)
            await first_deploys(server, deploys, folder / "shop")
            await another_application(server, deploys, folder / "notes")
            await rollbacks(server, deploys, folder / "shop")
            serves = await two_at_once(server, deploys, folder)
            assert serves in ("three", "four")
            await the_servers_own_functions_come_last(server, deploys)
            await server.end(signal.SIGKILL)
        secret = server.state / "secrets/notes/password"
        secret.unlink()
        async with serving(folder) as server:
            deploys = Deploys(server)
            assert await body(server, "/hello") == serves
            await one_cannot_be_loaded(server, deploys, secret)
            await eventually(lambda: _all_loaded(deploys))
            assert (await deploys.change("shop", "rollback"))["times_ms"].keys() == {"loading", "switching", "total"}
            assert await body(server, "/hello") == ({"three", "four"} - {serves}).pop()
            removed = await deploys.change("notes", "remove")
            assert removed["result"]["removed"] == ["notes"]
            assert (await server.get("/notes")).status == 404
            assert (server.state / "applications/notes/data/note").exists()
            assert (await deploys.deploy("notes", folder / "notes"))["version"] == 2


async def one_cannot_be_loaded(server: Server, deploys: Deploys, secret: Path) -> None:
    """The others serve, and it is told why. A reload tries again."""
    assert (await server.get("/notes")).status == 404
    [unserved] = (await server.ask("/status")).json()["unserved"]
    assert (unserved["application"], unserved["version"]) == ("notes", 1)
    assert "version 1 of notes does not serve" in (await server.run("ps")).stdout
    assert "needs the file" in (await deploys.applications())["notes"]["problem"]
    assert any("version 1 of notes cannot be loaded" in line for line in server.said)
    assert "needs the file" in told(await deploys.change("notes", "rollback?version=1"))
    put_secret(secret)
    assert json.loads(await deploys.ask("POST", "/reload"))["added"] == ["notes"]
    assert (await body(server, "/notes")).startswith("sesame")
    assert (await server.ask("/status")).json()["unserved"] == []


async def _all_loaded(deploys: Deploys) -> bool:
    return all("functions" in one for app in (await deploys.applications()).values() for one in app["releases"])


CANARY = """[functions.f]
handler = "f:handler"
http = "GET /f"
queue = "work"
{more}
"""
WRITES = """import os

def handler(event, context):
    return {answer!r}

def only(event, context):
    return {answer!r}
"""


async def test_a_canary_serves_its_share_and_what_only_it_has_can_be_sent_to() -> None:
    new = '[functions.only]\nhandler = "f:only"\nhttp = "GET /only"'
    with application(BASE) as folder:
        async with serving(folder) as server:
            deploys = Deploys(server)
            await deploys.deploy("app", write(folder / "one", "f", "1", toml=CANARY.format(more=""), code=WRITES))
            two = write(folder / "two", "f", "2", toml=CANARY.format(more=new), code=WRITES)
            begun = await deploys.deploy("app", two, canary=50)
            assert (begun["version"], begun["before"], begun["canary_percent"]) == (2, 1, 50)
            assert {await body(server, "/f") for _ in range(40)} == {"1", "2"}
            assert (await server.get("/only")).status == 404
            assert json.loads((await server.run("invoke", "only", "--json")).stdout)["body"] == "2"
            more = await deploys.deploy("app", two, canary=99)
            assert (more["version"], more["canary_percent"]) == (2, 99)
            refused = await deploys.change("app", "rollback")
            assert "version 2 serves 99 % as a canary: abort ends it" in refused["error"]
            ended = await deploys.change("app", "abort?reason=too+slow")
            assert ended["version"] == 1
            assert {await body(server, "/f") for _ in range(10)} == {"1"}
            assert "too slow" in (await deploys.applications())["app"]["releases"][0]["aborted"]
            await deploys.deploy("app", two, canary=10)
            assert (await deploys.change("app", "promote"))["version"] == 3
            assert {await body(server, "/f") for _ in range(10)} == {"2"}
            assert await body(server, "/only") == "2"
            named = await deploys.change("app", "aliases/stable?version=3", "PUT")
            assert named["ok"]
            assert (await deploys.applications())["app"]["aliases"] == {"stable": 3}


PROBED = """import os

def handler(event, context):
    context.send("elsewhere", "sent")
    print("probed" if event["source"] == "/forklight/probe" else "served")
    assert event["data"] == {{"n": 1}} and event["http"]["params"] == {{"n": "7"}}
    return {answer!r}, 200 if {answer!r} == "good" else 409
"""


async def test_a_probe_that_does_not_do_well_refuses_a_deploy() -> None:
    toml = '[functions.f]\nhandler = "f:handler"\nhttp = "POST /f/{n}"\nprobe = "f.json"\n'
    probe = {"http": {"method": "POST", "path": "/f/7"}, "data": {"n": 1}}
    with application(BASE) as folder:
        app = write(folder / "app", "f", "good", toml=toml, code=PROBED)
        (app / "f.json").write_text(json.dumps(probe))
        async with serving(folder) as server:
            deploys = Deploys(server)
            lines = await deploys.lines("app", app)
            assert [line.get("step") for line in lines[:-1] if line.get("step") == "probing"] == ["probing"] * 2
            assert lines[-1]["ok"]
            await until(lambda: [one["text"] for one in server.entries(function="f") if "text" in one] == ["probed"])
            refused = await deploys.deploy("app", write(app, "f", "bad", toml=toml, code=PROBED))
            assert refused["error"] == "the probe of f failed: it answered with status 409: bad"
            (app / "f.json").write_text(json.dumps(probe | {"data": {"n": 2}}))
            refused = await deploys.deploy("app", write(app, "f", "good", toml=toml, code=PROBED))
            assert refused["error"].startswith("the probe of f failed: error/AssertionError:")
            assert 'File "f.py", line ' in refused["error"]
            assert (await server.post("/f/7", {"n": 1})).body == b"good"
            queues = {one["queue"]: one["ready"] for one in json.loads(await deploys.ask("GET", "/queues"))}
            assert queues["elsewhere"] == 1, "what probes send is dropped"


VERSION = "import tiny\nhandler = lambda event: tiny.VERSION * {}"
TINY = """[functions.tiny]
handler = "tiny_answer:handler"
http = "GET /tiny"
runtime = "app"
[runtimes.app]
requirements = "requirements.txt"
"""


@pytest.mark.long_form
@pytest.mark.timeout(400)
async def test_requirements_are_installed_by_a_deploy() -> None:
    """By nobody that could change what functions run: as root, the environment is root's."""
    with application(BASE) as folder:
        app = write(
            folder / "tiny", "tiny_answer", "", toml=TINY, code="import tiny\nhandler = lambda event: tiny.VERSION"
        )
        write_wheel(app / "wheels", "tiny", "1.2")
        (app / "requirements.txt").write_text("--no-index\n--find-links wheels\ntiny==3\n")
        async with serving(folder, "--quiet") as server:
            deploys = Deploys(server)
            failed = await deploys.deploy("tiny", app)
            assert re.match(
                r"the runtime 'app' could not be made of requirements.txt: .*:\n(.|\n)*tiny==3", told(failed)
            )
            assert list((server.state / "runtimes").glob("app-*/forklight-requirements")) == []
            (app / "requirements.txt").write_text("--no-index\n--find-links wheels\ntiny==1.2\n")
            lines = await deploys.lines("tiny", app)
            installed = [line for line in lines if line.get("step") == "installing"]
            assert [(line["function"], line["done"], line["of"]) for line in installed] == [("", 0, 1), ("app", 1, 1)]
            assert await body(server, "/tiny") == "1.2"
            [module] = (server.state / "runtimes").glob("app-*/lib/python*/site-packages/tiny.py")
            assert (module.stat().st_uid, module.stat().st_mode & 0o022) == (os.geteuid(), 0)
            again = await deploys.lines(
                "tiny",
                write(app, "tiny_answer", "", toml=TINY, code="import tiny\nhandler = lambda event: tiny.VERSION * 2"),
            )
            assert "installing" not in {line.get("step") for line in again}
            assert await body(server, "/tiny") == "1.21.2"


WAITS = """def handler(event):
    open({answer!r}).read()
"""


async def test_a_deploy_that_the_end_of_the_server_cuts_short_says_what_serves_from_now_on() -> None:
    with application(BASE) as folder:
        async with serving(folder) as server:
            gate, deploys = Gate(folder), Deploys(server)
            one, two = (at_limits(CANARY.format(more="").replace('"work"', queues)) for queues in ('"work"', "[]"))
            await deploys.deploy("app", write(folder / "app", "f", str(gate.path), toml=one, code=WAITS))
            await server.run("send", "work", "-d", "1")
            async with gate.held():
                second = write(folder / "app", "f", "2", toml=two)
                deploy = asyncio.create_task(deploys.deploy("app", second))

                async def is_switched() -> bool:
                    return bool((await deploys.applications())["app"]["live"] == 2)

                await eventually(is_switched)
                server.send(signal.SIGTERM)
                done = await asyncio.wait_for(deploy, 20)
            assert (done["ok"], done["version"], done["before"]) == (True, 2, 1)
