"""The two objects that aiohttp passes around for one request, cut down to what its connection loop touches.

Building aiohttp's own request and response costs about as much as everything else between the socket and the handler
together, and nothing here reads what they prepare.
"""

from asyncio import Task
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

if TYPE_CHECKING:
    from triggers.http.connection import Connection


class Request(web.BaseRequest):
    """What the parser said, the body still to be read, and the connection it came in on."""

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        connection: "Connection",
        writer: AbstractStreamWriter,
        task: "Task[None]",
    ) -> None:
        # The base class is not initialised on purpose: of its fields, these two are all that aiohttp's loop uses.
        self._payload = payload
        self._task = task
        self.parsed = message
        self.payload = payload
        self.connection = connection
        self.drain = writer.drain


class Sent(web.StreamResponse):
    """An answer that is already written; all that is left to tell aiohttp is whether another request may follow."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


NEXT = Sent(keep_alive=True)
LAST = Sent(keep_alive=False)
