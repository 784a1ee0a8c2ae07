"""Keys that requests must carry. The file has only their hashes. A key is 256 random bits and cannot be guessed, so one
SHA-256 is as good as the slow hash that a password needs.

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
    """What the file has of a key."""

    sha256: str
    created: str


def new_key() -> str:
    """Make a key. Its prefix tells anyone who finds it what it is."""
    return f"fl_{token_urlsafe(32)}"


def digest(key: str) -> str:
    return sha256(key.encode(errors="surrogateescape")).hexdigest()


def read_keys(path: Path) -> dict[str, Key]:
    """Read the keys by name; empty if the file does not exist. Raises KeysError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Key])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise KeysError(f"cannot read the keys in {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeysError(f"{path} is not a valid keys file ({error}): remove it and create the keys again") from error


class Keys:
    """The keys of a file, which is checked for changes once a second. Without a file there are none."""

    def __init__(self, path: Path | None, now_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now_s = now_s
        self._checked_s = float("-inf")
        self._seen: object = None
        self._digests: tuple[bytes, ...] = ()

    def admit(self, head: Head) -> Head:
        """Remove the key from the head, as no function needs it. Raises RefusedError (401) without a known key."""
        key = sent_key(head.headers)
        if key is None:
            raise _unauthorized("this path requires a key: send it as Authorization: Bearer KEY, or as X-Api-Key: KEY")
        if not self._knows(digest(key)):
            raise _unauthorized("the key is not valid")
        return replace(head, headers={name: text for name, text in head.headers.items() if name not in _HEADERS})

    def _knows(self, sent: str) -> bool:
        """Compare all keys to their end, so that the time taken reveals nothing."""
        self._refresh()
        return sum(hmac.compare_digest(sent.encode(), known) for known in self._digests) > 0

    def _refresh(self) -> None:
        """Read the file if it has changed. An unreadable file admits nobody, as it may have revoked any key."""
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
            log.error("no key is accepted: %s", error)


def sent_key(headers: Headers) -> str | None:
    """The key of a request; Authorization goes before X-Api-Key."""
    match = _BEARER.fullmatch(headers.get("authorization", "").strip())
    return match[1] if match else headers.get("x-api-key")


def _unauthorized(detail: str) -> RefusedError:
    return RefusedError(401, detail, headers=_CHALLENGE, last=False)
