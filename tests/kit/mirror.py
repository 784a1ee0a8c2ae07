"""A server over TLS, on this machine, that gives files and fails in the ways of mirrors."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.kit.certificates import make_pair


class Mirror:
    """What it serves, and what was asked. Change the attributes between requests."""

    def __init__(self, certificate: Path) -> None:
        self.certificate = certificate
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.statuses: list[int] = []
        """Those of the next answers, before files are served again."""
        self.breaks_after: list[int] = []
        """After how many bytes of the body the next connections break off."""
        self.ignores_ranges = False
        self.has_length = True
        self.requests: list[tuple[str, dict[str, str]]] = []
        """Path and headers, with small letters."""
        self.was_asked = threading.Event()
        self.answers = threading.Event()
        """Requests wait while it is clear."""
        self.answers.set()

    def ranges(self) -> list[str]:
        return [headers.get("range", "") for _, headers in self.requests]


@contextlib.contextmanager
def running_mirror(folder: Path) -> Iterator[Mirror]:
    """A mirror whose certificate is made in `folder`."""
    pair = make_pair(folder)
    mirror = Mirror(pair.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"mirror": mirror}))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    mirror.url = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that trusts no certificate leaves."""


class _Handler(BaseHTTPRequestHandler):
    mirror: Mirror

    def do_GET(self) -> None:
        mirror = self.mirror
        mirror.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        mirror.was_asked.set()
        mirror.answers.wait()
        if mirror.statuses:
            self._end(mirror.statuses.pop(0))
        elif self.path in mirror.redirects:
            self._end(302, Location=mirror.redirects[self.path])
        elif self.path in mirror.files:
            self._give(mirror.files[self.path])
        else:
            self._end(404)

    def _give(self, content: bytes) -> None:
        mirror, span = self.mirror, self.headers.get("Range", "")
        start = int(span.removeprefix("bytes=").removesuffix("-")) if span and not mirror.ignores_ranges else 0
        if start >= len(content) > 0:
            self._end(416)
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if mirror.has_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: mirror.breaks_after.pop(0)] if mirror.breaks_after else body)

    def _end(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""
