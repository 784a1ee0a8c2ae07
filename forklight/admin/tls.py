"""TLS of the admin listener. A certificate that has been replaced is used from the next connection on."""

import logging
from pathlib import Path
from ssl import SSLContext, SSLObject, SSLSocket

from forklight.config.admin import TlsError, tls_context
from triggers.http import ListenError

log = logging.getLogger(__name__)

_Seen = tuple[object, ...]


def renewing_context(certificate: Path, key: Path) -> SSLContext:
    """Return the context of a listener. Raises ListenError. Blocks.

    The two files are looked at in each handshake, which names no file and costs two calls of stat(2).
    """
    try:
        context = tls_context(certificate, key)
    except TlsError as error:
        raise ListenError(f"cannot listen for [admin]: {error}") from None
    renewal = _Renewal(certificate, key, context)
    context.sni_callback = renewal.begin  # called in every handshake, whether the client names a host or not
    return context


class _Renewal:
    def __init__(self, certificate: Path, key: Path, context: SSLContext) -> None:
        self._files = (certificate, key)
        self._seen = self._look()
        self._current = context

    def begin(self, connection: SSLSocket | SSLObject, _name: str | None, _context: SSLContext) -> None:
        """Give the connection the present certificate; the former one as long as the files make no pair."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._current = tls_context(*self._files)
            except TlsError as error:
                log.error("the former certificate of [admin] stays in use: %s", error)
        connection.context = self._current

    def _look(self) -> _Seen:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> object:
    try:
        found = file.stat()
    except OSError as error:
        return error.errno
    return found.st_ino, found.st_mtime_ns, found.st_size
