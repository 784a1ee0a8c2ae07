"""Releases that are kept and do not serve: they are ready for a rollback after a start too, and hold up nothing."""

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from forklight.state.keys import changing_keys, make_key
from tests.kit.application import Gate, application
from tests.kit.deploys import CODE, Deploys, write
from tests.kit.mirror import running_mirror
from tests.kit.served import Server, eventually, serving
from tests.kit.support import until
from tests.kit.zips import make_zip

pytestmark = pytest.mark.any_user

LISTEN = ("--listen", "127.0.0.1:0")
BASE = "[deploy]\nkeep_versions = 4\n"
LOADS = """print("{answer} is loaded", flush=True)

def handler(event, context):
    return {answer!r}
"""
LARGE = """kept = bytes(range(256)) * {answer}

def handler(event, context):
    return "large"
"""
TWO = """[functions.shop]
handler = "shop:handler"
http = "GET /shop"
[functions.late]
handler = "late:handler"
"""
PULLED = """[functions.shop]
handler = "remote:handler"
http = "GET /shop"
[functions.shop.code]
url = "{url}/remote.zip"
sha256 = "{sha256}"
"""


async def body(server: Server) -> str:
    return (await server.get("/shop")).body.decode()


def loads(server: Server) -> list[str]:
    """What has been loaded so far, in order."""
    return [entry["text"] for entry in server.entries(function="shop") if entry.get("text", "").endswith("is loaded")]


async def test_a_rollback_after_a_restart_forks_from_a_template_that_was_loaded_after_everything_else() -> None:
    with application(BASE) as folder:
        async with serving(folder, *LISTEN) as server:
            for version in ("one", "two", "three"):
                await Deploys(server).deploy("shop", write(folder / "shop", "shop", version, code=LOADS))
        async with serving(folder, *LISTEN) as server:
            deploys = Deploys(server)
            await until(lambda: len(loads(server)) >= 2)
            assert loads(server) == ["three is loaded", "two is loaded"], "what lies further back is not loaded"
            assert (await deploys.change("shop", "rollback"))["version"] == 2
            assert await body(server) == "two"
            assert (await deploys.change("shop", "rollback?version=3"))["version"] == 3
            assert await body(server) == "three"
            again = loads(server)[2:]
            assert set(again) <= {"one is loaded"}, "which is what a rollback from version 2 would go back to"


async def test_a_rollback_loads_again_what_is_not_kept_warm() -> None:
    with application(f'{BASE}keep_warm = "0s"\n') as folder:
        async with serving(folder, *LISTEN) as server:
            deploys = Deploys(server)
            await deploys.deploy("shop", write(folder / "shop", "shop", "one", code=LOADS))
            one = set(server.templates())
            await deploys.deploy("shop", write(folder / "shop", "shop", "two", code=LOADS))
            await until(lambda: not one & set(server.templates()))
            assert (await deploys.change("shop", "rollback"))["version"] == 1
            assert await body(server) == "one"
            await until(lambda: len(loads(server)) == 3)
            assert loads(server) == ["one is loaded", "two is loaded", "one is loaded"]


async def pinned(server: Server, version: str, key: str) -> tuple[int, Any]:
    reply = await server.get("/shop", headers={"X-Forklight-Version": version, "X-Api-Key": key})
    return reply.status, reply.json() if reply.status == 404 else reply.body.decode()


async def test_no_rollback_waits_for_the_code_of_a_deploy() -> None:
    with application(BASE) as folder:
        gate = Gate(folder)
        async with serving(folder, *LISTEN) as server:
            deploys = Deploys(server)
            for version in ("one", "two"):
                await deploys.deploy("shop", write(folder / "shop", "shop", version))
            code = f"open({str(gate.path)!r}).read()\n{CODE}"
            slow = write(folder / "shop", "shop", "three", more='isolation = "limits"', code=code)
            deploy = asyncio.create_task(deploys.lines("shop", slow))
            async with gate.held():
                assert (await deploys.change("shop", "rollback"))["version"] == 1
                assert await body(server) == "one"
                other = await deploys.deploy("other", write(folder / "other", "other", "else"))
                assert other["version"] == 1
                assert (await server.run("reload")).status == 0
            lines = await deploy
            assert (lines[-1]["version"], lines[-1]["before"]) == (3, 1)
            assert [line["step"] for line in lines[:-1] if not line.get("done")] == ["checking", "loading", "switching"]
            assert await body(server) == "three"
            assert (await deploys.change("shop", "rollback"))["version"] == 1


async def test_what_a_failed_deploy_has_loaded_ends() -> None:
    with application(BASE) as folder:
        async with serving(folder, *LISTEN) as server:
            deploys = Deploys(server)
            await deploys.deploy("shop", write(folder / "shop", "shop", "one"))
            before = server.templates()
            two = write(folder / "shop", "shop", "two", toml=TWO)
            (two / "late.py").write_text("raise ValueError('not today')\n")
            assert (await deploys.deploy("shop", two))["ok"] is False
            await until(lambda: server.templates() == before)
            (two / "late.py").write_text("def handler(event): return 'late'\n")
            assert (await deploys.deploy("shop", two))["version"] == 2


async def test_no_deploy_waits_until_what_is_kept_has_been_read(tmp_path: Path) -> None:
    """The code of a kept release is not here any more, and where it comes from, nobody answers."""
    content = make_zip(("remote.py", b"def handler(event):\n    return 'pulled'\n"))
    digest = sha256(content).hexdigest()
    with running_mirror(tmp_path) as mirror, application(BASE) as folder:
        mirror.files["/remote.zip"] = content
        toml = PULLED.format(url=mirror.url, sha256=digest)
        trusted = {"SSL_CERT_FILE": str(mirror.certificate)}
        async with serving(folder, *LISTEN, **trusted) as server:
            await Deploys(server).deploy("shop", write(folder / "pulled", "unused", "", toml=toml))
            assert await body(server) == "pulled"
            await Deploys(server).deploy("shop", write(folder / "shop", "shop", "two"))
            with changing_keys(server.state) as keys:
                key, keys["ci"] = make_key("ci", (), deploy=True)
        (server.state / f"packages/{digest}.zip").unlink()
        mirror.was_asked.clear()
        mirror.answers.clear()
        async with serving(folder, *LISTEN, **trusted) as server:
            await until(mirror.was_asked.is_set)
            deploys = Deploys(server)
            assert (await deploys.deploy("shop", write(folder / "shop", "shop", "three")))["version"] == 3
            assert await body(server) == "three"
            assert (await deploys.change("shop", "rollback"))["version"] == 2
            status, problem = await pinned(server, "1", key)
            assert (status, problem["detail"].partition(":")[0]) == (404, "shop")
            assert "version 1 is kept, but not loaded yet" in problem["detail"]
            mirror.answers.set()

            async def serves_all() -> bool:
                return (await pinned(server, "1", key)) == (200, "pulled")

            await eventually(serves_all)


async def test_the_templates_of_what_is_kept_end_first_when_memory_lacks() -> None:
    with application(f'{BASE}[machine]\nmemory = "96MiB"\n') as folder:
        async with serving(folder, *LISTEN) as server:
            deploys = Deploys(server)
            await deploys.deploy("shop", write(folder / "shop", "shop", str(100 * 4096), code=LARGE))
            large = set(server.templates())
            await deploys.deploy("shop", write(folder / "shop", "shop", "small"))
            assert await body(server) == "small"
            await until(lambda: not large & set(server.templates()))
            assert (await deploys.change("shop", "rollback"))["version"] == 1
            assert await body(server) == "large"
