"""The command line's side of the control socket: plain HTTP over a unix socket. Blocks."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode

from forklight.control_socket import socket_path


class NoServer(Exception):
    """No server answers for this state directory; the message says which and what to do."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the unix socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def get(state: Path, resource: str) -> bytes:
    """The body of one answer. Raises NoServer."""
    with _answer(state, resource, timeout_s=10.0) as response:
        return response.read()


def lines(state: Path, resource: str, **query: str) -> Iterator[bytes]:
    """The lines of an answer as they come, for as long as the server sends them. Raises NoServer."""
    with _answer(state, f"{resource}?{urlencode(query)}", timeout_s=None) as response:
        yield from iter(response.readline, b"")


@contextmanager
def _answer(state: Path, resource: str, timeout_s: float | None) -> Iterator[http.client.HTTPResponse]:
    try:
        with closing(_UnixConnection(socket_path(state), timeout_s)) as connection:
            connection.request("GET", resource)
            with connection.getresponse() as response:
                yield response
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoServer(f"no server runs on {state}: start one with forklight serve, or name its --state") from None
    except PermissionError:
        raise NoServer(f"the server on {state} belongs to another user: ask as that user, or as root") from None
    except (OSError, http.client.HTTPException) as error:
        raise NoServer(f"the server on {state} does not answer: {error}") from None
