"""`serving` and `serve`: a whole application from its readiness to its end, and what is said when it has none."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from forklight.admin import client
from forklight.state.users import unprivileged_user
from forklight.testing import Application, AsyncApplication, Entry, Refused, ServeError, serve, serving
from tests.kit.support import processes_with, readable_folder, until

ROOT = Path(__file__).resolve().parents[2]
ENV = {"PYTHONPATH": str(ROOT)}
CODE = """
import os, time

def echo(event):
    return event["data"]

def whose(event):
    return [event["http"]["key"], event["http"]["scopes"]]

def variable(event):
    return os.environ.get("GREETING")

def forward(event, context):
    context.send("later", event["data"])

def hang(event):
    print("hangs", flush=True)
    time.sleep(1000)

def take(event):
    print("took", event["data"])
"""
TOML = """
[http]
drain = "100ms"
[functions.echo]
handler = "f:echo"
http = "/echo"
[functions.whose]
handler = "f:whose"
http = [{ path = "/whose", auth = "key", scopes = ["a"] }]
[functions.variable]
handler = "f:variable"
http = "/variable"
env = { GREETING = "${GREETING}" }
[functions.forward]
handler = "f:forward"
http = "POST /forward"
[functions.hang]
handler = "f:hang"
http = "/hang"
[functions.take]
handler = "f:take"
queue = "later"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "forklight.toml").write_text(TOML)
    (tmp_path / "f.py").write_text(CODE)
    yield tmp_path
    assert list(tmp_path.glob("[!f]*")) == [], "nothing of a test is left in the application's folder"


async def test_a_body_without_a_content_type_is_explained_where_the_failure_is_shown(folder: Path) -> None:
    (folder / "f.py").write_text('def need(event):\n    return event["data"]["a"]\n')
    (folder / "forklight.toml").write_text(
        '[functions.need]\nhandler = "f:need"\nhttp = "/need"\n'
        '[[functions.need.queue]]\nqueue = "needs"\nattempts = 1\n'
    )
    async with serve(folder, env=ENV) as app:
        await app.send("needs", data=b'{"a": 1}')
        entry = await app.wait_for(function="need", decision="dead: Attempts")
        assert 'write decode = "json" in [[functions.need.queue]]' in entry.text
        letters = await run_sync(client.get, app.state, "/dlq")
        assert json.dumps(entry.text)[1:-1] in letters.decode()
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await app.post("/need", data=b'{"a": 1}', headers=form)
        assert "JSON" not in answer.text
        await app.wait_for(lambda line: line.text.startswith("'a': the body looks like JSON"))


async def test_an_application(folder: Path) -> None:
    async with serve(folder, env=ENV | {"GREETING": "hello"}) as app:
        assert (await app.get("/variable")).text == "hello"
        assert (await app.post("/echo", json={"a": 1}, headers={"X-A": "b"})).json() == {"a": 1}
        assert (await app.request("PUT", "/nowhere")).status == 404
        for name, scopes, status in (("ada", ["a", "b"], 200), ("eve", ["b"], 403), ("eve", ["*"], 200)):
            answer = await app.get("/whose", headers={"X-Api-Key": await app.create_key(name, scopes)})
            assert answer.status == status
            assert status != 200 or answer.json() == [name, scopes]
        assert (await app.wait_for(status=403)).key == "eve"
        assert (await app.post("/forward", json=[7])).status == 204
        entry: Entry = await app.wait_for(function="take", outcome="ok")
        assert (entry.queue, entry.decision, entry.attempt) == ("later", "ack", 1)
        assert [line.text for line in app.logs("take") if line.text] == ["took [7]"]
        message_id = await app.send("later", text="x")
        await app.wait_for(lambda line: line.invocation == message_id and bool(line.outcome))
        ended = await app.invoke("echo", json=[1])
        assert (ended.failed, ended.response.json()) == (False, [1])

        async def is_there() -> bool:
            return (await app.get("/echo")).status == 204

        await app.wait_until(is_there)
        state = app.state
        assert processes_with(str(state))
    await until(lambda: not processes_with(str(state)))
    assert not state.parent.exists()


def test_without_an_event_loop(folder: Path) -> None:
    with serving(folder, env=ENV | {"GREETING": ""}) as app:
        assert app.get("/echo", query={"a": [1, 2]}).status == 204
        assert app.post("/echo", data=b"\x00").body == b"\x00"
        delayed = app.send("later", json=1, delay_s=3600.0, message_id="d-1", headers={"a": "b=c"})
        assert delayed == "d-1"
        app.send("later", json=2)
        app.wait_for(text="took 2")
        assert "took 1" not in [line.text for line in app.logs()]


def test_a_single_file(folder: Path) -> None:
    (folder / "file.py").write_text("def handler(event):\n    return event['http']['path']\n")
    with serving(folder / "file.py", env=ENV) as app:
        assert app.get("/").text == "/"


def test_the_variables_of_a_deployment_do_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BUS_URL", "amqp://localhost:1/"), ("STATE", "/nowhere"), ("LISTEN", "nowhere:80")):
        monkeypatch.setenv(f"FORKLIGHT_{name}", value)
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("GREETING", "from the test's own environment")
    with serving(folder, env=ENV) as app:
        assert app.get("/variable").text == "from the test's own environment"


async def test_what_keeps_it_from_starting_is_said(folder: Path) -> None:
    (folder / "forklight.toml").write_text(TOML + '[functions.x]\nhandlr = "f:x"\n')
    with pytest.raises(ServeError, match=r"ended with status 2:\n(?s:.*)handlr"), serving(folder, env=ENV):
        pass
    with pytest.raises(ServeError, match="does not exist"):
        async with serve(folder / "nowhere", env=ENV):
            pass


@pytest.fixture
def app(folder: Path) -> Iterator[Application]:
    with serving(folder, env=ENV | {"GREETING": ""}) as running:
        yield running


async def test_what_does_not_happen(app: Application) -> None:
    app.send("later", json=1)
    app.wait_for(function="take", outcome="ok")
    with pytest.raises(TimeoutError, match=r'not within 0.1 s; the log ends with:\n(?s:.*)"text":"took 1"'):
        app.wait_for(function="take", outcome="error/ValueError", timeout_s=0.1)
    with pytest.raises(TimeoutError):
        app.wait_until(lambda: False, timeout_s=0.0)
    wrapped = AsyncApplication(app)
    with pytest.raises(TimeoutError):
        await wrapped.wait_for(outcome="never", timeout_s=0.1)


def test_what_is_asked_wrongly(app: Application) -> None:
    with pytest.raises(TypeError, match="no line of a log has 'funktion', only time, function"):
        app.wait_for(funktion="take")
    with pytest.raises(Refused, match="there is no function 'ehco' here"):
        app.invoke("ehco")
    with pytest.raises(Refused, match="there is no broker"):
        app.send("later@nowhere")


def test_a_test_that_fails_ends_its_server(folder: Path) -> None:
    kept: list[Application] = []

    def fail() -> None:
        with serving(folder, env=ENV | {"GREETING": ""}) as app:
            kept.append(app)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    [app] = kept
    with pytest.raises(OSError):
        app.get("/echo")
    assert not app.state.parent.exists()


async def test_a_test_that_is_cancelled_while_it_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = folder / "f"
    states.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(states))
    with anyio.move_on_after(0.05) as scope:
        async with serve(folder, env=ENV | {"GREETING": ""}):
            raise AssertionError("a server needs longer to be ready")
    assert scope.cancelled_caught
    assert list(states.iterdir()) == []
    assert not processes_with(str(states))


async def test_a_request_that_is_cancelled_is_not_waited_for(app: Application) -> None:
    wrapped = AsyncApplication(app)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wrapped.get, "/hang")
        tasks.start_soon(wrapped.invoke, "hang")
        await wrapped.wait_until(lambda: [entry.text for entry in app.logs("hang")] == ["hangs"] * 2)
        tasks.cancel_scope.cancel()
    assert [entry.outcome for entry in app.logs("hang")] == ["", ""], "both still run"


def test_a_server_that_dies_is_noticed(folder: Path) -> None:
    def wait_for_the_dead() -> None:
        with serving(folder, env=ENV | {"GREETING": ""}) as app:
            [pid] = {found for found in processes_with(str(app.state)) if _is_serve(found)}
            os.kill(pid, signal.SIGKILL)
            app.wait_for(outcome="never")

    with pytest.raises(ServeError, match="has ended with status -9"):
        wait_for_the_dead()


def _is_serve(pid: int) -> bool:
    return b"\0serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_data_folder_is_empty_or_the_one_that_is_given(folder: Path) -> None:
    keep = '\ndef keep(event):\n    path = os.environ["FORKLIGHT_DATA"]\n    os.mkdir(f"{path}/kept")\n'
    (folder / "f.py").write_text(CODE + keep)
    (folder / "forklight.toml").write_text('[functions.keep]\nhandler = "f:keep"\ndata = true\n')
    with readable_folder() as given:
        if user := unprivileged_user():
            os.chown(given, user.uid, user.gid)
        for data in (None, given):
            with serving(folder, env=ENV, data=data) as app:
                assert not app.invoke("keep").failed
                assert [entry.name for entry in app.data.iterdir()] == ["kept"]
            assert not app.data.exists()
        assert (given / "kept").is_dir()
