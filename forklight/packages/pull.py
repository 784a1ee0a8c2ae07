"""Pulls a package from its source into the store. Blocks.

Theory of operation. What is received goes to the store piece by piece, and stays there if the connection breaks off, so
that the next try asks for the rest. The SHA-256 decides whether the bytes are right, wherever they came from. Failures
that may pass are tried again, with growing pauses, as long as that brings bytes; all others end the pull at once.
A worker thread of anyio whose task is cancelled stops at the next piece.

The headers of a source go to its own host, port and scheme, and to nobody else that it redirects to.
"""

import http.client
import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from anyio.from_thread import check_cancelled
from msgspec import Struct

from forklight.packages.errors import (
    MissingPackage,
    PackageError,
    PackageRefused,
    PackageTooLarge,
    PullFailed,
    StoreFailed,
    WrongBytes,
    WrongOffset,
)
from forklight.packages.source import Source, is_loopback, origin_of, url_problem
from forklight.packages.store import PackageStore

log = logging.getLogger(__name__)

_CHUNK_BYTES = 256 * 1024
_TOLD_EVERY_S = 10.0
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_ADVICE = {
    401: "check the headers",
    403: "check the headers",
    404: "check the url",
    410: "check the url",
}


class Patience(Struct, frozen=True, kw_only=True):
    """How long a pull goes on, in seconds."""

    tries: int = 5
    """In a row that bring no byte."""
    pause_s: float = 0.5
    """After the first of them; twice that after each further one."""
    longest_pause_s: float = 15.0
    stall_s: float = 15.0
    """Without a byte."""
    whole_s: float = 900.0


class _MayPass(PackageError):
    """A failure that another try may not meet, after `retry_after_s` if the server says so."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def pull(source: Source, store: PackageStore, patience: Patience | None = None) -> Path:
    """Return the path of the package, which is pulled if it is not in the store. Raises PackageError."""
    if store.has(source.sha256):
        return store.path(source.sha256)
    return _Pull(source, store, patience or Patience()).run()


class _Pull:
    def __init__(self, source: Source, store: PackageStore, patience: Patience) -> None:
        self._source, self._store, self._patience = source, store, patience
        self._opener = _opener(source)
        self._begun_s = time.monotonic()
        self._told_s = 0.0
        self._fruitless = 0
        self._is_pieced = False
        """Whether the bytes in the store may be of several files."""
        self._restarts = 0

    def run(self) -> Path:
        sha256 = self._source.sha256
        while True:
            if self._store.has(sha256):  # somebody else has pulled it meanwhile
                return self._store.finish(sha256)
            before = self._store.received(sha256)
            try:
                self._receive(before)
                path = self._store.finish(sha256)
            except (WrongOffset, MissingPackage):
                self._again(_MayPass("it is being pulled by somebody else, too"), brought=True)
            except WrongBytes as error:
                if not self._is_pieced or self._restarts:
                    what = f"it has the SHA-256 {error.found}, not {sha256}"
                    raise self._failed(f"{what}: correct sha256 or url") from error
                self._restarts += 1
            except (PackageRefused, StoreFailed) as error:
                raise self._failed(str(error)) from error
            except _MayPass as error:
                self._again(error, brought=self._store.received(sha256) > before)
            else:
                took_s = time.monotonic() - self._begun_s
                log.info("%s: pulled %.1f MB in %.1f s", self._source.shown, path.stat().st_size / 1e6, took_s)
                return path

    def _again(self, error: _MayPass, *, brought: bool) -> None:
        """Wait before the next try. Raises PullFailed if there have been enough."""
        patience, self._fruitless = self._patience, 0 if brought else self._fruitless + 1
        spent_s = time.monotonic() - self._begun_s
        if self._fruitless >= patience.tries or spent_s > patience.whole_s:
            raise self._failed(f"{error} (tried for {spent_s:.0f} s)") from error
        pause_s = patience.pause_s * 2 ** max(0, self._fruitless - 1)
        log.warning("%s: %s; trying again", self._source.shown, error)
        _wait(min(max(pause_s, error.retry_after_s), patience.longest_pause_s))

    def _receive(self, received: int) -> None:
        """Add what the source sends to the `received` bytes. Raises _MayPass, PullFailed and PackageError."""
        headers = {"User-Agent": "forklight", "Accept-Encoding": "identity"}
        if received:
            headers["Range"] = f"bytes={received}-"
        request = Request(self._source.url, headers=headers)  # noqa: S310  https, or of this machine: source.py
        _add_secret(request, self._source)
        try:
            with self._opener.open(request, timeout=self._patience.stall_s) as response:
                self._store_body(response, received)
        except HTTPError as error:
            with error:
                self._refused(error, received)
        except URLError as error:
            self._unreachable(error.reason)
        except (OSError, http.client.HTTPException) as error:
            self._unreachable(error)

    def _store_body(self, response: http.client.HTTPResponse, received: int) -> None:
        offset = received if _goes_on_from(response, received) else 0
        self._is_pieced = offset > 0
        if received and not offset:
            self._store.forget(self._source.sha256)
        whole = None if response.length is None else offset + response.length
        if whole is not None and whole > self._store.bounds.package_bytes:
            raise self._too_large()
        if whole is not None:
            self._store.expect(self._source.sha256, whole)
        while chunk := response.read1(_CHUNK_BYTES):
            try:
                offset = self._store.append(self._source.sha256, offset, chunk)
            except PackageTooLarge as error:
                raise self._too_large() from error
            _stop_if_cancelled()
            if (spent_s := time.monotonic() - self._begun_s) > self._told_s + _TOLD_EVERY_S:
                self._told_s = spent_s
                log.warning("%s: it takes long: %.1f MB in %.0f s", self._source.shown, offset / 1e6, spent_s)
            if spent_s > self._patience.whole_s:
                raise _MayPass(f"it sent {offset} bytes, too slowly")
        if whole is not None and offset < whole:
            raise _MayPass(f"the connection broke off after {offset} of {whole} bytes")
        if not offset:
            raise _MayPass("the server sent nothing")

    def _refused(self, error: HTTPError, received: int) -> None:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and received:
            self._is_pieced = True
            return  # all of it is here, if it is the right file
        what = f"the server answers {error.code} {error.reason}"
        if error.code in _MAY_PASS:
            wait = error.headers.get("Retry-After", "")
            raise _MayPass(what, float(wait) if wait.isdecimal() else 0.0)
        advice = _ADVICE.get(error.code, "")
        raise self._failed(what + f": {advice}" * bool(advice)) from None

    def _unreachable(self, reason: object) -> None:
        if isinstance(reason, ssl.SSLCertVerificationError):
            authority = "name the file of its authority in SSL_CERT_FILE, if it is your own"
            raise self._failed(f"its certificate is not valid: {reason.verify_message}; {authority}")
        if isinstance(reason, TimeoutError):
            raise _MayPass(f"the server sends nothing for {self._patience.stall_s:g} s")
        if isinstance(reason, http.client.HTTPException):
            raise _MayPass(f"the answer broke off, or is not HTTP: {reason or type(reason).__name__}")
        said = (reason.strerror or str(reason)) if isinstance(reason, OSError) else str(reason)
        raise _MayPass(f"the server cannot be reached: {said or type(reason).__name__}")

    def _too_large(self) -> PullFailed:
        return self._failed(
            f"it has more than {self._store.bounds.package_bytes / 1e6:.0f} MB, which is the limit here"
        )

    def _failed(self, reason: str) -> PullFailed:
        return PullFailed(f"{self._source.shown} cannot be pulled: {reason}")


class _Redirects(HTTPRedirectHandler):
    max_redirections = 5

    def __init__(self, source: Source) -> None:
        self._source = source

    def redirect_request(  # noqa: PLR0917  urllib's
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        problem = url_problem(newurl.partition("#")[0])
        if not problem and newurl.startswith("http:") and self._source.url.startswith("https:"):
            problem = "is not encrypted"  # not even on this machine: the mirror must not choose what is asked here
        if problem:
            fp.close()
            shown = Source(url=newurl, sha256="").shown
            raise PullFailed(f"{self._source.shown} cannot be pulled: it redirects to {shown}, which {problem}")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and origin_of(newurl) == origin_of(self._source.url):
            _add_secret(request, self._source)
        return request


def _opener(source: Source) -> OpenerDirector:
    proxies = ProxyHandler({} if is_loopback(origin_of(source.url)[1]) else None)
    return build_opener(proxies, _Redirects(source), HTTPSHandler(context=ssl.create_default_context()))


def _add_secret(request: Request, source: Source) -> None:
    """Add the source's headers, which urllib does not pass on to where this request is redirected."""
    for name, value in source.headers.items():
        request.add_unredirected_header(name, value)


def _goes_on_from(response: http.client.HTTPResponse, received: int) -> bool:
    is_part = response.status == http.HTTPStatus.PARTIAL_CONTENT
    return is_part and response.headers.get("Content-Range", "").startswith(f"bytes {received}-")


def _stop_if_cancelled() -> None:
    try:
        check_cancelled()
    except RuntimeError:  # not a worker thread of anyio
        return


def _wait(pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
    end_s = clock() + pause_s
    while (rest_s := end_s - clock()) > 0:
        _stop_if_cancelled()
        time.sleep(min(rest_s, 0.2))
