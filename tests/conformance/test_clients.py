"""Clients of the Runtime API that others have written run unmodified: that of AWS for Python, and one on `requests`."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from bus import Event, HttpSection, Ok, QueueSection, TimerSection
from sandbox.spec import FunctionSpec, Limits, Runtime
from tests.kit.runtimes import environment_with, site_packages
from tests.kit.support import Bench, answer, copy_readable, event, failure, hosted_tree

AWS = ("awslambdaric==4.2.2", "simplejson==3.20.2", "snapshot-restore-py==1.0.0")
PURE = (
    "pure-lambda-ric==1.0.1",
    "certifi==2026.10.19.post1",
    "charset-normalizer==3.5.3",
    "Deprecated==1.3.1",
    "fa-purity==2.6.0",
    "idna==3.20",
    "more-itertools==10.8.0",
    "pure-requests==3.0.0",
    "requests==2.34.2",
    "urllib3==2.8.0",
    "wrapt==2.5.2",
)
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


class Clients:
    """A tree, and a folder of code that has the clients in it, as a zip for AWS would."""

    def __init__(self, bench: Bench, code: Path) -> None:
        self.bench = bench
        self.code = code

    def spec(self, handler: str, *command: str, **env: str) -> FunctionSpec:
        python = str(self.bench.runtime.python.resolve())
        runtime = Runtime(name="aws", kind="command", python=self.bench.runtime.python, command=(python, *command))
        made = self.bench.spec("clients", handler, runtime=runtime, env=env, limits=Limits(memory_bytes=200 << 20))
        return replace(made, code=self.code, handler=handler)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def clients() -> AsyncIterator[Clients]:
    libraries = site_packages(await asyncio.to_thread(environment_with, *AWS, *PURE))
    async with hosted_tree() as bench:
        code = copy_readable(bench.code / "clients", bench.code / "with-clients")
        await asyncio.to_thread(shutil.copytree, libraries, code, dirs_exist_ok=True)
        yield Clients(bench, code)


def http_event(body: bytes) -> Event:
    section = HttpSection(
        method="POST", path="/hello/moon", route="/hello/{name}", params={"name": "moon"}, headers={"host": "x"}
    )
    return Event(source="/http", type="forklight.http", datacontenttype="application/json", body=body, http=section)


async def test_awslambdaric_runs_a_lambda_function(clients: Clients) -> None:
    spec = clients.spec("app.handler", "-m", "awslambdaric", "app.handler", BY="us")
    instance, _ = await clients.bench.tree.start(spec)
    greeted = await instance.invoke(http_event(b'{"n": 1}'))
    messages = tuple(_message(f"m{number}", {"bad": number == 2}) for number in (1, 2, 3))
    batch = await instance.invoke(replace(_message("batch", None), items=messages))
    timer = TimerSection(name="t", schedule="every 1h", timezone="UTC", scheduled_at="2026-11-27T10:00:00+00:00")
    timed = answer(await instance.invoke(replace(event(b""), call=None, timer=timer)))
    called = answer(await instance.invoke(event(b'{"big": "%s"}' % (b"x" * 1_000_000))))
    failed = failure(await instance.invoke(event(b'{"fails": true}')))
    last = event(b"{}")
    assert answer(await instance.invoke(last))["event"] == {}
    instance.leave()

    assert isinstance(greeted, Ok), greeted
    assert (greeted.status, greeted.content_type) == (201, "application/json")
    assert json.loads(greeted.body) == {"hello": "moon", "said": {"n": 1}, "by": "us"}
    assert ("Set-Cookie", "a=1") in greeted.headers
    assert any(value.endswith(":function:clients-app.handler") for name, value in greeted.headers if name == "X-Arn")
    assert answer(batch) == {"failures": ["m2"]}
    assert (timed["event"]["source"], timed["event"]["time"]) == ("aws.events", "2026-11-27T10:00:00Z")
    assert (timed["function"], timed["memory"], timed["has_time"]) == ("clients-app.handler", "200", True)
    assert len(called["event"]["big"]) == 1_000_000
    assert (failed.code, failed.message) == ("KeyError", "'no such order'")
    assert "app.py" in failed.traceback
    assert [line.text for line in clients.bench.lines if line.invocation == last.id] == [f"for {last.id}"]


def _message(message_id: str, body: Any) -> Event:
    queue = QueueSection(name="orders", message_id=message_id)
    return Event(id=message_id, source="/q", type="forklight.queue", body=json.dumps(body).encode(), queue=queue)


async def test_another_client_runs(clients: Clients) -> None:
    """It opens a connection for each request, and posts JSON without saying so."""
    instance, _ = await clients.bench.tree.start(clients.spec("greet", "pure.py", HANDLER_ID="greet"))
    for number in range(3):
        body = json.dumps({"n": number}).encode()
        assert json.loads(answer(await instance.invoke(event(body)))["echo"]) == {"n": number}
    failed = failure(await instance.invoke(event(b'{"fails": 1}')))
    instance.leave()

    assert (failed.kind, failed.code, failed.message, failed.traceback) == (
        "error",
        "NoSuchOrder",
        "no such order",
        "line 1",
    )
