"""The client of the control socket, for the command line: plain HTTP over a unix socket. Blocks."""

import http.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO
from urllib.parse import urlencode

from forklight.admin.places import NoServer, NotRunning, Refused, Session, of_state

__all__ = ["NoServer", "NotRunning", "Refused", "download", "get", "lines", "post"]

_CHUNK_BYTES = 1024 * 1024

Query = Sequence[tuple[str, str]]


def get(state: Path, resource: str, query: Query = (), *, timeout_s: float | None = 10.0) -> bytes:
    """Return the body of the answer. Raises NoServer and Refused."""
    with _answer(state, "GET", _target(resource, query), timeout_s=timeout_s) as response:
        return response.read()


def post(
    state: Path,
    resource: str,
    body: bytes,
    content_type: str | None,
    *,
    query: Query = (),
    timeout_s: float | None = 60.0,
) -> bytes:
    """Send a body and return that of the answer. Raises NoServer and Refused."""
    headers = {"Content-Type": content_type} if content_type is not None else {}
    with _answer(state, "POST", _target(resource, query), timeout_s=timeout_s, body=body, headers=headers) as response:
        return response.read()


def download(state: Path, resource: str, into: BinaryIO) -> None:
    """Write the body of the answer, of any size, to `into`. Raises NoServer, Refused, and OSError of `into`."""
    with _answer(state, "GET", resource, timeout_s=None) as response:
        while chunk := response.read(_CHUNK_BYTES):
            into.write(chunk)


def lines(state: Path, resource: str, **query: str) -> Iterator[bytes]:
    """Yield the lines of the answer as they arrive, until the server ends it. Raises NoServer and Refused."""
    with _answer(state, "GET", _target(resource, list(query.items())), timeout_s=None) as response:
        yield from iter(response.readline, b"")


def _target(resource: str, query: Query) -> str:
    return f"{resource}?{urlencode(query)}" if query else resource


@contextmanager
def _answer(
    state: Path,
    method: str,
    target: str,
    *,
    timeout_s: float | None,
    body: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[http.client.HTTPResponse]:
    with (
        closing(Session(of_state(state), timeout_s)) as session,
        session.answer(method, target, body=body, headers=headers) as response,
    ):
        yield response
