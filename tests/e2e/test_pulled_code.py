"""Code from elsewhere: pulled ahead or by the first event; a mirror that fails says so and ends nothing that runs."""

import asyncio
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.kit.application import application
from tests.kit.mirror import Mirror, running_mirror
from tests.kit.served import LIMIT_S, Server, serving, started
from tests.kit.support import until
from tests.kit.zips import make_zip

LISTEN = ("--listen", "127.0.0.1:0")


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with running_mirror(tmp_path) as mirror:
        yield mirror


def put(mirror: Mirror, path: str, answer: str) -> str:
    """Have the mirror give a zip with a function that answers this; its hash."""
    content = make_zip(("remote.py", f"def handler(event):\n    return {answer!r}\n".encode()))
    mirror.files[path] = content
    return sha256(content).hexdigest()


def toml(mirror: Mirror, **functions: tuple[str, str, str]) -> str:
    """A configuration of functions by (path, hash, pull)."""
    text = ""
    for name, (path, digest, pull) in functions.items():
        text += f'[functions.{name}]\nhandler = "remote:handler"\nhttp = "/{name}"\n'
        text += f'[functions.{name}.code]\nurl = "{mirror.url}{path}"\nsha256 = "{digest}"\npull = "{pull}"\n'
        text += 'headers = { Authorization = { env = "TOKEN", prefix = "Bearer " }, Accept = "application/zip" }\n'
    return text


async def asked(server: Server, path: str) -> tuple[int, str]:
    reply = await server.get(path)
    return reply.status, reply.body.decode()


async def test_code_from_a_mirror(mirror: Mirror) -> None:
    one, later = put(mirror, "/app.zip", "one"), put(mirror, "/later.zip", "later")
    served = {"now": ("/app.zip", one, "ahead"), "later": ("/later.zip", later, "first")}
    with application(toml(mirror, **served)) as folder:
        variables = {"SSL_CERT_FILE": str(mirror.certificate), "TOKEN": "s3cret"}
        async with serving(folder, *LISTEN, **variables) as server:
            assert await asked(server, "/now") == (200, "one")
            assert [path for path, _ in mirror.requests] == ["/app.zip"], "the other waits for its first event"
            headers = mirror.requests[0][1]
            assert (headers["authorization"], headers["accept"]) == ("Bearer s3cret", "application/zip")
            version = (await server.status("later"))["version"]
            assert await asked(server, "/later") == (200, "later")
            assert [path for path, _ in mirror.requests] == ["/app.zip", "/later.zip"]
            assert (await server.status("later"))["version"] == version

            two, three = put(mirror, "/two.zip", "two"), put(mirror, "/three.zip", "three")
            del mirror.files["/two.zip"]
            (folder / "forklight.toml").write_text(toml(mirror, **served | {"now": ("/two.zip", two, "ahead")}))
            done = await server.run("reload")
            assert done.status == 2
            place = f"forklight.toml:4 functions.now.code: {mirror.url}/two.zip cannot be pulled"
            assert f"{place}: the server answers 404 Not Found: check the url" in done.stderr
            served["later"] = ("/none.zip", three, "first")
            (folder / "forklight.toml").write_text(toml(mirror, **served))
            done = await server.run("reload")
            assert done.status == 1
            assert (
                f"later: load/PullFailed: the code cannot be had: {mirror.url}/none.zip cannot be pulled" in done.stderr
            )
            assert await asked(server, "/now") == (200, "one")
            assert await asked(server, "/later") == (200, "later")

            served |= {"now": ("/two.zip", two, "ahead"), "later": ("/three.zip", three, "first")}
            served["new"] = ("/none.zip", "0" * 64, "first")
            put(mirror, "/two.zip", "two")
            (folder / "forklight.toml").write_text(toml(mirror, **served))
            done = await server.run("reload")
            assert (done.status, done.stderr) == (0, "")
            assert [await asked(server, path) for path in ("/now", "/later")] == [(200, "two"), (200, "three")]
            assert (await asked(server, "/new"))[0] == 502
            await until(lambda: f"the code cannot be had: {mirror.url}/none.zip cannot be pulled" in server.log)
            assert (await server.status("now"))["stale"] is False


async def test_a_start_that_waits_for_a_mirror_can_be_ended(mirror: Mirror) -> None:
    put(mirror, "/app.zip", "one")
    mirror.statuses = [503] * 100
    text = toml(mirror, now=("/app.zip", "0" * 64, "ahead")).replace('{ env = "TOKEN", prefix = "Bearer " }', '"x"')
    with application(text) as folder:
        async with started("serve", *LISTEN, cwd=folder, SSL_CERT_FILE=str(mirror.certificate)) as process:
            await asyncio.to_thread(mirror.was_asked.wait, LIMIT_S)
            process.terminate()
            _, said = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 0, said
