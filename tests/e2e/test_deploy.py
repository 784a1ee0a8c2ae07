"""`forklight deploy` as a process, over TLS with a deploy key: what fails, and a client that leaves."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.application import Gate, at_limits, open_folder
from tests.kit.certificates import make_pair
from tests.kit.served import Finished, Server, eventually, run, serving, started

SERVER = """
[admin]
listen = "127.0.0.1:0"
certificate = "server.pem"
key = "server.key"
[deploy]
env = ["SHOP_*"]
"""
SHOP = """
[functions.orders]
handler = "orders:handler"
http = "GET /orders"
"""
CODE = "def handler(event):\n    return {answer}\n"


def write(folder: Path, answer: str, *, toml: str = SHOP, first: str = "") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "forklight.toml").write_text(at_limits(toml))
    (folder / "orders.py").write_text(first + CODE.format(answer=answer))


async def options(server: Server) -> tuple[str, ...]:
    """What a client needs to reach it: address, certificate, and a new key."""
    port = (await server.wait_said(r"health and metrics on port (\d+)"))[1]
    made = await server.run("keys", "create", "ci", "--deploy")
    (server.folder / "key").write_text(made.stdout)
    return ("--to", f"https://localhost:{port}", "--ca", "server.pem", "--key-file", "key")


class There:
    """A server with TLS, a deploy key and the application `shop` in its first version."""

    def __init__(self, server: Server, reach: tuple[str, ...]) -> None:
        self.server, self.reach = server, reach

    async def run(self, *arguments: str) -> Finished:
        return await run(*arguments, *self.reach, cwd=self.server.folder)

    async def answers(self) -> object:
        return (await self.server.get("/orders")).json()


@contextlib.asynccontextmanager
async def there() -> AsyncIterator[There]:
    with open_folder() as folder:
        make_pair(folder)
        (folder / "forklight.toml").write_text(SERVER)
        async with serving(folder) as server:
            yield There(server, await options(server))


@pytest.mark.ordinary_user
async def test_a_deploy_from_elsewhere() -> None:
    async with there() as far:
        shop = far.server.folder / "shop"
        write(shop, "1")
        done = await far.run("deploy", "shop")
        assert (done.status, done.stdout.splitlines()[0]) == (0, "shop: version 1 serves: added orders")
        assert await far.answers() == 1

        write(shop, "2", first="import no_such_library\n")
        done = await far.run("deploy", "shop")
        assert (done.status, done.stdout) == (1, "")
        assert "orders: load/ImportModuleError: " in done.stderr
        assert "not deployed: nothing has changed on the server at https://localhost:" in done.stderr

        write(shop, "2", toml=SHOP + 'env = { A = "${HOME}" }\n')
        done = await far.run("deploy", "shop")
        assert (done.status, "functions.orders.env" in done.stderr) == (2, True)
        assert 'it needs [deploy] env = ["HOME"] there' in done.stderr

        write(far.server.folder / "other", "3")
        done = await far.run("deploy", "other")
        assert (done.status, "the application 'shop'" in done.stderr, await far.answers()) == (2, True, 1)

        write(shop, "2")
        done = await far.run("deploy", "shop")
        assert done.stdout.splitlines()[-1].startswith("  to go back: forklight rollback 1 --name shop --to https://")
        assert await far.answers() == 2
        back = await far.run("rollback", "--json", "--name", "shop")
        assert (back.status, json.loads(back.stdout)["version"], await far.answers()) == (0, 1, 1)
        [application] = json.loads((await far.run("versions", "--json")).stdout)
        assert [(one["number"], one["by"]) for one in application["releases"]] == [(2, "ci"), (1, "ci")]

        key = far.server.folder / "key"
        astray = await run("versions", "--to", far.server.url, "--key-file", str(key), cwd=far.server.folder)
        assert (astray.status, "name the address of [admin] listen instead" in astray.stderr) == (1, True)

        await far.server.run("keys", "revoke", "ci")

        async def is_refused() -> bool:
            return "or has no deploy key" in (await far.run("versions")).stderr

        await eventually(is_refused)


async def test_a_key_of_one_application_deploys_no_other() -> None:
    async with there() as far:
        write(far.server.folder / "shop", "1")
        write(far.server.folder / "stall", "1")
        made = await far.server.run("keys", "create", "team", "--deploy", "--application", "stall")
        (far.server.folder / "key").write_text(made.stdout)
        done = await far.run("deploy", "shop")
        assert (done.status, done.stdout) == (1, "")
        assert "refused it: the deploy key team is for stall, not for 'shop': use its own key" in done.stderr
        assert "packing" not in done.stderr
        done = await far.run("rollback", "--name", "shop")
        assert (done.status, "not for 'shop'" in done.stderr) == (1, True)
        done = await far.run("deploy", "stall")
        assert done.stdout.startswith("stall: version 1 serves: added orders"), done.stderr


async def test_a_deploy_goes_on_without_its_client() -> None:
    async with there() as far:
        gate = Gate(far.server.folder)
        write(far.server.folder / "shop", "1", first=f"open({str(gate.path)!r}).read()\n")
        async with started("deploy", "shop", *far.reach, cwd=far.server.folder) as client:
            async with gate.held():
                client.send_signal(signal.SIGINT)
                _, said = await asyncio.wait_for(client.communicate(), 40)
            assert client.returncode == 130
            assert b"the deploy goes on there: forklight versions --name shop --to https://" in said

        async def serves() -> bool:
            return (await far.server.get("/orders")).status == 200

        await eventually(serves)
        assert json.loads((await far.run("versions", "--json")).stdout)[0]["live"] == 1
