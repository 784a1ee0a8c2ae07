"""Bodies as clients really send them: packed, in old charsets, called what they are not, and large."""

import gzip
import io
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.kit.application import application
from tests.kit.served import serving

pytestmark = pytest.mark.any_user

FORM = "application/x-www-form-urlencoded"
SEEN = """
def handler(event):
    return {"data": event["data"] if event["data"] != event["body"] else None, "bytes": len(event["body"])}


def upload(event):
    return {"fields": event["data"]["fields"], "files": [len(file["body"]) for file in event["data"]["files"]]}
"""
TOML = """
[functions.seen]
handler = "seen:handler"
http = "/seen"

[[functions.upload.http]]
path = "/upload"
max_body = "70MiB"

[functions.upload]
handler = "seen:upload"
"""


async def test_bodies_that_are_packed() -> None:
    packed = gzip.compress(b'{"a": 1}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    async def pieces() -> AsyncIterator[bytes]:
        for byte in packed:
            yield bytes([byte])

    with application(TOML, seen=SEEN) as folder:
        async with serving(folder) as server:
            whole = await server.request("POST", "/seen", data=packed, headers=headers)
            chunked = await server.request("POST", "/seen", data=pieces(), headers=headers)
            cut = await server.request("POST", "/seen", data=packed[:-1], headers=headers)
            bomb = await server.request("POST", "/seen", data=gzip.compress(bytes(10**8)), headers=headers)
            other = await server.request("POST", "/seen", data=b"x", headers=headers | {"Content-Encoding": "br"})
    assert (whole.status, whole.json()) == (200, {"data": {"a": 1}, "bytes": len(packed)})
    assert chunked.json() == whole.json()
    assert (cut.status, cut.json()["code"]) == (400, "Undecodable")
    assert (bomb.status, bomb.json()["code"]) == (413, "BodyTooLarge")
    assert (other.status, other.headers["Accept-Encoding"]) == (415, "gzip, deflate")


async def test_forms_reach_the_handler_whatever_they_are() -> None:
    photo = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
    with application(TOML, seen=SEEN) as folder:
        async with serving(folder) as server:
            pay = b"name=Garc%EDa&charset=windows-1252"
            paid = await server.request("POST", "/seen", data=pay, headers={"Content-Type": FORM})
            sent = await server.request("POST", "/seen", data=photo, headers={"Content-Type": FORM})
    assert paid.json()["data"] == {"name": "García", "charset": "windows-1252"}
    assert (sent.status, sent.json()["bytes"]) == (200, len(photo))


async def test_an_upload_of_64_mib_fits_the_memory_that_a_function_has_by_default() -> None:
    form = aiohttp.FormData()
    form.add_field("title", "año", content_type="text/plain; charset=latin-1")
    form.add_field(
        "file", io.BytesIO(bytes(64 * 1024 * 1024)), filename="zeros", content_type="application/octet-stream"
    )
    with application(TOML, seen=SEEN) as folder:
        async with serving(folder) as server:
            answer = await server.request("POST", "/upload", data=form)
    assert (answer.status, answer.json()) == (200, {"fields": {"title": "año"}, "files": [64 * 1024 * 1024]})
