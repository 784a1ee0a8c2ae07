"""examples/photos does what it says, on either store: an upload becomes a thumbnail, and a timer prunes."""

import contextlib
import io
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
from PIL import Image

from tests.kit.application import open_folder
from tests.kit.installed import ROOT
from tests.kit.served import Reply, Server, eventually, serving
from tests.kit.support import copy_readable, until

pytestmark = pytest.mark.any_user
EXAMPLE = ROOT / "examples/photos"
SAMPLE = (EXAMPLE / "sample.jpg").read_bytes()
BROWSER = {"Accept": "text/html,*/*;q=0.8"}


@pytest.fixture(params=["sqlite", "rabbitmq"])
def bus_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("amqp_url")) if request.param == "rabbitmq" else "sqlite:"


@contextlib.asynccontextmanager
async def gallery(bus_url: str, **variables: str) -> AsyncIterator[Server]:
    """The example as it is, with an empty album."""
    with open_folder() as folder:
        environment = {"FORKLIGHT_BUS_URL": bus_url} | variables
        async with serving(folder, str(EXAMPLE), "--listen", "127.0.0.1:0", **environment) as server:
            yield server


async def test_an_upload_becomes_a_thumbnail(bus_url: str) -> None:
    async with gallery(bus_url) as server:
        assert "No photos yet" in await page(server)
        uploaded = await upload(server, SAMPLE)
        assert uploaded.status == 201
        photo = uploaded.json()["photo"]
        assert await listed(server) == [photo]
        original = await server.get(uploaded.headers["Location"])
        assert (original.headers["Content-Type"], original.body) == ("image/jpeg", SAMPLE)

        thumbnail = await wait_thumbnail(server, photo)
        assert thumbnail.headers["Content-Type"] == "image/webp"
        with Image.open(io.BytesIO(thumbnail.body)) as picture:
            assert (picture.format, picture.size) == ("WEBP", (480, 360))
        assert "pending" not in await tiles(server)


async def test_the_page_has_a_form(bus_url: str) -> None:
    async with gallery(bus_url) as server:
        sent = await upload_by_form(server, SAMPLE, SAMPLE[:15_000])
        assert [(one.status, one.headers["Location"]) for one in sent] == [(303, "/")] * 2
        broken, whole = await listed(server)
        for photo in (whole, broken):
            await wait_thumbnail(server, photo)
        [refused] = await until(lambda: server.entries(function="thumbnail", outcome="error/Rejected"))
        assert f"{broken}.jpeg cannot be unpacked: image file is truncated" in refused["text"]


async def test_what_is_no_picture_is_refused() -> None:
    async with gallery("sqlite:") as server:
        refused = await upload(server, b"<svg/>")
        assert (refused.status, refused.json()["error"][:31]) == (415, "This is not a picture that can ")
        assert (await upload(server, vast())).json()["error"].startswith("10000 by 10000 pixels are too many")
        assert (await upload(server, bytes(13 << 20))).status == 413
        [shown] = await upload_by_form(server, b"<svg/>")
        assert (shown.status, b"This is not a picture" in shown.body) == (415, True)
        assert await listed(server) == []
        for kind in ("photos", "thumbnails"):
            for strange in ("0", "00000000000000000000", "*"):
                assert (await server.get(f"/{kind}/{strange}")).status == 404
            assert (await server.get(f"/{kind}/%2e%2e%2freport")).status == 400


async def test_the_oldest_are_pruned(bus_url: str) -> None:
    async with gallery(bus_url, KEEP_PHOTOS="2") as server:
        photos = [(await upload(server, SAMPLE)).json()["photo"] for _ in range(3)]
        for photo in photos:
            await wait_thumbnail(server, photo)
        assert "No report yet" in await page(server)
        pruned = await server.run("invoke", "prune", "--timer", "-c", str(EXAMPLE))
        assert (pruned.status, pruned.stderr) == (0, "")
        assert await listed(server) == photos[:0:-1]
        assert [(await server.get(f"/thumbnails/{photo}")).status for photo in photos] == [404, 200, 200]
        assert "2 photos of 0.1 MB, 1 pruned." in await page(server)


async def test_it_can_be_deployed_to_an_empty_server_and_get_a_function_of_nodejs() -> None:
    with open_folder() as folder:
        copy = copy_readable(EXAMPLE, folder / "photos")
        async with serving(folder, "--state", str(folder / "state")) as server:
            first = await server.run("deploy", "photos")
            assert first.stdout.splitlines()[0].startswith("photos: version 1 serves: added "), first.stderr
            photo = (await upload(server, SAMPLE)).json()["photo"]
            await wait_thumbnail(server, photo)
            with (copy / "forklight.toml").open("a") as toml:
                toml.write((copy / "listing.toml").read_text())
            second = await server.run("deploy", "photos")
            assert second.stdout.startswith("photos: version 2 serves, before it version 1: added listing\n"), (
                second.stderr
            )
            [listed] = (await server.get("/photos")).json()
            wanted = {"photo": photo, "bytes": len(SAMPLE), "thumbnail": f"/thumbnails/{photo}"}
            assert wanted.items() <= listed.items()
            back = await server.run("rollback", "--name", "photos")
            assert (back.status, (await server.get("/photos")).status) == (0, 405)
            assert (await wait_thumbnail(server, photo)).status == 200


async def upload(server: Server, body: bytes) -> Reply:
    return await server.request("POST", "/photos", data=io.BytesIO(body), headers={"Content-Type": "image/jpeg"})


async def upload_by_form(server: Server, *bodies: bytes) -> list[Reply]:
    """One after the other, as a browser does it that does not go where it is sent."""
    replies = []
    for body in bodies:
        form = aiohttp.FormData()
        form.add_field("photo", body, filename="../of me.jpg", content_type="image/jpeg")
        replies.append(await server.request("POST", "/photos", data=form, headers=BROWSER, allow_redirects=False))
    return replies


async def wait_thumbnail(server: Server, photo: str) -> Reply:
    async def is_there() -> bool:
        return (await server.get(f"/thumbnails/{photo}")).status == 200

    await eventually(is_there)
    return await server.get(f"/thumbnails/{photo}")


async def page(server: Server) -> str:
    return (await server.get("/")).body.decode()


async def tiles(server: Server) -> str:
    """What the page has between its header and its footer."""
    return (await page(server)).partition("<main>")[2].partition("</main>")[0]


async def listed(server: Server) -> list[str]:
    """The photos on disk, as the page has them: newest first. One that is pending has no link."""
    names = [path.stem for path in (server.state / "data/originals").glob("*.jpeg")]
    assert len(re.findall("<li>", await tiles(server))) == len(names)
    return sorted(names, reverse=True)


def vast() -> bytes:
    """A small file of a large picture."""
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    return file.getvalue()
