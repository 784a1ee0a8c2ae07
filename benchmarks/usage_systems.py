"""What serves the day: Forklight; gunicorn for what comes over HTTP with Celery for messages; or gunicorn alone."""

import contextlib
import json
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import queues
from benchmarks.http_peers import FOLDER, environment
from benchmarks.http_servers import Server, forklight, running
from benchmarks.queue_peers import Consumer, Wire
from benchmarks.usage_day import FUNCTIONS, Called

FORKLIGHT, GUNICORN, PRELOADED, CELERY = "Forklight", "gunicorn", "gunicorn --preload", "Celery"
SERVES = {FORKLIGHT: ("http", "message"), GUNICORN: ("http",), PRELOADED: ("http",), CELERY: ("message",)}
PROCESSES = os.cpu_count() or 1
"""Of Celery: as many as it starts by itself."""
WORKERS = 2 * PROCESSES + 1
"""Of gunicorn, as its documentation recommends."""
LIBRARIES = ["pydantic", "requests", "sqlalchemy.orm"]
"""What `peers/usage_work.py` imports."""
KEEP_ALIVE_S = 60.0
"""Forklight's default, on a day that is not shortened."""
_CELERYS_QUEUE = "usage"


class Systems(NamedTuple):
    """Servers that share the day: the first process of each by name, and the port for requests."""

    pids: dict[str, int]
    port: int

    @property
    def functions(self) -> list[Called]:
        """Those that they serve."""
        kinds = {kind for name in self.pids for kind in SERVES[name]}
        return [function for function in FUNCTIONS if function.by in kinds]

    @property
    def queues(self) -> list[str]:
        """Those that must be consumed before the day begins."""
        return sorted({self.queue(one) for one in self.functions if one.by == "message"})

    def queue(self, function: Called) -> str:
        """Where the messages of a function go."""
        return _CELERYS_QUEUE if CELERY in self.pids else function.name

    def message(self, data: dict[str, Any]) -> Wire:
        """A message as the server understands it; for Celery by protocol 2 (docs.celeryq.dev, "Message Protocol")."""
        if CELERY not in self.pids:
            return Wire(json.dumps(data).encode(), {})
        task_id = str(uuid.uuid4())
        headers = {"lang": "py", "task": "usage.call", "id": task_id, "root_id": task_id, "parent_id": None}
        embed: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        return Wire(json.dumps([[data], {}, embed]).encode(), headers)


@contextlib.contextmanager
def ours(folder: Path, url: str, latency_file: Path, scale: float) -> Iterator[Systems]:
    """Forklight, on a day that is `scale` times as fast."""
    config = folder / "forklight.toml"
    config.write_text(configuration(programs() / "python", latency_file, scale))
    server = forklight(config, folder / "state", sys.executable, "--quiet", name=FORKLIGHT)
    with running(server._replace(env={"FORKLIGHT_BUS_URL": url})) as found:
        yield Systems({FORKLIGHT: found.pid}, found.port)


@contextlib.contextmanager
def gunicorn_and_celery(url: str, latency_file: Path) -> Iterator[Systems]:
    """Each with all functions of its kind, at its defaults."""
    argv = (str(programs() / "celery"), "--app", "usage_celery", "worker", "--loglevel", "ERROR")
    env = {"BROKER_URL": url, "LATENCY_FILE": str(latency_file), "PYTHONPATH": str(FOLDER)}
    celery = Consumer(CELERY, argv, url, env, message=lambda data: Wire(json.dumps(data).encode(), {}))
    with running(_gunicorn(GUNICORN)) as server, queues.running(celery) as worker:
        yield Systems({GUNICORN: server.pid, CELERY: worker.pid}, server.port)


@contextlib.contextmanager
def preloaded_gunicorn() -> Iterator[Systems]:
    """It imports the application before it forks, so that the workers share the memory."""
    with running(_gunicorn(PRELOADED, "--preload")) as server:
        yield Systems({PRELOADED: server.pid}, server.port)


def _gunicorn(name: str, *options: str) -> Server:
    argv = (str(programs() / "gunicorn"), "--chdir", str(FOLDER), "--workers", str(WORKERS), *options)
    return Server(name, (*argv, "--bind", "127.0.0.1:{port}", "usage_flask:app"))


def programs() -> Path:
    """The environment that all of them share, libraries included."""
    return environment(FOLDER / "usage.txt")


def configuration(python: Path, latency_file: Path, scale: float) -> str:
    """Every function at Forklight's defaults. The libraries that they share are preloaded; times pass with the day."""
    lines = ["[runtimes.default]", f"python = {json.dumps(str(python))}", f"preload = {json.dumps(LIBRARIES)}"]
    lines += ["", "[defaults]", f'keep_alive = "{round(KEEP_ALIVE_S / scale * 1000)}ms"']
    for one in FUNCTIONS:
        lines += ["", f"[functions.{one.name}]", f"code = {json.dumps(str(FOLDER))}"]
        if one.by == "http":
            lines += ['handler = "usage_work:request"', f'http = "GET /{one.name}"']
        else:
            env = f"{{ LATENCY_FILE = {json.dumps(str(latency_file))} }}"
            lines += ['handler = "usage_work:message"', f'queue = "{one.name}"', f"env = {env}"]
    return "\n".join([*lines, ""])
