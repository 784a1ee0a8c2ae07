"""Nothing that a client varies from request to request stays in the memory of the server."""

import gc
import tracemalloc

import pytest

from bus.event import Event
from bus.outcome import ExceptionName, Failed, Ok, Outcome
from dispatcher.records import Record
from forklight.observe.formats import json_lines
from forklight.observe.journal import Journal
from forklight.observe.observer import Observer
from forklight.observe.rings import Rings
from tests.kit.http_process import Forgetful
from tests.kit.http_server import Client, running
from triggers.http import Cors, HttpSettings, Route
from triggers.http.settings import Network

pytestmark = pytest.mark.any_user

ROUTES = (
    Route(function="f", path="/f/{name}", cors=Cors(origins=("https://app.example",))),
    Route(function="f", path="/key", auth="key"),
)
WARM, MANY = 300, 1000
RINGS_BYTES = 256 * 1024


async def answer(event: Event) -> Outcome:
    """A function that varies everything that it chooses."""
    if event.body == b"fail":
        return Failed(kind="error", code=ExceptionName(f"Error{event.id}"), message=event.id * 20, start="warm")
    return Ok(content_type=f"text/x-{event.id}", headers=((f"x-{event.id}", event.id),), start="warm")


def requests(number: int) -> bytes:
    """A long text, different for each number."""
    one = f"{number:0200}"
    headers = "".join(
        f"{name}: {value}\r\n"
        for name, value in {
            "Host": f"{one[-60:]}.example",
            "Origin": f"https://{one}.example",
            "Cookie": f"{one}={one}",
            f"X-{one}": one,
            "Content-Type": f"text/plain; charset={one}",
            "traceparent": f"00-{number + 1:032x}-{number + 1:016x}-01",
            "X-Forwarded-For": f"{one}, 10.{number % 256}.{number // 256}.7",
            "X-Forwarded-Host": f"{one[-60:]}.example",
            "If-None-Match": f'"{one}"',
        }.items()
    )
    event = f"ce-specversion: 1.0\r\nce-id: {one}\r\nce-source: {one}\r\nce-type: {one}\r\n"
    return b"".join(
        line.encode()
        for line in (
            f"POST /f/{one}?{one}={one} HTTP/1.1\r\n{headers}{event}Content-Length: 0\r\n\r\n",
            f"POST /f/{one} HTTP/1.1\r\n{headers}Content-Length: 4\r\n\r\nfail",
            f"GET /none/{one} HTTP/1.1\r\n{headers}\r\n",
            f"OPTIONS /f/{one} HTTP/1.1\r\n{headers}Access-Control-Request-Method: {one}\r\n\r\n",
            f"GET /key HTTP/1.1\r\n{headers}Authorization: Bearer {one}\r\n\r\n",
        )
    )


async def send(client: Client, numbers: range) -> None:
    for number in numbers:
        client.writer.write(requests(number))
        statuses = [(await client.reply()).status for _ in range(5)]
        assert statuses == [200, 500, 404, 204, 401]


@pytest.mark.timeout(120)
async def test_distinct_requests_leave_nothing_behind() -> None:
    settings = HttpSettings(listen="127.0.0.1:0", trusted_proxies=(Network("127.0.0.0/8"),))
    journal, record = Journal(json_lines, -1), Record()
    journal._rings = Rings(RINGS_BYTES, RINGS_BYTES)

    async def counted(event: Event) -> Outcome:
        outcome = await answer(event)
        record.add(outcome)
        return outcome

    async with running(counted, ROUTES, settings) as house, house.connect() as client:
        house.record = Forgetful()
        house.log = Forgetful()
        Observer(journal, {"f": record}).subscribe_to(house.bus)
        await send(client, range(WARM))
        tracemalloc.start()
        try:
            grown_bytes = []
            for start in (WARM, WARM + MANY // 2):
                await send(client, range(start, start + MANY // 2))
                house.functions.events.clear()
                journal._backlog.clear()
                gc.collect()
                grown_bytes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert grown_bytes[1] - grown_bytes[0] < 512 * 1024, grown_bytes
