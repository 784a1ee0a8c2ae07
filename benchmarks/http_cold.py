"""Cold starts over HTTP, one request at a time on an open connection; and the time to a server's first answer."""

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Literal, NamedTuple

from benchmarks.http_servers import Client, Running, Server, ServerError, running
from benchmarks.table import Row, Target, quantiles

_FIRST_PATH = "/hello"
_PAUSE_S = {"fork": 0.02, "load": 0.1, "boot": 0.2}
"""Between two requests, until what the last one started has ended."""
_TARGETS = {"fork": Target(3)}


class Times(NamedTuple):
    """How often each is measured."""

    forks: int
    loads: int
    boots: int
    first_answers: int


def starts(server: Running, kind: Literal["fork", "load", "boot"], times: int) -> Row:
    """Requests that each wait for a start of this kind. Raises ServerError if one tells another."""
    taken_ms = []
    with closing(Client(server)) as client:
        client.get(f"/{kind}")  # only now is everything certainly ready that stays
        for _ in range(times):
            time.sleep(_PAUSE_S[kind])
            answer = client.get(f"/{kind}")
            if answer.start != kind:
                raise ServerError(f"{server.name} answered GET /{kind} by {answer.start!r}")
            taken_ms.append(answer.taken_ms)
    return Row(f"start by {kind}, over HTTP", "ms", quantiles(taken_ms), None, _TARGETS.get(kind))


def first_answers(servers: Sequence[Server], times: int) -> list[Row]:
    """From the start of a server's first process to its first answer, in turns."""
    found: dict[str, list[float]] = {server.name: [] for server in servers}
    for _ in range(times):
        for server in servers:
            found[server.name].append(_first_answer_ms(server))
    return [Row(f"process start to first answer, {name}", "ms", quantiles(taken)) for name, taken in found.items()]


def _first_answer_ms(server: Server) -> float:
    with running(server) as up, closing(Client(up)) as client:
        client.get(_FIRST_PATH)
        return (time.monotonic_ns() - up.started_ns) / 1e6
