"""The client of the control socket, for the command line: plain HTTP over a unix socket. Blocks."""

import http.client
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO
from urllib.parse import urlencode

from forklight.errors import ForklightError
from forklight.state.control_socket import socket_path


class NoServer(ForklightError):
    """No server answers for the state directory; the message names it and says what to do."""


class NotRunning(NoServer):
    """No server runs on the state directory."""


class Refused(ForklightError):
    """The server refused the request: its status, and its reason in one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the unix socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


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
    try:
        with closing(_UnixConnection(socket_path(state), timeout_s)) as connection:
            with suppress(BrokenPipeError):  # the server refused before it read everything; its answer says why
                connection.request(method, target, body, dict(headers))
            with connection.getresponse() as response:
                if response.status >= 400:
                    raise Refused(response.status, response.read().decode(errors="replace").strip())
                yield response
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(f"no server runs on {state}: start one with forklight serve, or pass its --state") from None
    except PermissionError:
        raise NoServer(
            f"the server on {state} belongs to another user: run the command as that user, or as root"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise NoServer(f"the server on {state} does not answer: {error}") from None
