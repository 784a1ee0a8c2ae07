"""Uploads a package, in pieces, from where an earlier upload broke off. Blocks."""

import time
from collections.abc import Callable
from pathlib import Path

from forklight.admin.places import Headers, NoServer, Refused, Session

PIECE_BYTES = 1024 * 1024
"""Not more than a proxy lets through: nginx refuses larger bodies unless told otherwise (client_max_body_size)."""
OFFSET, LENGTH = "Upload-Offset", "Upload-Length"
_MOST_FAILURES = 6
"""In a row. With the pauses between them, a server may be away for half a minute."""
_PROXY_FAILURES = (502, 503, 504)
_BEHIND = 409


def upload(
    session: Session,
    sha256: str,
    package: Path,
    progress: Callable[[int], None],
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Bring the package to the server and return how many bytes were sent: 0 if it was there.

    `progress` gets the number of bytes that are there, if any have to be sent. Raises NoServer and Refused; after
    several attempts, if the connection broke off in between.
    """
    size_bytes, sent, failures, at = package.stat().st_size, 0, 0, _received(session, sha256)
    with package.open("rb") as file:
        while at is not None:
            progress(at)
            file.seek(at)
            piece = file.read(PIECE_BYTES)
            try:
                then = _put(session, sha256, at, piece, size_bytes)
                if then is not None and then <= at:
                    raise NoServer(f"{session.place} does not keep what it gets: {then} bytes are there")
                at, sent, failures = then, sent + len(piece), 0
            except (NoServer, Refused) as error:
                failures += 1
                if failures == _MOST_FAILURES or not _may_pass(error):
                    raise
                pause(2.0 ** (failures - 2))
                at = _received_again(session, sha256, at)
    if sent:
        progress(size_bytes)
    return sent


def _received(session: Session, sha256: str) -> int | None:
    """Return how many bytes are there already; None if it is the whole package."""
    try:
        with session.answer("HEAD", f"/packages/{sha256}"):
            return None
    except Refused as error:
        if error.status == 404 and (offset := _offset(error.headers)) is not None:
            return offset
    with session.answer("GET", f"/packages/{sha256}"):  # the answer to a HEAD has no text that says what is wrong
        return None


def _received_again(session: Session, sha256: str, at: int | None) -> int | None:
    """Return what is there after a failure; `at` if the server cannot be asked now."""
    try:
        return _received(session, sha256)
    except (NoServer, Refused):
        return at


def _put(session: Session, sha256: str, at: int, piece: bytes, size_bytes: int) -> int | None:
    """Send a piece, and return where the next one begins; None after the last one."""
    target, headers = f"/packages/{sha256}?offset={at}", {LENGTH: str(size_bytes)}
    try:
        with session.answer("PUT", target, body=piece, headers=headers) as response:
            response.read()
            return _offset(dict(response.headers.items()))
    except Refused as error:
        if error.status == _BEHIND and (offset := _offset(error.headers)) is not None:
            return offset  # the answer to an earlier piece was lost, or somebody else uploads it, too
        raise


def _offset(headers: Headers) -> int | None:
    text = headers.get(OFFSET, "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _may_pass(error: Exception) -> bool:
    """Whether the next attempt may have more luck."""
    return not isinstance(error, Refused) or error.status in _PROXY_FAILURES
