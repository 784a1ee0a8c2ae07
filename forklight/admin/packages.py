"""Packages over the API: `HEAD`, `GET` and `PUT /packages/SHA256`. On the control socket, and with a deploy key on TCP.

An upload is any number of PUTs, each with the bytes from `?offset=` on and the whole size in `Upload-Length`. What
arrived stays, however a request ends, and `Upload-Offset` in an answer says where to go on: in that of a HEAD (404), of
a PUT, and of one that began elsewhere (409). The package is there when its last byte has arrived and its hash is right
(201).
"""

from collections.abc import Iterable

import anyio.to_thread
from aiohttp import web

from forklight.admin.answers import OFFSET, Refused
from forklight.admin.letters import number
from forklight.packages.errors import PackageRefused, PackageTooLarge
from forklight.packages.store import PackageStore

LENGTH = "Upload-Length"
_CHUNK_BYTES = 256 * 1024
_MOST_BYTES = 1 << 40
_PATH = "/packages/{sha256:[0-9a-f]{64}}"


class Packages:
    """Serves the store. Uploads of one package at the same time write the same bytes, or are told where to go on."""

    def __init__(self, store: PackageStore) -> None:
        self._store = store

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.head(_PATH, self._look),
            web.get(_PATH, self._send, allow_head=False),
            web.put(_PATH, self._receive),
        ]

    async def _look(self, request: web.Request) -> web.Response:
        sha256 = request.match_info["sha256"]
        if await anyio.to_thread.run_sync(self._store.has, sha256):
            return web.Response()
        received = await anyio.to_thread.run_sync(self._store.received, sha256)
        return web.Response(status=404, headers={OFFSET: str(received)})

    async def _send(self, request: web.Request) -> web.StreamResponse:
        """Send the package, or the part of it that a Range asks for."""
        sha256 = request.match_info["sha256"]
        if not await anyio.to_thread.run_sync(self._store.has, sha256):
            raise Refused(404, f"the package {sha256[:12]} is not here")
        return web.FileResponse(self._store.path(sha256), headers={"Content-Type": "application/zip"})

    async def _receive(self, request: web.Request) -> web.Response:
        sha256 = request.match_info["sha256"]
        length, at = _length(request), number(request, "offset", 0, most=_MOST_BYTES)
        if await anyio.to_thread.run_sync(self._store.has, sha256):
            return web.Response(status=201)
        if length > (most := self._store.bounds.package_bytes):
            raise PackageTooLarge(_too_large(length, most))
        if at > length:
            raise Refused(400, f"offset={at} is behind the end, at {length}")
        await anyio.to_thread.run_sync(self._store.expect, sha256, length)
        async for chunk in request.content.iter_chunked(_CHUNK_BYTES):
            if at + len(chunk) > length:
                raise PackageRefused(f"there are more bytes than the {length} that {LENGTH} says")
            at = await anyio.to_thread.run_sync(self._store.append, sha256, at, chunk)
        if at < length:
            return web.Response(status=202, headers={OFFSET: str(at)})
        await anyio.to_thread.run_sync(self._store.finish, sha256)
        return web.Response(status=201)


def _length(request: web.Request) -> int:
    text = request.headers.get(LENGTH, "")
    if not (text.isascii() and text.isdecimal() and int(text[:15]) > 0 and len(text) < 15):
        raise Refused(400, f"{LENGTH} is missing or no number of bytes: it is the size of the whole package")
    return int(text)


def _too_large(length: int, most: int) -> str:
    remedy = "leave files out (.forklightignore), or raise max_package in [deploy] of the server"
    return f"the package has {length / 1e6:.1f} MB, and the server takes {most / 1e6:.1f} MB: {remedy}"
