"""Where a server is asked, for the command line: its control socket, or its TCP listener with a deploy key. Blocks."""

import http.client
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import IO, Protocol
from urllib.parse import urlsplit

from forklight.errors import ForklightError
from forklight.state.control_socket import socket_path

Headers = Mapping[str, str]
_NO_HEADERS: Headers = MappingProxyType({})
_UNIX = "unix:"


class NoServer(ForklightError):
    """No server answers there; the message names the place and says what to do."""


class NotRunning(NoServer):
    """No server runs on the state directory."""


class Refused(ForklightError):
    """The server refused the request: its status, its reason in one line, and its headers."""

    def __init__(self, status: int, line: str, headers: Headers = _NO_HEADERS) -> None:
        super().__init__(line)
        self.status = status
        self.headers = headers


class Place(Protocol):
    """Where a server is. `str(place)` names it in messages."""

    prefix: str
    """What comes before each path."""
    headers: Headers

    def connection(self, timeout_s: float | None) -> http.client.HTTPConnection:
        """Return a connection that is not open yet."""
        ...

    def failure(self, error: Exception) -> NoServer:
        """Return what this error of a connection means."""
        ...


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the unix socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class ControlSocket:
    """The control socket of a server, which needs no key."""

    def __init__(self, path: Path, where: str, advice: str) -> None:
        """`where` the server is, as in "no server runs on /srv/state", and what to do if none does."""
        self.prefix = ""
        self.headers: Headers = _NO_HEADERS
        self._path, self._where, self._advice = path, where, advice

    def __str__(self) -> str:
        return f"the server {self._where}"

    def connection(self, timeout_s: float | None) -> http.client.HTTPConnection:
        """Return a connection that is not open yet."""
        return _UnixConnection(self._path, timeout_s)

    def failure(self, error: Exception) -> NoServer:
        """Return what this error of a connection means."""
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return NotRunning(f"no server runs {self._where}: {self._advice}")
        if isinstance(error, PermissionError):
            return NoServer(f"{self} belongs to another user: run the command as that user, or as root")
        return NoServer(f"{self} does not answer: {error}")


class Remote:
    """The TCP listener of a server, over TLS or on this machine. The repr does not show the key."""

    def __init__(self, url: str, key: str, ca: Path | None = None) -> None:
        """Raises ValueError, which says what is wrong with the URL, the key or the certificates in `ca`."""
        parts = urlsplit(url)
        port = _port(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no server: write https://HOST:PORT, or unix:/PATH of a control socket")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("the URL has more than a host, a port and a path: the key belongs in FORKLIGHT_KEY")
        if parts.scheme == "http" and not _is_here(parts.hostname):
            remedy = "write https://, and set certificate and key in [admin] of the server; or use ssh -L"
            raise ValueError(f"the key must not cross the network to {parts.hostname} in the clear: {remedy}")
        if not (key.isascii() and key.isprintable() and key and " " not in key):
            raise ValueError("the deploy key is empty or has characters that no key has: copy it again")
        self._url = url.rstrip("/")
        self._host, self._port = parts.hostname, port
        self._tls = _tls(ca) if parts.scheme == "https" else None
        self.prefix = parts.path.rstrip("/")
        self.headers: Headers = {"Authorization": f"Bearer {key}"}

    def __str__(self) -> str:
        return f"the server at {self._url}"

    def connection(self, timeout_s: float | None) -> http.client.HTTPConnection:
        """Return a connection that is not open yet."""
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)

    def failure(self, error: Exception) -> NoServer:
        """Return what this error of a connection means."""
        return NoServer(f"{self} {_told(error, self._host, is_tls=self._tls is not None)}")


class Session:
    """One connection to a place, opened when it is needed, and again when the server has closed it."""

    def __init__(self, place: Place, timeout_s: float | None) -> None:
        self.place = place
        self._connection = place.connection(timeout_s)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def answer(
        self, method: str, target: str, *, body: bytes | IO[bytes] | None = None, headers: Headers = _NO_HEADERS
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield an answer that is no refusal. Raises NoServer and Refused; errors of the block as NoServer, too."""
        try:
            with suppress(BrokenPipeError):  # the server refused before it read everything; its answer says why
                self._connection.request(method, self.place.prefix + target, body, {**self.place.headers, **headers})
            with self._connection.getresponse() as response:
                if response.status >= 300:
                    raise _refusal(response)
                yield response
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self.place.failure(error) from None


def of_state(state: Path) -> ControlSocket:
    """Return the server of a state directory."""
    return ControlSocket(socket_path(state), f"on {state}", "start one with forklight serve, or pass its --state")


def _refusal(response: http.client.HTTPResponse) -> Refused:
    line = response.read().decode(errors="replace").strip() or response.reason
    if response.status < 400:  # a key is not carried to wherever somebody points
        line = f"it redirects to {response.headers.get('Location', 'another address')}: name that one, if it is right"
    return Refused(response.status, line, dict(response.headers.items()))


def place_of(to: str, key: str, ca: Path | None) -> Place:
    """Return the place of `https://HOST:PORT` or `unix:/PATH`. Raises ValueError."""
    if needs_key(to):
        return Remote(to, key, ca)
    path = to.removeprefix(_UNIX)
    if not path.startswith("/"):
        raise ValueError(f"{to!r} has no absolute path: write unix:/PATH of a control socket")
    return ControlSocket(Path(path), f"at {path}", "name the control.sock in the state directory of one that runs")


def needs_key(to: str) -> bool:
    """Whether a deploy key must be sent there."""
    return not to.startswith(_UNIX)


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        raise ValueError(f"{url!r} has no port from 0 to 65535") from None


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca is None else os.fspath(ca))
    except OSError as error:  # an SSLError is one
        why = "it has no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"--ca {ca} cannot be used: {why}") from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file may have the server's own certificate only
    return context


def _told(error: Exception, host: str, *, is_tls: bool) -> str:
    """Say what an error of a connection means, as the end of a sentence that begins with the place."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            return f"has a certificate that is not for {host!r}: name the host as its certificate does"
        why = error.verify_message or "it cannot be verified"
        return f"has a certificate that is not trusted ({why}): pass the issuer's with --ca FILE"
    if isinstance(error, ssl.SSLError) and not isinstance(error, TimeoutError):
        what = (error.reason or str(error)).replace("_", " ").lower()
        return f"does not speak TLS ({what}): does [admin] of the server have certificate and key?"
    if isinstance(error, socket.gaierror):
        return f"cannot be found: {error.strerror}"
    if isinstance(error, ConnectionRefusedError):
        return "is not there: nothing listens on that port; is the server running, with listen in [admin]?"
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    advice = "" if is_tls else "; if [admin] has a certificate, write https://"
    return f"broke off: {str(error) or type(error).__name__}{advice}"
