"""An application under test: a real `forklight serve` of this interpreter, on a free port, with a state of its own.

Everything here blocks; `aserving` wraps it for tests that are `async def`.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Unpack
from urllib.parse import quote, urlencode

import msgspec

from forklight.admin import client
from forklight.config.document import FILE_NAME
from forklight.errors import ForklightError
from forklight.observe.entry import Entry
from forklight.serving.invoking import outcome_from_json
from forklight.state.data import data_path
from forklight.state.directory import remove_tree, state_path
from forklight.state.keys import changing_keys, make_key
from forklight.testing import bodies
from forklight.testing.bodies import NOTHING, Files
from forklight.testing.options import RequestOptions
from forklight.testing.results import Ended, Response, ended_of, response_of

START_S = 60.0
"""How long a server may take to be ready. It does not wait for functions to load."""
STOP_S = 60.0
"""How long it may take to end. It finishes running calls, for 30 s unless the configuration allows more."""
_FAILED_STOP_S = 5.0
ANSWER_S = 60.0
POLL_S = 0.01
SHOWN_ENTRIES = 20


class ServeError(ForklightError):
    """The server did not start or did not end properly. The message is the server's own."""


class Application:
    """A running application. `url` is its HTTP address, `state` its state directory for the command line."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.state = folder / "state"
        self._process = process
        self._folder = folder
        self._port = port

    @property
    def data(self) -> Path:
        """The folder of functions with `data = true`, made as the server starts."""
        return data_path(self.state)

    def get(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Return `request("GET", …)`."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Unpack[RequestOptions]) -> Response:
        """Return `request("POST", …)`."""
        return self.request("POST", path, **options)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: object = NOTHING,
        data: bytes | None = None,
        text: str | None = None,
        form: Mapping[str, object] | None = None,
        files: Files | None = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_S,
    ) -> Response:
        """Send an HTTP request with `path` as it is on the wire. Raises OSError if there is no answer.

        Redirects are not followed, and cookies of earlier answers are not sent.
        """
        body, content_type = bodies.encode(json=json, data=data, text=text, form=form, files=files)
        given = {} if content_type is None else {"Content-Type": content_type}
        given |= {"Cookie": bodies.cookie(cookies)} if cookies else {}
        target = f"{path}?{urlencode(query, doseq=True)}" if query else path
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=timeout_s)) as connection:
            connection.request(method, target, body or None, given | dict(headers or {}))
            with connection.getresponse() as answer:
                return response_of(answer.status, tuple(answer.getheaders()), answer.read())

    def send(
        self,
        queue: str,
        *,
        json: object = NOTHING,
        data: bytes | None = None,
        text: str | None = None,
        message_id: str | None = None,
        delay_s: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Send a message to a queue, store it, and return its id. Raises forklight.testing.Refused."""
        query = [("queue", queue), *(("header", f"{name}={value}") for name, value in (headers or {}).items())]
        query += [("id", message_id)] if message_id is not None else []
        query += [("delay", f"{delay_s:.3f}s")] if delay_s else []
        answer = client.post(self.state, "/send", *bodies.encode(json=json, data=data, text=text), query=query)
        return str(msgspec.json.decode(answer)["id"])

    def invoke(
        self,
        function: str,
        *,
        json: object = NOTHING,
        data: bytes | None = None,
        text: str | None = None,
        timer: str | None = None,
    ) -> Ended:
        """Run a function once and return the result. With `timer`, fire that timer of it (empty: its only one)."""
        resource = f"/invoke/{quote(function, safe='')}"
        query = [] if timer is None else [("timer", timer)]
        body, content_type = bodies.encode(json=json, data=data, text=text)
        answer = client.post(self.state, resource, body, content_type, query=query, timeout_s=None)
        return ended_of(outcome_from_json(answer), "")

    def create_key(self, name: str, scopes: Sequence[str] = ()) -> str:
        """Make a key for routes with `auth`, as `forklight keys create` does, and return it. It is valid at once.

        A key of the same name is replaced. Raises ValueError for a malformed name or scope.
        """
        with changing_keys(self.state) as known:
            key, known[name] = make_key(name, scopes)
        return key

    def logs(self, function: str | None = None) -> list[Entry]:
        """Return all lines so far: what functions wrote (`text`), and one per invocation that ended (`outcome`)."""
        written = (self._folder / "log").read_bytes()
        whole = written[: written.rfind(b"\n") + 1].splitlines()
        entries = [msgspec.json.decode(line, type=Entry) for line in whole]
        return [entry for entry in entries if function in (None, entry.function)]

    def wait_for(
        self, matches: Callable[[Entry], bool] | None = None, *, timeout_s: float = 10.0, **fields: object
    ) -> Entry:
        """Return the first line of the log, past or future, that `matches` accepts and that has these fields.

        `app.wait_for(function="thumbnail", outcome="ok")`. Raises TimeoutError with the last lines.
        """
        found: list[Entry] = []

        def is_there() -> bool:
            found[:] = self.matching(matches, fields)
            return bool(found)

        self.wait_until(is_there, timeout_s=timeout_s)
        return found[0]

    def wait_until(self, condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
        """Wait until the condition is true. Raises TimeoutError with the last lines of the log."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            self.check(end_s, timeout_s)
            time.sleep(POLL_S)

    def matching(self, matches: Callable[[Entry], bool] | None, fields: Mapping[str, object]) -> list[Entry]:
        """Return the lines so far that `wait_for` would return. Raises TypeError for a field that no line has."""
        unknown = [name for name in fields if name not in Entry.__struct_fields__]
        if unknown:
            raise TypeError(f"no line of a log has {unknown[0]!r}, only {', '.join(Entry.__struct_fields__)}")
        return [
            entry
            for entry in self.logs()
            if all(getattr(entry, name) == value for name, value in fields.items())
            and (matches is None or matches(entry))
        ]

    def check(self, end_s: float, timeout_s: float) -> None:
        """Raise ServeError if the server has ended, TimeoutError after the deadline (`time.monotonic()`)."""
        if self._process.poll() is not None:
            raise ServeError(f"forklight serve has ended with status {self._process.returncode}:\n{self.said}")
        if time.monotonic() > end_s:
            last = "\n".join(msgspec.json.encode(entry).decode() for entry in self.logs()[-SHOWN_ENTRIES:])
            raise TimeoutError(f"not within {timeout_s:g} s; the log ends with:\n{last}")

    @property
    def said(self) -> str:
        """Return what the server wrote to its standard error."""
        text = (self._folder / "said").read_text(errors="replace").strip()
        return text.replace(f" --state {self.state}", "")  # in advice: this state ends with the test

    def is_ready(self) -> bool:
        """Return whether it serves. Raises ServeError if it has ended."""
        if self._process.poll() is not None:
            raise ServeError(f"forklight serve ended with status {self._process.returncode}:\n{self.said}")
        try:
            return bool(client.get(self.state, "/readyz"))
        except (client.NoServer, client.Refused):
            return False

    def wait_ready(self) -> None:
        """Wait until it serves. Raises ServeError with the server's own message."""
        end_s = time.monotonic() + START_S
        while not self.is_ready():
            if time.monotonic() > end_s:
                raise ServeError(f"forklight serve was not ready within {START_S:g} s:\n{self.said}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Send SIGTERM and wait until running calls end. Raises ServeError if it does not end, or fails."""
        self._process.terminate()
        try:
            status = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise ServeError(f"forklight serve did not end within {STOP_S:g} s:\n{self.said}") from None
        if status:
            raise ServeError(f"forklight serve ended with status {status}:\n{self.said}")


@contextmanager
def serving(
    path: str | Path = ".", *, env: Mapping[str, str] | None = None, data: str | Path | None = None
) -> Iterator[Application]:
    """Run `forklight serve PATH` for the block, once it is ready. Raises ServeError with the server's own message.

    Its messages are in the embedded store, whatever the configuration says, unless `env` has FORKLIGHT_BUS_URL. `env`
    is added to the environment of the test, of which the FORKLIGHT_ variables and PORT do not count. The data folder is
    new and empty, and gone at the end; or it is the existing folder `data`, which stays.
    """
    with started(path, env or {}, data) as application:
        application.wait_ready()
        yield application
        application.stop()


@contextmanager
def started(path: str | Path, env: Mapping[str, str], data: str | Path | None) -> Iterator[Application]:
    """Do the same without waiting until it is ready. At the end of the block it is stopped if it still runs."""
    folder = Path(tempfile.mkdtemp(prefix="forklight-test-"))
    folder.chmod(0o755)  # as root, functions run as another user
    try:
        _lend_runtimes(Path(path), os.environ | env, folder / "state")
        if data is not None:
            (folder / "state").mkdir(exist_ok=True)
            data_path(folder / "state").symlink_to(Path(data).absolute())
        port = _free_port()
        command = [sys.executable, "-m", "forklight", "serve", str(path), "--listen", f"127.0.0.1:{port}"]
        command += ["--state", str(folder / "state"), "--log-format", "json"]
        with (folder / "log").open("wb") as log, (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, env=_environ(env), stdin=subprocess.DEVNULL, stdout=log, stderr=said)
        try:
            yield Application(process, folder, port)
        finally:
            _end(process)
    finally:
        remove_tree(folder / "state")  # its snapshots are read-only
        shutil.rmtree(folder)


def _lend_runtimes(path: Path, environ: Mapping[str, str], state: Path) -> None:
    """Link the environments that `forklight install` made for the application, so that its tests use them."""
    source = path / FILE_NAME if path.is_dir() else path
    installed = state_path(None, environ, source) / "runtimes"
    if installed.is_dir():
        (state / "runtimes").mkdir(parents=True)
        for environment in installed.iterdir():
            (state / "runtimes" / environment.name).symlink_to(environment)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Stop the server of a test that failed, with less patience. The processes of functions end with it."""
    process.terminate()
    try:
        process.wait(_FAILED_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environ(added: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "PORT" and not name.startswith("FORKLIGHT_")}
    return own | {"FORKLIGHT_BUS_URL": "sqlite:"} | dict(added)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
