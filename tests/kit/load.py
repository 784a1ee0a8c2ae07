"""A small load client: connections that send one request after the other, and a ledger of what came of each."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from tests.kit.support import until

LIMIT_S = 30.0


class Load:
    """GETs `path`. `answers` counts statuses; `broken` are requests that were sent and got no whole answer."""

    def __init__(self, url: str, path: str, *, keep_alive: bool = True) -> None:
        parts = urlsplit(url)
        self.answers: Counter[int] = Counter()
        self.broken: list[str] = []
        self.refused = 0
        self._address = (parts.hostname, parts.port)
        self._keep_alive = keep_alive
        connection = "keep-alive" if keep_alive else "close"
        self._request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: {connection}\r\n\r\n".encode()
        self._stopped = False

    @property
    def total(self) -> int:
        """All answers so far."""
        return sum(self.answers.values())

    async def answer(self, more: int) -> None:
        """Until there are so many answers more than now."""
        goal = self.total + more
        await until(lambda: self.total >= goal)

    def stop(self) -> None:
        """Each connection ends after the answer it waits for."""
        self._stopped = True

    @contextlib.asynccontextmanager
    async def on(self, connections: int) -> AsyncIterator["Load"]:
        """Load from so many connections at once; the end of the block waits for the last answers."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(self._client())
            try:
                yield self
            finally:
                self.stop()

    async def _client(self) -> None:
        """Connect again and again, until stopped or until nobody listens any more."""
        while not self._stopped:
            try:
                reader, writer = await asyncio.open_connection(*self._address)
            except ConnectionRefusedError:
                self.refused += 1
                return
            try:
                await self._requests(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_open = True
        while is_open and not self._stopped:
            try:
                async with asyncio.timeout(LIMIT_S):
                    writer.write(self._request)
                    is_open = await self._answer(reader)
            except (ConnectionError, EOFError, TimeoutError) as error:
                self.broken.append(repr(error))
                return

    async def _answer(self, reader: asyncio.StreamReader) -> bool:
        """Read one whole answer; whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await reader.readexactly(int(fields.get("content-length", "0")))
        self.answers[int(head.split()[1])] += 1
        return self._keep_alive and fields.get("connection") != "close"
