"""Keys that requests must bring: who may. A key is 256 random bits, so one SHA-256 of it is as good as the slow hashes
that passwords need: there is nothing to guess. The file has no key, only hashes.

    <file>: {"NAME": {"sha256": "<hexadecimal>", "created": "<RFC 3339>"}, ...}
"""

import hmac
import logging
import re
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bus.event import Headers
from triggers.http.errors import KeysError, RefusedError
from triggers.http.head import Head

log = logging.getLogger(__name__)

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_HEADERS = ("authorization", "x-api-key")
_CHALLENGE = (("www-authenticate", 'Bearer realm="forklight"'),)
_CHECK_S = 1.0
"""How long a change of the file may go unnoticed."""


class Key(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of one."""

    sha256: str
    created: str


def new_key() -> str:
    """One that nobody has seen; its beginning says what it is to whoever finds it."""
    return f"fl_{token_urlsafe(32)}"


def digest(key: str) -> str:
    return sha256(key.encode(errors="surrogateescape")).hexdigest()


def read_keys(path: Path) -> dict[str, Key]:
    """By name; none if there is no file. Raises KeysError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Key])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise KeysError(f"the keys in {path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeysError(f"{path} is no file of keys ({error}): remove it and create them again") from error


class Keys:
    """Those of one file, which is looked at again when a second has passed; without a file, none."""

    def __init__(self, path: Path | None, now_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now_s = now_s
        self._checked_s = float("-inf")
        self._seen: object = None
        self._digests: tuple[bytes, ...] = ()

    def admit(self, head: Head) -> Head:
        """The same without its key, which no function needs to see. Raises RefusedError (401)."""
        key = sent_key(head.headers)
        if key is None:
            raise _unauthorized("this path needs a key: send it as Authorization: Bearer KEY, or as X-Api-Key: KEY")
        if not self._knows(digest(key)):
            raise _unauthorized("the key is not known")
        return replace(head, headers={name: text for name, text in head.headers.items() if name not in _HEADERS})

    def _knows(self, sent: str) -> bool:
        """Each is compared to its end, so that the time it takes tells nothing."""
        self._refresh()
        return sum(hmac.compare_digest(sent.encode(), known) for known in self._digests) > 0

    def _refresh(self) -> None:
        """A file that cannot be read admits nobody: a key that was revoked must not come back."""
        now_s = self._now_s()
        if self._path is None or now_s - self._checked_s < _CHECK_S:
            return
        self._checked_s = now_s
        try:
            found = self._path.stat()
            seen: object = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError as error:
            seen = error.errno
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._digests = tuple(key.sha256.encode() for key in read_keys(self._path).values())
        except KeysError as error:
            self._digests = ()
            log.error("no key is admitted: %s", error)


def sent_key(headers: Headers) -> str | None:
    """The one that a request brings; of two different ones, that of Authorization."""
    match = _BEARER.fullmatch(headers.get("authorization", "").strip())
    return match[1] if match else headers.get("x-api-key")


def _unauthorized(detail: str) -> RefusedError:
    return RefusedError(401, detail, headers=_CHALLENGE, last=False)
