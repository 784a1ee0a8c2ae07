"""Keys that requests must carry. The file has only their hashes. A key is 256 random bits and cannot be guessed, so one
SHA-256 is as good as the slow hash that a password needs.

    <file>: {"NAME": {"sha256": "<hexadecimal>", "created": "<RFC 3339>", "scopes": ["<scope>", ...]}, ...}

A key without scopes has no `scopes`. A deploy key has `"deploy": true`: it deploys applications, those in its
`"applications": ["NAME", ...]` if it has that, and opens no route.
"""

import hmac
import logging
import re
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from bus.event import Headers
from triggers.http.errors import KeysError, RefusedError
from triggers.http.head import Head
from triggers.http.policy.scopes import missing

log = logging.getLogger(__name__)

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_HEADERS = ("authorization", "x-api-key")
_CHALLENGE = (("www-authenticate", 'Bearer realm="forklight"'),)
_CHECK_S = 1.0
"""How long a revoked key or scope may still be accepted. A new one is accepted at once."""
_INDEX_DIGITS = 16


class Key(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the file has of a key."""

    sha256: str
    created: str
    scopes: tuple[str, ...] = ()
    deploy: bool = False
    applications: Annotated[tuple[str, ...], Meta(min_length=1)] = ()
    """an empty list in the file is refused: it reads like none, but would be every one"""


class Holder(Struct, frozen=True, gc=False):
    """Whose key a request has, and what the key may be used for."""

    name: str
    scopes: tuple[str, ...] = ()
    deploys: bool = False
    applications: tuple[str, ...] = ()
    """those that it may deploy; empty for all of them"""

    def may_deploy(self, application: str) -> bool:
        return self.deploys and (not self.applications or application in self.applications)


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
        raise KeysError(
            f"{path} is not a valid keys file ({error}): mend it, or remove it and create the keys again"
        ) from error


class Keys:
    """The keys of a file, which is checked for changes once a second. Without a file there are none."""

    def __init__(self, path: Path | None, now_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now_s = now_s
        self._checked_s = float("-inf")
        self._seen: object = None
        self._known: dict[str, tuple[bytes, Holder]] = {}
        """By the first digits of the digest: whole digests are compared in constant time."""

    def holder(self, headers: Headers, required: Sequence[str] = ()) -> Holder:
        """Whose key for routes it is. Raises RefusedError (401) without a known one.

        It may lack `required` scopes, but not those that were given to it before this call.
        """
        key = sent_key(headers)
        if key is None:
            raise _unauthorized("this path requires a key: send it as Authorization: Bearer KEY, or as X-Api-Key: KEY")
        found = self._known_holder(key, required)
        if found is None:
            raise _unauthorized("the key is not valid")
        if found.deploys:
            raise _unauthorized("the key is a deploy key, which opens no route: make another one without --deploy")
        return found

    def known(self, headers: Headers) -> Holder | None:
        """Whose key it is, of either kind; None for an unknown one."""
        key = sent_key(headers)
        return None if key is None else self._known_holder(key, ())

    def deployer(self, headers: Headers) -> Holder | None:
        """Whose deploy key it is; None if none is sent. Raises RefusedError (401) for any other key."""
        key = sent_key(headers)
        if key is None:
            return None
        found = self._known_holder(key, ())
        if found is None:
            raise _unauthorized("the key is not valid")
        if not found.deploys:
            raise _unauthorized("the key is not a deploy key: forklight keys create NAME --deploy makes one")
        return found

    def has_deployers(self) -> bool:
        """Whether there is any deploy key; as of the last call, a second ago at most."""
        now_s = self._now_s()
        if now_s - self._checked_s >= _CHECK_S:
            self._refresh(now_s)
        return any(holder.deploys for _, holder in self._known.values())

    def _known_holder(self, key: str, required: Sequence[str]) -> Holder | None:
        """The holder of the key as of a second ago at most; as of now if the key seems unknown or lacks scopes."""
        sent, now_s = digest(key), self._now_s()
        if now_s - self._checked_s >= _CHECK_S:
            self._refresh(now_s)
        found = self._find(sent)
        if found is None or missing(found.scopes, required):
            self._refresh(now_s)
            found = self._find(sent)
        return found

    def _find(self, sent: str) -> Holder | None:
        known, holder = self._known.get(sent[:_INDEX_DIGITS], (b"", None))
        return holder if hmac.compare_digest(sent.encode(), known) else None

    def _refresh(self, now_s: float) -> None:
        """Read the file if it has changed. An unreadable file admits nobody, as it may have revoked any key."""
        if self._path is None:
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
            known = read_keys(self._path)
            self._known = {
                key.sha256[:_INDEX_DIGITS]: (key.sha256.encode(), _holder(name, key)) for name, key in known.items()
            }
        except KeysError as error:
            self._known = {}
            log.error("no key is accepted: %s", error)


def _holder(name: str, key: Key) -> Holder:
    return Holder(name, key.scopes, key.deploy, key.applications)


def without_key(head: Head) -> Head:
    """Remove the key, which no function needs."""
    return replace(head, headers={name: text for name, text in head.headers.items() if name not in _HEADERS})


def sent_key(headers: Headers) -> str | None:
    """The key of a request; Authorization goes before X-Api-Key."""
    match = _BEARER.fullmatch(headers.get("authorization", "").strip())
    return match[1] if match else headers.get("x-api-key")


def _unauthorized(detail: str) -> RefusedError:
    return RefusedError(401, detail, headers=_CHALLENGE, last=False)
