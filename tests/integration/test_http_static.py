"""Static files: which are served, which are not, and that large ones arrive whole."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.kit.http_server import LAST, Reply, Running, request, running
from tests.kit.support import until
from triggers.http import HttpSettings, Route, RouteError, RouteTable, StaticRoute
from triggers.http.files.static import SMALL_BYTES
from triggers.http.routes import Match, StaticMatch

pytestmark = pytest.mark.any_user

LARGE = random.Random(7).randbytes(3 * SMALL_BYTES + 17)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    public = tmp_path / "public"
    (public / "sub").mkdir(parents=True)
    (public / "hello.txt").write_text("hello file\n")
    (public / "index.html").write_text("<p>top")
    (public / "sub/index.html").write_text("<p>below")
    (public / "large.bin").write_bytes(LARGE)
    (public / "empty").touch()
    (public / ".env").write_text("hidden")
    (tmp_path / "secret.txt").write_text("secret")
    return public


async def ask(house: Running, target: str, headers: str = "", method: str = "GET") -> Reply:
    async with house.connect() as client:
        client.writer.write(request(target, method, headers))
        return await client.reply(method)


def table(folder: Path, *routes: Route, path: str = "/assets") -> RouteTable:
    return RouteTable(routes, [StaticRoute(path=path, dir=folder)])


async def test_a_file_and_its_headers(folder: Path) -> None:
    os.utime(folder / "hello.txt", ns=(0, 1_795_460_760_123_456_789))
    async with running(static=[StaticRoute(path="/assets", dir=folder, max_age_s=3600)]) as house:
        reply = await ask(house, "/assets/hello.txt")
        assert (reply.status, reply.body) == (200, b"hello file\n")
        assert reply["content-type"] == "text/plain; charset=utf-8"
        assert reply["last-modified"] == "Mon, 23 Nov 2026 19:06:00 GMT"
        assert (reply["cache-control"], reply["accept-ranges"]) == ("max-age=3600", "bytes")
        assert reply["x-content-type-options"] == "nosniff"
        known = await ask(house, "/assets/hello.txt", f"If-None-Match: {reply['etag']}\r\n")
        assert (known.status, known.body, known["etag"]) == (304, b"", reply["etag"])
        os.utime(folder / "hello.txt")
        assert (await ask(house, "/assets/hello.txt", f"If-None-Match: {reply['etag']}\r\n")).status == 200
        assert house.functions.events == []


async def test_conditions_and_head(folder: Path) -> None:
    async with running(static=[StaticRoute(path="/assets", dir=folder)]) as house:
        known = await ask(house, "/assets/hello.txt")
        other = await ask(house, "/assets/hello.txt", 'If-Match: "other"\r\n')
        assert (other.status, other["etag"]) == (412, known["etag"])
        old = "If-Unmodified-Since: Mon, 23 Nov 1998 19:06:00 GMT\r\n"
        assert (await ask(house, "/assets/hello.txt", old)).status == 412
        assert (await ask(house, "/assets/hello.txt", f"If-Match: {known['etag']}\r\n")).status == 200
        for target, length in (("hello.txt", "11"), ("large.bin", str(len(LARGE))), ("empty", "0")):
            head = await ask(house, f"/assets/{target}", "Range: bytes=0-3\r\n", "HEAD")
            assert (head.status, head["content-length"], "content-range" in head) == (200, length, False)


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/assets/", 200, b"<p>top"),
        ("/assets/sub/", 200, b"<p>below"),
        ("/assets/%68ello.txt", 200, b"hello file\n"),
        ("/assets/sub%2Findex.html", 200, b"<p>below"),
        ("/assets/empty", 200, b""),
        ("/assets/within", 200, b"hello file\n"),
        ("/assets/none.txt", 404, None),
        ("/assets/.env", 404, None),
        ("/assets/hidden", 404, None),
        ("/assets/out", 404, None),
        ("/assets/up/secret.txt", 404, None),
        ("/assets/fifo", 404, None),
        ("/assets/hello.txt/", 404, None),
        ("/assets//hello.txt", 404, None),
        ("/assets/" + "x" * 300, 404, None),
        ("/assets/../secret.txt", 400, None),
        ("/assets/%2e%2e/secret.txt", 400, None),
        ("/assets/..%2Fsecret.txt", 400, None),
        ("/assets/a%00", 400, None),
    ],
)
async def test_which_files_are_served(folder: Path, target: str, status: int, body: bytes | None) -> None:
    (folder / "within").symlink_to("hello.txt")
    (folder / "hidden").symlink_to(".env")
    (folder / "out").symlink_to(folder.parent / "secret.txt")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "fifo")
    async with running(static=[StaticRoute(path="/assets", dir=folder)]) as house:
        reply = await ask(house, target)
        assert reply.status == status
        assert body is None or reply.body == body
        assert b"secret" not in reply.body


async def test_a_folder_without_a_slash_is_redirected(folder: Path) -> None:
    async with running(static=[StaticRoute(path="/assets", dir=folder)]) as house:
        for target, location in [("/assets?a=1", "/assets/?a=1"), ("/assets/sub", "/assets/sub/")]:
            reply = await ask(house, target)
            assert (reply.status, reply["location"]) == (308, location)


async def test_a_redirect_never_leads_to_another_host(folder: Path) -> None:
    async with running(static=[StaticRoute(path="/", dir=folder)]) as house:
        assert (await ask(house, "//example.org/..")).status == 400
        assert (await ask(house, "/sub"))["location"] == "/sub/"
        assert (await ask(house, "//sub")).status == 404


async def test_ranges(folder: Path) -> None:
    async with running(static=[StaticRoute(path="/assets", dir=folder)]) as house:
        reply = await ask(house, "/assets/hello.txt", "Range: bytes=6-9\r\n")
        assert (reply.status, reply.body, reply["content-range"]) == (206, b"file", "bytes 6-9/11")
        reply = await ask(house, "/assets/large.bin", f"Range: bytes=5-{len(LARGE) - 3}\r\n")
        assert (reply.status, reply.body) == (206, LARGE[5:-2])
        reply = await ask(house, "/assets/hello.txt", "Range: bytes=11-\r\n")
        assert (reply.status, reply["content-range"]) == (416, "bytes */11")


async def test_large_files_on_a_connection_that_goes_on(folder: Path) -> None:
    async with running(static=[StaticRoute(path="/assets", dir=folder)]) as house, house.connect() as client:
        client.writer.write(request("/assets/large.bin", "HEAD") + request("/assets/large.bin") * 2 + LAST)
        head = await client.reply("HEAD")
        assert (head.status, head["content-length"]) == (200, str(len(LARGE)))
        assert [(await client.reply()).body == LARGE for _ in range(2)] == [True, True]
        assert (await client.reply()).status == 200


def open_files(folder: Path) -> list[str]:
    """The open descriptors of this process below the folder."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
    return [path for path in found if path.startswith(str(folder))]


async def test_no_file_stays_open_when_clients_leave(folder: Path) -> None:
    with (folder / "huge.bin").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    async with running(static=[StaticRoute(path="/assets", dir=folder)]) as house:
        async with house.connect() as client:
            client.writer.write(request("/assets/huge.bin"))
            await client.reader.readexactly(1024)
            assert open_files(folder) != []
            client.writer.transport.abort()
        await house.server.wait_unconnected()
        await until(lambda: not open_files(folder))
        assert (await ask(house, "/assets/huge.bin", method="HEAD")).status == 200
        assert (await ask(house, "/assets/huge.bin", "If-None-Match: *\r\n")).status == 304
        await until(lambda: not open_files(folder))


async def test_a_client_that_does_not_read_is_cut_off(folder: Path) -> None:
    with (folder / "huge.bin").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    settings = HttpSettings(listen="127.0.0.1:0", write_timeout_s=0.2, static=(StaticRoute(path="/a", dir=folder),))
    async with running(settings=settings) as house, house.connect() as client:
        client.writer.write(request("/a/huge.bin"))
        await client.reader.readexactly(1)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await house.server.wait_unconnected()
        await until(lambda: not open_files(folder))


async def test_a_file_truncated_while_it_is_sent_aborts_the_connection(folder: Path) -> None:
    with (folder / "huge.bin").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    async with running(static=[StaticRoute(path="/assets", dir=folder)]) as house, house.connect() as client:
        client.writer.write(request("/assets/huge.bin"))
        await client.reader.readexactly(1)
        os.truncate(folder / "huge.bin", 0)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(64 * 1024 * 1024)


def test_the_most_specific_wins_and_a_function_over_files(folder: Path) -> None:
    every = tuple(
        Route(function=path, path=path, methods=("GET", "POST")) for path in ("/assets/api", "/{rest:path}", "/pub/")
    )
    routes = table(folder, *every)
    for method, path, function in [
        ("GET", "/assets/api", "/assets/api"),
        ("GET", "/other", "/{rest:path}"),
        ("POST", "/assets/x", "/{rest:path}"),
    ]:
        found = routes.find(method, path)
        assert isinstance(found, Match)
        assert found.route.function == function
    found = routes.find("HEAD", "/assets/x/y")
    assert isinstance(found, StaticMatch)
    assert found.rest == "x/y"
    same = table(folder, Route(function="f", path="/assets/{rest:path}"), Route(function="f", path="/assets"))
    assert isinstance(same.find("GET", "/assets/x"), Match)
    assert isinstance(same.find("GET", "/assets"), Match)


def test_invalid_folders(folder: Path) -> None:
    with pytest.raises(RouteError, match="parameters"):
        table(folder, path="/{x}/y")
    with pytest.raises(RouteError, match="two folders"):
        RouteTable((), [StaticRoute(path="/a", dir=folder), StaticRoute(path="/a/", dir=folder)])


async def test_other_methods_get_a_405(folder: Path) -> None:
    async with running(static=[StaticRoute(path="/assets", dir=folder)]) as house:
        reply = await ask(house, "/assets/hello.txt", method="POST")
        assert (reply.status, reply["allow"]) == (405, "GET, HEAD, OPTIONS")
