"""A real http trigger on loopback, a target in place of the dispatcher, and a client that sends bytes."""

import asyncio
from asyncio import CancelledError, IncompleteReadError, StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

from bus.bus import Bus
from bus.event import Event
from bus.invocation import HttpVerdict, Invocation
from bus.outcome import Ok, Outcome
from tests.kit.targets import Awaiting
from triggers.http import HttpSettings, Route, RouteTable, StaticRoute
from triggers.http.server import HttpServer

Handle = Callable[[Event], Awaitable[Outcome]]


async def echo(event: Event) -> Outcome:
    return Ok(body=event.body, content_type="text/plain")


class Functions(Awaiting):
    """The target: every function is `handle`. Remembers the events that were called and withdrawn."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.events: list[Event] = []
        self.withdrawn: list[Event] = []
        self.called = asyncio.Event()

    async def call(self, event: Event) -> Outcome:
        self.events.append(event)
        self.called.set()
        try:
            return await self._handle(event)
        except CancelledError:
            self.withdrawn.append(event)
            raise


@dataclass
class Running:
    bus: Bus
    server: HttpServer
    functions: Functions
    log: list[tuple[Event, Outcome | None, int]] = field(default_factory=list)
    logged: asyncio.Event = field(default_factory=asyncio.Event)
    record: list[HttpVerdict] = field(default_factory=list)
    """of every request, also of those that became no event"""

    def report(self, invocation: Invocation) -> None:
        event, outcome, verdict = invocation.event, invocation.outcome, invocation.verdict
        assert isinstance(verdict, HttpVerdict)
        self.record.append(verdict)
        if event is not None:
            self.log.append((event, outcome, verdict.status))
        self.logged.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["Client"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, limit=16 * 1024 * 1024)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()

    async def talk(self, data: bytes) -> list["Reply"]:
        """Send `data`, half-close, and return every answer until the server closes."""
        async with self.connect() as client:
            client.writer.write(data)
            return await client.replies()


ROUTES = (
    Route(function="echo", path="/echo"),
    Route(function="echo", path="/only-get", methods=("GET",)),
    Route(function="small", path="/small", max_body_bytes=16),
)


@asynccontextmanager
async def running(
    handle: Handle = echo,
    routes: tuple[Route, ...] = ROUTES,
    settings: HttpSettings | None = None,
    given: socket | None = None,
    *,
    static: Sequence[StaticRoute] = (),
    keys: Path | None = None,
    dev: bool = False,
) -> AsyncIterator[Running]:
    bus = Bus()
    functions = Functions(handle)
    bus.attach(functions)
    settings = settings or HttpSettings(listen="127.0.0.1:0", static=tuple(static))
    server = HttpServer(bus, RouteTable(routes, settings.static), settings, given=given, keys=keys, dev=dev)
    house = Running(bus, server, functions)
    bus.subscribe(house.report)
    async with server.run():
        yield house


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.headers)


@dataclass
class Client:
    reader: StreamReader
    writer: StreamWriter

    async def reply(self, method: str = "GET") -> Reply:
        """Return the next answer. Raises IncompleteReadError if the server closes instead."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in head[1:] if line)]
        length = int(dict(headers).get("content-length", "0"))
        status = int(head[0].split(" ")[1])
        body = b"" if method == "HEAD" else await self.reader.readexactly(length)
        return Reply(status, headers, body)

    async def replies(self) -> list[Reply]:
        """Return every answer until the server closes, which must be after a complete one."""
        found = []
        while not self.reader.at_eof():
            try:
                found.append(await self.reply())
            except IncompleteReadError as error:
                if error.partial:
                    raise
            except ConnectionResetError:
                break
        return found


def request(target: str = "/echo", method: str = "GET", headers: str = "", body: bytes = b"") -> bytes:
    """A valid request with the length of its body; `headers` are whole lines."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: here\r\n{headers}{length}\r\n".encode() + body


LAST = request(headers="Connection: close\r\n")
"""A valid request after which the server closes, so bytes behind it are never answered."""
