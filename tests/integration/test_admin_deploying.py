"""Deploys over the admin API: uploads that break off and meet, steps that stream, and what is refused."""

import asyncio
import getpass
import hashlib
import io
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from zipfile import ZipFile

import aiohttp
import msgspec
import pytest

from forklight.admin import applications
from forklight.admin.places import NoServer, Refused, Remote, Session
from forklight.admin.upload import upload
from forklight.packages.store import StoreBounds
from forklight.serving.deployment import ApplicationStatus
from tests.kit.admin import serving
from tests.kit.deploying import Recorder
from tests.kit.proxy import proxy_to
from triggers.http.policy.keys import Key, digest, new_key

pytestmark = pytest.mark.any_user

KEY = new_key()


def package(size: int = 100_000) -> tuple[str, bytes]:
    made = io.BytesIO()
    with ZipFile(made, "w") as archive:
        archive.writestr("app.py", bytes(index % 251 for index in range(size)))
    content = made.getvalue()
    return hashlib.sha256(content).hexdigest(), content


@asynccontextmanager
async def session(folder: Path, deployer: Recorder, *of: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Over TCP with a deploy key, perhaps of some applications only."""
    key = Key(sha256=digest(KEY), created="", deploy=True, applications=of)
    (folder / "keys").write_bytes(msgspec.json.encode({"ci": key}))
    async with serving(folder, deployer=deployer) as asked:
        base, headers = f"http://127.0.0.1:{asked.port}", {"X-Api-Key": KEY}
        async with aiohttp.ClientSession(base, headers=headers) as http:
            yield http


async def put(
    http: aiohttp.ClientSession, sha256: str, offset: int, piece: bytes, length: int | str
) -> tuple[int, str | None, str]:
    headers = {"Upload-Length": str(length)}
    async with http.put(f"/packages/{sha256}?offset={offset}", data=piece, headers=headers) as response:
        return response.status, response.headers.get("Upload-Offset"), await response.text()


async def test_an_upload_goes_on_where_it_was_and_comes_back(tmp_path: Path) -> None:
    sha256, content = package()
    async with session(tmp_path, Recorder(tmp_path)) as http:
        async with http.head(f"/packages/{sha256}") as response:
            assert (response.status, response.headers["Upload-Offset"]) == (404, "0")
        assert await put(http, sha256, 0, content[:60_000], len(content)) == (202, "60000", "")
        status, offset, line = await put(http, sha256, 0, content, len(content))
        assert (status, offset) == (409, "60000")
        assert line.endswith("60000 bytes are here: go on from there\n")
        async with http.head(f"/packages/{sha256}") as response:
            assert (response.status, response.headers["Upload-Offset"]) == (404, "60000")
        assert (await put(http, sha256, 60_000, content[60_000:], len(content)))[0] == 201
        assert (await put(http, sha256, 0, b"again", len(content)))[0] == 201
        async with http.head(f"/packages/{sha256}") as response:
            assert response.status == 200
        async with http.get(f"/packages/{sha256}", headers={"Range": "bytes=60000-"}) as response:
            assert (response.status, await response.read()) == (206, content[60_000:])


async def test_two_uploads_of_one_package_at_once(tmp_path: Path) -> None:
    sha256, content = package(3_000_000)

    async def upload(http: aiohttp.ClientSession) -> None:
        at = 0
        while at < len(content):
            status, offset, _ = await put(http, sha256, at, content[at : at + 100_000], len(content))
            assert status in (201, 202, 409)
            at = len(content) if offset is None else int(offset)

    async with session(tmp_path, deployer := Recorder(tmp_path)) as http:
        await asyncio.gather(upload(http), upload(http), upload(http))
        assert deployer.store.path(sha256).read_bytes() == content
        assert deployer.store.check() == []


async def test_an_upload_goes_on_when_its_connection_breaks(tmp_path: Path) -> None:
    content = os.urandom(3_500_000)
    (tmp_path / "package").write_bytes(content)
    sha256, loop = hashlib.sha256(content).hexdigest(), asyncio.get_running_loop()
    deployer = Recorder(tmp_path)
    (tmp_path / "keys").write_bytes(msgspec.json.encode({"ci": Key(sha256=digest(KEY), created="", deploy=True)}))
    async with serving(tmp_path, deployer=deployer) as asked, proxy_to(asked.port) as proxy:
        pauses: list[float] = []

        def once(what: Callable[[], None]) -> None:
            asyncio.run_coroutine_threadsafe(_call(what), loop).result()

        def progress(at: int) -> None:
            if at >= 2_000_000 and not pauses:
                once(proxy.cut)

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                once(proxy.mend)

        def bring(name: str) -> int:
            with closing(Session(Remote(f"http://127.0.0.1:{proxy.port}", KEY), 30)) as session:
                return upload(session, name, tmp_path / "package", progress, pause)

        with pytest.raises(Refused, match="is not a zip file"):  # after its last byte has come
            await asyncio.to_thread(bring, sha256)
        assert pauses == [0.5, 1.0, 2.0]
        assert proxy.connections == 2
        pauses.clear()
        proxy.cut()
        with pytest.raises(NoServer, match="broke off"):
            await asyncio.to_thread(bring, sha256)
        assert pauses == []


async def _call(what: Callable[[], None]) -> None:
    what()


async def test_uploads_that_are_refused(tmp_path: Path) -> None:
    sha256, content = package(10_000)
    deployer = Recorder(tmp_path, StoreBounds(package_bytes=20_000))
    async with session(tmp_path, deployer) as http:
        for length, status in (("", 400), ("-1", 400), ("0", 400), ("1e9", 400), ("9" * 15, 400), ("9" * 14, 413)):
            assert (await put(http, sha256, 0, content, length))[0] == status
        told = (await put(http, sha256, 0, content, 20_001))[2]
        assert told.startswith("the package has 0.0 MB, and the server takes 0.0 MB: leave files out")
        assert (await put(http, sha256, 0, content, 5000))[0] == 422
        assert (await put(http, sha256, 5, content, 4))[0] == 400
        wrong = await put(http, "0" * 64, 0, content, len(content))
        assert (wrong[0], "send them again" in wrong[2]) == (422, True)
        for path in ("/packages/..%2Fkeys", f"/packages/{sha256.upper()}", "/packages/x", f"/packages/{sha256}/x"):
            async with http.get(path) as response:
                assert response.status == 404
        assert list(deployer.store.packages.glob("*.zip")) == []


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(65_536)


async def test_a_body_without_end_is_refused_and_kept_by_nobody(tmp_path: Path) -> None:
    deployer = Recorder(tmp_path, StoreBounds(package_bytes=1_000_000))
    async with session(tmp_path, deployer) as http:
        for key, length, status in ((KEY, 1_000_000, 422), (KEY, 1_000_001, 413), ("wrong", 1_000_000, 401)):
            headers = {"Upload-Length": str(length), "X-Api-Key": key}
            async with http.put(f"/packages/{'a' * 64}?offset=0", data=endless(), headers=headers) as response:
                assert response.status == status
        async with http.post("/applications/shop/promote", data=endless()) as response:
            assert response.status == 200
        assert sum(part.stat().st_size for part in deployer.store.incoming.iterdir()) <= 1_000_000


async def test_a_deploy_streams_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256, content = package()
    monkeypatch.setattr(applications, "STILL_THERE_S", 0.01)
    async with session(tmp_path, deployer := Recorder(tmp_path)) as http:
        path = f"/applications/shop/deploy?package={sha256}"
        async with http.post(path) as response:
            assert (response.status, "upload it first" in await response.text()) == (404, True)
        await put(http, sha256, 0, content, len(content))
        async with http.post(f"{path}&canary=12.5") as response:
            assert json.loads(await response.content.readline())["step"] == "checking"
            assert await response.content.readline() == b"\n"  # it still works
            deployer.go.set()
            lines = [json.loads(line) async for line in response.content if line.strip()]
        assert [line.get("step") for line in lines] == ["switching", None]
        assert (lines[1]["ok"], lines[1]["version"], lines[1]["before"]) == (True, 7, 6)
        assert deployer.asked == [("deploy", "shop", sha256, "ci", 12.5)]
        for canary in ("0", "100", "nan", "x", "-1", "inf"):
            async with http.post(f"{path}&canary={canary}") as response:
                assert response.status == 400


CHANGES = (
    ("POST", "/rollback"),
    ("POST", "/rollback?version=3"),
    ("POST", "/rollback?version=stable"),
    ("POST", "/promote"),
    ("POST", "/abort?reason=slow"),
    ("POST", "/remove"),
    ("PUT", "/aliases/old?version=4"),
    ("DELETE", "/aliases/old"),
)


async def test_a_key_of_one_application_changes_no_other(tmp_path: Path) -> None:
    sha256, content = package()
    async with session(tmp_path, deployer := Recorder(tmp_path), "shop", "stall") as http:
        deployer.go.set()
        deployer.status = tuple(ApplicationStatus(name=name, releases=()) for name in ("shop", "other", "stall"))
        assert (await put(http, sha256, 0, content, len(content)))[0] == 201
        told = "the deploy key ci is for shop, stall, not for 'other': use its own key"
        for method, path in (("POST", f"/deploy?package={sha256}"), *CHANGES):
            async with http.request(method, f"/applications/other{path}") as response:
                assert (response.status, (await response.text()).startswith(told)) == (403, True)
        async with http.get("/applications?for=other") as response:
            assert (response.status, (await response.text()).startswith(told)) == (403, True)
        assert deployer.asked == []
        for query in ("", "?for=shop"):
            async with http.get(f"/applications{query}") as response:
                assert [one["name"] for one in await response.json()] == ["shop", "stall"]
        async with http.post(f"/applications/stall/deploy?package={sha256}") as response:
            assert json.loads((await response.text()).splitlines()[-1])["ok"]
        assert deployer.asked == [("deploy", "stall", sha256, "ci", 0)]


async def test_what_else_is_asked_of_it(tmp_path: Path) -> None:
    async with session(tmp_path, deployer := Recorder(tmp_path)) as http:
        deployer.status = (ApplicationStatus(name="shop", releases=(), live=6, aliases={"stable": 5}),)
        async with http.get("/applications") as response:
            assert (await response.json())[0]["aliases"] == {"stable": 5}
        for method, path in CHANGES:
            async with http.request(method, f"/applications/shop{path}") as response:
                assert (response.status, json.loads(await response.text())["ok"]) == (200, True)
        assert deployer.asked == [
            ("rollback", "shop", None, "ci"),
            ("rollback", "shop", 3, "ci"),
            ("rollback", "shop", 5, "ci"),
            ("promote", "shop", "ci"),
            ("abort", "shop", "ci", "slow"),
            ("remove", "shop", "ci"),
            ("alias", "shop", "old", 4),
            ("alias", "shop", "old", None),
        ]
        async with http.post("/applications/shop/rollback?version=stabel") as response:
            text = "'stabel' is neither a version nor an alias of shop: its aliases are stable\n"
            assert (response.status, await response.text()) == (400, text)
        for name in ("..%2F..%2Fetc", "%2e%2e", "A", "a" * 64, "a%00"):
            async with http.post(f"/applications/{name}/remove") as response:
                assert response.status in (400, 404)
        assert len(deployer.asked) == 8


async def test_on_the_control_socket_the_user_deploys_without_a_key(tmp_path: Path) -> None:
    deployer = Recorder(tmp_path)
    async with serving(tmp_path, deployer=deployer) as asked:
        assert (await asked.post("/applications/shop/promote"))[0] == 200
    assert deployer.asked == [("promote", "shop", getpass.getuser())]
