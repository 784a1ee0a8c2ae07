"""`forklight record` and `probe`: what a function got from each kind of trigger, a deploy runs on its next version."""

import asyncio
import json
import re
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.kit.application import application
from tests.kit.deploys import Deploys, write
from tests.kit.served import LIMIT_S, Server, serving, started
from tests.kit.support import until

pytestmark = pytest.mark.any_user

TOML = """
[functions.web]
handler = "app:web"
http = { path = "/web/{n:int}", methods = ["POST"], decode = "bytes" }
[functions.work]
handler = "app:work"
queue = { queue = "jobs", decode = "bytes" }
[functions.many]
handler = "app:many"
queue = { queue = "lots", batch = 2, batch_window = "10s" }
[functions.tick]
handler = "app:tick"
timer = { name = "nightly", schedule = "0 7 1 1 *" }
"""
CODE = """import json

def tell(event, *seen):
    by = "probe" if event["source"] == "/forklight/probe" else "client"
    print(json.dumps({"by": by, "seen": seen}, sort_keys=True))

def web(event):
    http = event["http"]
    headers = [http["headers"].get(name) for name in ("content-type", "x-tenant")]
    tell(event, event["data"].hex(), http["params"], http["query_all"]["n"], headers)

def work(event):
    queue = event["queue"]
    tell(event, event["data"].hex(), queue["headers"].get("tenant"), queue["name"])

def many(event):
    tell(event, [[one["data"], one["queue"]["headers"].get("n")] for one in event["data"]])

def tick(event):
    tell(event, event["timer"]["name"], event["timer"]["schedule"])
"""
PROBES = ("web", "work", "many", "tick")


@pytest.fixture(params=["sqlite", "rabbitmq"])
def bus_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("amqp_url")) if request.param == "rabbitmq" else "sqlite:"


async def record(server: Server, name: str, send: Callable[[], Awaitable[Any]], *to: str) -> tuple[str, str]:
    """Record what `send` sends: what the command wrote and said."""
    async with started("record", name, *to, cwd=server.folder) as process:
        assert process.stderr is not None
        assert (await process.stderr.readline()).decode() == f"waiting for the next event of {name} …\n"
        await send()
        out, said = await asyncio.wait_for(process.communicate(), LIMIT_S)
        assert process.returncode == 0, said
        return out.decode(), said.decode()


def lines(server: Server, function: str, by: str) -> list[Any]:
    told = [json.loads(entry["text"]) for entry in server.entries(function=function) if "text" in entry]
    return [line["seen"] for line in told if line["by"] == by]


async def test_what_is_recorded_is_run_by_the_next_deploy(bus_url: str) -> None:
    base = f'[bus]\nurl = "{bus_url}"\nname = "recorded"\n[deploy]\n'
    with application(base) as folder:
        app = write(folder / "app", "app", "", toml=TOML, code=CODE.replace("{", "{{").replace("}", "}}"))
        async with serving(folder) as server:
            deploys = Deploys(server)
            done = await deploys.deploy("app", app)
            assert done["ok"], done
            sent = bytes(range(256))
            headers = {"Content-Type": "image/x", "X-Tenant": "acme", "X-Token": "s3cret"}

            async def request() -> None:
                await server.request("POST", "/web/7?n=1&n=%C3%A4&api_key=s3cret", data=sent, headers=headers)

            async def message() -> None:
                query = "queue=jobs&header=tenant%3Dacme&header=x-token%3Ds3cret"
                await deploys.ask("POST", f"/send?{query}", sent, **{"Content-Type": "image/x"})

            async def two() -> None:
                for n in (1, 2):
                    body, kind = b'{"n": %d}' % n, {"Content-Type": "application/json"}
                    await deploys.ask("POST", f"/send?queue=lots&header=n%3D{n}", body, **kind)

            async def fire() -> None:
                await deploys.ask("POST", "/invoke/tick?timer=nightly")

            said = [
                (await record(server, name, send, "--to", f"app/{name}.json"))[1]
                for name, send in zip(PROBES, (request, message, two, fire), strict=True)
            ]
            assert f'for [functions.web] of {app}/forklight.toml: probe = "web.json"\n' in said[0]
            assert "left out, as it may be secret: the parameter api_key, the header x-token\n" in said[0]
            assert "left out, as it may be secret: the header x-token\n" in said[1]
            assert not any("s3cret" in (app / f"{name}.json").read_text() for name in PROBES)

            (app / "forklight.toml").write_text(re.sub(r"\[functions\.(\w+)\]", r'\g<0>\nprobe = "\1.json"', TOML))
            done = await deploys.deploy("app", app)
            assert done["ok"], done
            await until(lambda: all(lines(server, name, "probe") for name in PROBES))
            for name in PROBES:
                assert lines(server, name, "probe")[0] in lines(server, name, "client")


async def test_how_a_recording_ends() -> None:
    with application('[functions.echo]\nhandler = "f:echo"\nhttp = "/echo"\n') as folder:
        async with serving(folder) as server:
            done = await server.run("record", "ecko")
            assert (done.status, "there is no function 'ecko' here (did you mean 'echo'?)" in done.stderr) == (2, True)
            done = await server.run("record", "echo", "--timeout", "10ms")
            assert (done.status, done.stdout, "no event of echo came within 10ms" in done.stderr) == (1, "", True)
            done = await server.run("record", "echo", "--to", "no/such.json")
            assert (done.status, "there is no directory" in done.stderr) == (2, True)

            async with started("record", "echo", cwd=folder) as process:
                assert process.stderr is not None
                assert await process.stderr.readline()
                process.send_signal(signal.SIGINT)
                out, said = await asyncio.wait_for(process.communicate(), LIMIT_S)
            assert (process.returncode, out, said.strip()) == (130, b"", b"")

            async def call() -> None:
                assert (await server.run("invoke", "echo", "-d", '{"n":  1}')).status == 0

            assert (await record(server, "echo", call))[0] == '{\n  "data": {"n":  1}\n}\n'

            async with started("record", "echo", cwd=folder) as process:
                assert process.stderr is not None
                assert await process.stderr.readline()
                await server.end()
                out, said = await asyncio.wait_for(process.communicate(), LIMIT_S)
            assert (process.returncode, out, b"the server" in said) == (1, b"", True), said
