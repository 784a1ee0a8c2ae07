"""An application on a server of its own, and what the commands do with it once they have started."""

import contextlib
import itertools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from benchmarks.http_servers import Client, Running, Server, running, state_folder
from forklight.admin.places import Session, of_state
from forklight.admin.upload import upload
from forklight.packages.package import build
from forklight.serving.deployment import Deployed
from forklight.state.control_socket import socket_path

NAME = "shop"
LIMIT_S = 60.0

Times = dict[str, list[float]]
Files = Callable[[int], dict[str, str]]
"""Returns the files of a version, by their names in the application's folder."""


class Shop:
    """`files` are those of each version that is deployed; `times_ms` has what each change took, by what was done."""

    def __init__(self, folder: Path, state: Path, server: Running, files: Files) -> None:
        self.folder = folder
        self._state = state
        self._files = files
        self._server = server
        self._versions = itertools.count(1)
        self.times_ms: Times = defaultdict(list)

    def deploy(self, *, canary: bool = False) -> None:
        """From the files to the answer of the server."""
        what = "canary of 10 %" if canary else "deploy"
        for name, text in self._files(next(self._versions)).items():
            (self.folder / name).write_text(text)
        begin_ns = time.monotonic_ns()
        with closing(Session(of_state(self._state), LIMIT_S)) as session, tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "package.zip"
            built = build(self.folder, package, also=[self.folder / "forklight.toml"])
            upload(session, built.sha256, package, lambda at: None)
            self._post(session, f"deploy?package={built.sha256}{'&canary=10' * canary}", what, begin_ns)

    def change(self, change: str) -> None:
        """`rollback`, `promote` or `abort`."""
        begin_ns = time.monotonic_ns()
        with closing(Session(of_state(self._state), LIMIT_S)) as session:
            self._post(session, change, change, begin_ns)

    def ask(self, what: str, path: str) -> None:
        """A request on a new connection, and the time until its answer begins."""
        with closing(Client(self._server)) as client:
            self.times_ms[what].append(client.get(path).taken_ms)

    def _post(self, session: Session, resource: str, what: str, begin_ns: int) -> None:
        with session.answer("POST", f"/applications/{NAME}/{resource}") as answer:
            done = msgspec.json.decode(answer.read().strip().splitlines()[-1], type=Deployed)
        self.times_ms[what].append((time.monotonic_ns() - begin_ns) / 1e6)
        if not done.ok:
            raise RuntimeError(f"the {what} failed: {done}")
        for step in ("loading", "switching"):
            self.times_ms[f"{what}: {step}"].append(done.times_ms.get(step, 0))


@contextlib.contextmanager
def open_shop(files: Files) -> Iterator[tuple[Shop, Running]]:
    """A server that serves the first version, and was measured doing nothing so far."""
    with state_folder() as folder:
        state, application = folder / "state", folder / NAME
        application.mkdir()
        serve = (sys.executable, "-m", "forklight", "serve", "--state", str(state), "--listen", "127.0.0.1:{port}")
        with running(Server("Forklight", (*serve, "--quiet"), {"PYTHONPATH": str(Path.cwd())})) as server:
            while not socket_path(state).exists():  # it is made after the listener
                time.sleep(0.01)
            shop = Shop(application, state, server, files)
            shop.deploy()
            shop.times_ms.clear()
            yield shop, server
