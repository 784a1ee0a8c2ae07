"""The TCP listener of the admin API: who gets in, over TLS and without."""

import ssl
from pathlib import Path

import aiohttp
import msgspec
import pytest

from forklight.admin.tls import renewing_context
from tests.kit.admin import Asked, serving
from tests.kit.certificates import make_pair
from triggers.http.policy.keys import Key, digest, new_key

pytestmark = pytest.mark.any_user

DEPLOYER, ROUTE = new_key(), new_key()


def write_keys(folder: Path) -> None:
    known = {
        "ci": Key(sha256=digest(DEPLOYER), created="", deploy=True),
        "alice": Key(sha256=digest(ROUTE), created="", scopes=("*",)),
    }
    (folder / "keys").write_bytes(msgspec.json.encode(known))


async def ask(asked: Asked, path: str, *, key: str = "", host: str = "", method: str = "GET") -> tuple[int, str]:
    headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **({"Host": host} if host else {})}
    url = f"http://127.0.0.1:{asked.port}{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as response:
        return response.status, await response.text()


async def test_without_a_deploy_key_there_are_only_probes(tmp_path: Path) -> None:
    nothing = (404, "404: Not Found")
    async with serving(tmp_path) as asked:
        assert await ask(asked, "/healthz") == (200, "ok\n")
        for path in ("/applications", "/packages/x", "/status", "/nothing"):
            for key in ("", DEPLOYER, ROUTE):
                assert await ask(asked, path, key=key) == nothing
        write_keys(tmp_path)
        for path in ("/applications", "/applications/shop/deploy", "/nothing"):
            assert await ask(asked, path) == nothing
            assert await ask(asked, path, method="POST") == nothing
            assert await ask(asked, path, key="wrong") == (401, "the key is not valid\n")
            status, line = await ask(asked, path, key=ROUTE)
            assert (status, line.startswith("the key is not a deploy key: ")) == (401, True)
        for path in ("/status", "/logs", "/dlq", "/record/greet", "/nothing"):
            assert await ask(asked, path, key=DEPLOYER) == nothing


async def test_a_page_in_a_browser_cannot_ask(tmp_path: Path) -> None:
    write_keys(tmp_path)
    async with serving(tmp_path) as asked:
        for path in ("/metrics", "/applications"):
            status, line = await ask(asked, path, key=DEPLOYER, host="rebound.example")
            assert (status, line) == (403, "this listener answers only to its address or localhost\n")


async def test_over_tls_a_replaced_certificate_serves_the_next_connection(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    async with serving(tmp_path, tls=renewing_context(*pair)) as asked:

        async def trusts() -> bool:
            trusting = ssl.create_default_context(cafile=tmp_path / "trusted.pem")
            connector = aiohttp.TCPConnector(ssl=trusting)
            url = f"https://localhost:{asked.port}/healthz"
            try:
                async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
                    return response.status == 200
            except aiohttp.ClientConnectorCertificateError:
                return False

        (tmp_path / "trusted.pem").write_bytes(pair.certificate.read_bytes())
        assert await trusts()
        make_pair(tmp_path)
        assert not await trusts()
        (tmp_path / "trusted.pem").write_bytes(pair.certificate.read_bytes())
        pair.key.write_text("-----BEGIN nonsense-----")
        assert await trusts()  # the former pair
