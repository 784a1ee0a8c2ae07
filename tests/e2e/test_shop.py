"""examples/shop does what it says, on SQLite and on PostgreSQL: its tests, its README, its units, behind nginx."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from forklight.commands.unit_files import Unit, service_unit, socket_unit
from tests.kit.application import open_folder
from tests.kit.broker import free_ports
from tests.kit.installed import ROOT
from tests.kit.nginx import running_nginx
from tests.kit.pages import try_page
from tests.kit.postgresql import PostgreSQL, running_postgresql
from tests.kit.served import Server, serving
from tests.kit.support import until

pytestmark = pytest.mark.any_user
SHOP = ROOT / "examples/shop"


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with running_postgresql() as server:
        yield server


@contextlib.contextmanager
def copied() -> Iterator[Path]:
    """The example in a folder of its own, as a reader would copy it."""
    with open_folder() as folder:
        shutil.copytree(SHOP, folder / "shop", ignore=shutil.ignore_patterns("__pycache__", ".env", ".forklight"))
        yield folder / "shop"


@contextlib.asynccontextmanager
async def shop(**settings: str) -> AsyncIterator[Server]:
    """Serve it with these values in its env file, and with its database made."""
    with open_folder() as folder:
        env_file = folder / "env"
        env_file.write_text(
            "".join(f"{name}={value}\n" for name, value in ({"PAYMENT_SECRET": "s"} | settings).items())
        )
        variables = {"SHOP_ENV": str(env_file), "FORKLIGHT_LISTEN": "127.0.0.1:0"}
        async with serving(folder, str(SHOP), **variables) as server:
            assert (await server.run("invoke", "migrate", "--state", str(server.state))).stderr == ""
            yield server


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_its_own_tests_pass(kind: str, request: pytest.FixtureRequest) -> None:
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    if kind == "postgresql":
        environ["TEST_DATABASE_URL"] = request.getfixturevalue("postgresql").url("postgres")
    with copied() as folder:
        command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestWarning")
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"\d\d passed", done.stdout)


async def test_its_page() -> None:
    page = (SHOP / "README.md").read_text()
    assert [link for link in re.findall(r"\]\(([^)#]+)", page) if not (SHOP / link).exists()] == []
    await try_page(page, SHOP)


async def test_a_connection_that_the_database_has_closed_is_replaced(postgresql: PostgreSQL) -> None:
    async with shop(DATABASE_URL=postgresql.fresh_url()) as server:
        key = (await server.run("keys", "create", "a", "--scope", "*", "--state", str(server.state))).stdout.strip()
        await server.get("/products", headers={"X-Api-Key": key})
        postgresql.close_connections()
        answer = await server.get("/products", headers={"X-Api-Key": key})
        assert (answer.status, answer.body, answer.start) == (200, b"sku,name,price_cents,stock\r\n", "warm")


def test_the_units_are_those_of_forklight_systemd(tmp_path: Path) -> None:
    forklight, configuration = "/opt/forklight/bin/forklight", "/srv/shop/current/forklight.toml"
    unit = Unit(
        name="shop",
        user="shop",
        command=(forklight, "serve", configuration, "--log-format", "json"),
        reload=(forklight, "reload", "-c", configuration),
        reads=(Path(configuration), Path("/opt/forklight")),
        listen="127.0.0.1:8080",
        drain_s=30.0,
    )
    for name, made in (("shop.service", service_unit(unit)), ("shop.socket", socket_unit(unit))):
        shipped = (SHOP / "deploy" / name).read_text()
        assert shipped == made, f"write deploy/{name} anew: the units that forklight systemd prints have changed"
        (tmp_path / name).write_text(shipped.replace(forklight, sys.executable))  # systemd looks for the program
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "shop.service", "shop.socket"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_it_works_behind_nginx() -> None:
    [port] = free_ports(1)
    site = (SHOP / "deploy/nginx.conf").read_text().replace("listen 80;", f"listen 127.0.0.1:{port};")
    async with shop() as server:
        assert await server.wait_said(r'^Try: curl -X POST http://\S+/orders -H "Authorization: Bearer \$KEY" ')
        site = site.replace("127.0.0.1:8080", server.url.removeprefix("http://"))
        stranger = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))  # not the address of the trusted proxy
        with running_nginx(site, port):
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=stranger) as client:
                pretended = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Host": "other.example"}
                async with client.post("/webhooks/payment", headers=pretended) as answer:
                    assert (answer.status, answer.headers["Server"].partition("/")[0]) == (401, "nginx")
        [entry] = await until(lambda: server.entries(path="/webhooks/payment"))
        assert (entry["function"], entry["client"]) == ("payment", "127.0.0.2")
