"""Who consumes: Forklight on both stores, and what people leave for it, each with the message it understands."""

import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.http_peers import FOLDER, environment

CELERY = "Celery, prefork x2, acks late"
DRAMATIQ = "Dramatiq, 2 processes x 8"
FASTSTREAM = "FastStream, 1 process"
DRAMATIQ_WAITING = "Dramatiq, 2 processes x 500"
OURS = "Forklight, RabbitMQ"
EMBEDDED = "Forklight, embedded"
QUEUE = "bench"
PADDING = "x" * 160
"""Makes a payload of about 256 bytes of each message."""


class Wire(NamedTuple):
    """A message as the broker carries it."""

    body: bytes
    headers: dict[str, Any]


class Consumer(NamedTuple):
    """How to start one, and how its messages look; `env` comes on top of ours."""

    name: str
    argv: tuple[str, ...]
    url: str
    """of a virtual host of its own; empty: the embedded store"""
    env: dict[str, str]
    message: Callable[[dict[str, Any]], Wire]
    state: Path = Path()
    """Forklight's state directory"""
    declares: bool = True
    """Whether it makes its queue itself as a durable classic one"""


def consumers(fresh_url: Callable[[], str], latency_file: Path, state: Path) -> list[Consumer]:
    """All of them. The first run downloads the peers. Raises ServerError if that fails."""
    programs = environment(FOLDER / "queues.txt")
    celery = (str(programs / "celery"), "--app", "celery_app", "worker", "--concurrency", "2", "--loglevel", "ERROR")
    quiet_celery = (*celery, "--without-gossip", "--without-mingle", "--pool", "prefork")
    dramatiq = (str(programs / "dramatiq"), "--processes", "2", "--threads", "8", "dramatiq_app")

    def peer(name: str, argv: tuple[str, ...], message: Callable[[dict[str, Any]], Wire]) -> Consumer:
        url = fresh_url()
        env = {"BROKER_URL": url, "LATENCY_FILE": str(latency_file), "PYTHONPATH": str(FOLDER)}
        return Consumer(name, argv, url, env, message)

    return [
        _forklight(EMBEDDED, state / "embedded", "", latency_file),
        _forklight(OURS, state / "broker", fresh_url(), latency_file),
        peer(CELERY, quiet_celery, _celery),
        peer(DRAMATIQ, dramatiq, _dramatiq),
    ]


def waiting_consumers(fresh_url: Callable[[], str], state: Path) -> list[Consumer]:
    """Consumers whose handler sleeps for 0.1 s, each with 1,000 messages in flight. Raises ServerError."""
    programs = environment(FOLDER / "waiting.txt")
    faststream = (str(programs / "faststream"), "run", "faststream_app:app", "--log-level", "error")
    dramatiq = (str(programs / "dramatiq"), "--processes", "2", "--threads", "500", "dramatiq_waiting")

    def peer(
        name: str, argv: tuple[str, ...], message: Callable[[dict[str, Any]], Wire], *, declares: bool
    ) -> Consumer:
        url = fresh_url()
        return Consumer(name, argv, url, {"BROKER_URL": url, "PYTHONPATH": str(FOLDER)}, message, declares=declares)

    return [
        _forklight(OURS, state / "waiting", fresh_url(), Path(), "waiting.toml"),
        peer(FASTSTREAM, faststream, _plain, declares=False),
        peer(DRAMATIQ_WAITING, dramatiq, _dramatiq, declares=True),
    ]


def _forklight(name: str, state: Path, url: str, latency_file: Path, config: str = "forklight.toml") -> Consumer:
    """Ours, as an operator starts it; without HTTP routes the listener is idle."""
    state.mkdir(mode=0o755)
    file = FOLDER / "forklight" / "queues" / config
    serve = (sys.executable, "-m", "forklight", "serve", str(file), "--state", str(state), "--quiet")
    env = {"FORKLIGHT_BUS_URL": url or "sqlite:", "LATENCY_FILE": str(latency_file)}
    return Consumer(name, (*serve, "--listen", "127.0.0.1:0"), url, env, _plain, state, declares=False)


def _plain(payload: dict[str, Any]) -> Wire:
    return Wire(json.dumps(payload).encode(), {})


def _celery(payload: dict[str, Any]) -> Wire:
    """Protocol 2 (docs.celeryq.dev, "Message Protocol")."""
    task_id = str(uuid.uuid4())
    headers = {"lang": "py", "task": "bench.handle", "id": task_id, "root_id": task_id, "parent_id": None}
    embed: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return Wire(json.dumps([[payload], {}, embed]).encode(), headers)


def _dramatiq(payload: dict[str, Any]) -> Wire:
    message = {
        "queue_name": QUEUE,
        "actor_name": "handle",
        "args": [payload],
        "kwargs": {},
        "options": {},
        "message_id": str(uuid.uuid4()),
        "message_timestamp": 0,
    }
    return Wire(json.dumps(message).encode(), {})
