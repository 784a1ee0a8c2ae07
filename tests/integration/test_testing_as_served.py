"""What `forklight.testing` builds and runs is what a server hands to a handler and makes of how it ends."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forklight.testing import Application, Response, batch, call, http, queue, run, serving, timer

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import logging

def show(event, context):
    print(repr(event))
    if event["data"] == "again" and context.attempt == 1:
        raise RuntimeError("not yet")
    return {"attempt": context.attempt, "data": event["data"] if event["body"] else None}

def spawn(event, context):
    context.spawn("show", event["data"])

def plain(event):
    return {"got": event["data"]}

def whole(event):
    return "made", 201, {"Location": "/x", "Set-Cookie": ["a=1", "b=2"]}

def talk(event, context):
    print("first", end=" ")
    print("line")
    context.log.warning("two\\nlines")
    logging.getLogger("lib").info("told")
    logging.getLogger("lib").debug("not told")
    print("unended", end="")

def fail(event):
    raise ValueError("inside")

def reject(event, context):
    context.reject("never")

def retry(event, context):
    context.retry(after=3)

def odd(event):
    return {"a": [object()]}

def nothing(event):
    pass
"""
HANDLERS = ("plain", "whole", "talk", "fail", "reject", "retry", "odd", "nothing")
TOML = """
[functions.show]
handler = "f:show"
http = "/show/{n:int}"
[[functions.show.queue]]
queue = "shown"
backoff = "1ms"
[[functions.show.timer]]
name = "yearly"
schedule = "0 7 1 1 *"
timezone = "Europe/Berlin"
[functions.batches]
handler = "f:show"
[[functions.batches.queue]]
queue = "many"
batch = 1
[functions.texts]
handler = "f:show"
[[functions.texts.queue]]
queue = "texts"
decode = "text"
[functions.spawn]
handler = "f:spawn"
""" + "".join(f'[functions.{name}]\nhandler = "f:{name}"\nhttp = "/{name}"\n' for name in HANDLERS)
CLOUD_EVENT = {"ce-specversion": "1.0", "ce-id": "7", "ce-source": "/s", "ce-type": "made.elsewhere"}
NOT_COMPARED = {"server", "date", "content-length", "server-timing", "x-forklight-id", "x-forklight-start"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "forklight.toml").write_text(TOML)
    (folder / "f.py").write_text(CODE)
    return folder


@pytest.fixture(scope="module")
def app(folder: Path) -> Iterator[Application]:
    with serving(folder, env={"PYTHONPATH": str(ROOT)}) as running:
        yield running


def shown(app: Application, function: str, **wanted: object) -> Any:
    """The event that a `show` handler was given, which has these attributes; in what is compared, nothing random."""

    def is_it(text: str) -> bool:
        return text.startswith("{") and wanted.items() <= ast.literal_eval(text).items()

    return steady(ast.literal_eval(app.wait_for(lambda entry: is_it(entry.text), function=function).text), wanted)


def steady(event: Any, same: Any) -> Any:
    """Without the times and ids that every event has anew; `same` names attributes that are compared."""
    event = dict(event)
    for name in {"id", "time"} - set(same):
        del event[name]
    if "queue" in event:
        event["queue"] = dict(event["queue"], headers=dict(event["queue"]["headers"]))
        event["queue"]["headers"].pop("ce-time", None)
    if isinstance(event["data"], list) and event["body"] == b"":
        event["data"] = [steady(item, same) for item in event["data"]]
    return event


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/show/1", {}),
        ("POST", "/show/1", {"json": {"a": ["ä"]}}),
        ("POST", "/show/2", {"text": "ä"}),
        ("PUT", "/show/3", {"data": b"\x00\xff", "headers": {"Content-Type": "image/png", "X-A": "b"}}),
        ("PATCH", "/show/4", {"form": {"a": "1", "b": [1, 2]}, "query": {"q": ["x y", "ä"], "e": ""}}),
        ("DELETE", "/show/%2D5?a=1&a=2", {"headers": {"Cookie": 'a=1; b="2"', "traceparent": "broken"}}),
        ("POST", "/show/6", {"json": 1, "headers": CLOUD_EVENT}),
        ("POST", "/show/7", {"form": {"a": [1, "ä"]}, "files": {"f": ("ä.png", b"\x00\r\n--")}, "cookies": {"c": "1"}}),
    ],
)
def test_a_request(app: Application, method: str, path: str, options: dict[str, Any]) -> None:
    headers = options.get("headers", {})
    app.request(method, path, **options)
    given = shown(app, "show", http=_section_of(app, method, path))
    client = {"Host": app.url.removeprefix("http://"), "Accept-Encoding": "identity"}
    built = http(method, path, route="/show/{n:int}", **(options | {"headers": client | headers}))
    assert steady(built, {"http"}) == given


def _section_of(app: Application, method: str, path: str) -> Any:
    """The section of the event that this request made: no two requests here have the same method and path."""

    def is_it(text: str) -> bool:
        section = ast.literal_eval(text).get("http") if text.startswith("{") else None
        return section is not None and (section["method"], section["path"]) == (method, path.partition("?")[0])

    return ast.literal_eval(app.wait_for(lambda entry: is_it(entry.text), function="show").text)["http"]


def test_a_message(app: Application) -> None:
    message: dict[str, Any] = {"json": {"n": 1}, "message_id": "m-1", "headers": {"tenant": "acme"}}
    app.send("shown", **message)
    assert shown(app, "show", id="m-1") == steady(queue("shown", **message), {"id"})


def test_a_message_that_is_tried_again(app: Application) -> None:
    app.send("shown", json="again", message_id="m-2")
    app.wait_for(function="show", invocation="m-2", outcome="ok", attempt=2)
    first, second = [
        ast.literal_eval(entry.text)
        for entry in app.logs("show")
        if entry.invocation == "m-2" and entry.text[:1] == "{"
    ]
    assert steady(first, {"id"}) == steady(queue("shown", json="again", message_id="m-2"), {"id"})
    assert steady(second, {"id"}) == steady(queue("shown", json="again", message_id="m-2", attempt=2), {"id"})


def test_a_batch(app: Application) -> None:
    app.send("many", text="x", message_id="m-3")
    built = batch([queue("many", text="x", message_id="m-3")])
    assert shown(app, "batches", id=built["id"]) == steady(built, {"id"})


def test_what_a_trigger_decodes(app: Application) -> None:
    app.send("texts", json=[1], message_id="m-4")
    built = queue("texts", json=[1], message_id="m-4", decode="text")
    assert shown(app, "texts", id="m-4") == steady(built, {"id"})
    assert built["data"] == "[1]"


def test_a_run_of_a_timer(app: Application) -> None:
    assert app.invoke("show", timer="yearly").response.json() == {"attempt": 1, "data": None}
    given = shown(app, "show", type="forklight.timer")
    built = timer(
        "yearly",
        schedule="0 7 1 1 *",
        timezone="Europe/Berlin",
        scheduled_at=given["timer"]["scheduled_at"],
        function="show",
    )
    assert steady(built, {"type"}) == given


def test_a_call_and_one_that_was_spawned(app: Application) -> None:
    app.invoke("show", json="by hand")
    assert shown(app, "show", data="by hand") == steady(call(json="by hand"), {})
    app.invoke("spawn", json={"by": "spawn"})
    assert shown(app, "show", data={"by": "spawn"}) == steady(call(json={"by": "spawn"}, caller="spawn"), {})


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_that_is_run(app: Application, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    served = app.post(f"/{name}", json={"a": 1})
    result = run(f"f:{name}", http("POST", f"/{name}", json={"a": 1}), function=name)
    assert compared(result.response) == compared(served)
    app.wait_for(lambda entry: bool(entry.outcome), function=name)
    assert list(result.logs) == [entry.text for entry in app.logs(name) if not entry.outcome]
    invoked = app.invoke(name, json={"a": 1})
    assert compared(invoked.response) == compared(served)
    assert invoked.failed is result.failed
    if invoked.failed:
        assert (invoked.failure.code, invoked.failure.message) == (result.failure.code, result.failure.message)
        assert invoked.failure.traceback.splitlines()[2:] == result.failure.traceback.splitlines()[2:]


def compared(response: Response) -> Any:
    """All of it that is the same each time."""
    headers = [(name, value) for name, value in response.all_headers if name.lower() not in NOT_COMPARED]
    body: Any = response.json() if (response.content_type or "").endswith("json") else response.body
    if response.content_type == "application/problem+json":
        del body["invocation_id"]
    return response.status, headers, body
