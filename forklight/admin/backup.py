"""`GET /backup`: a copy of the embedded store, made while the server works. Only on the control socket."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import anyio
from aiohttp import web

from bus.sqlite import SqliteStore

_CHUNK_BYTES = 1024 * 1024


class Backup:
    """Makes one copy at a time, because it lies beside the store until it is sent."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._copying = anyio.Lock()

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/backup", self._send)]

    async def _send(self, request: web.Request) -> web.StreamResponse:
        path = self._store.path.with_name("backup.tmp")
        async with self._copying:
            _remove(path)  # what a killed predecessor left
            try:
                await self._store.copy(path)
                return await _stream(request, path)
            finally:
                _remove(path)


async def _stream(request: web.Request, path: Path) -> web.StreamResponse:
    async with await anyio.open_file(path, "rb") as file:
        response = web.StreamResponse(headers={"Content-Type": "application/vnd.sqlite3"})
        response.content_length = await file.seek(0, 2)
        await file.seek(0)
        await response.prepare(request)
        while chunk := await file.read(_CHUNK_BYTES):
            await response.write(chunk)
        await response.write_eof()
    return response


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
