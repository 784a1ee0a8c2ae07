"""What `reuse` means: whether an instance serves further events, and which events have the same key. Pure.

`key:header.x-session` and the like name a part of the event. Events in which it has the same text have the same key; an
event in which it is missing, empty, or neither a text nor a number has none.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, ClassVar

import msgspec

from bus import Event

KeyOf = Callable[[Event], str | None]

LONGEST_KEY = 256
"""A longer one, which a client may have chosen, is hashed: keys are held as long as instances."""
MOST_DATA_BYTES = 1024 * 1024
"""A larger body is not looked into: it would hold up the event loop for milliseconds."""
_SOURCES = ("header", "path", "query", "cookie", "data")
_NAME = re.compile(r"[^\s.]+")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2; a header of a message may have dots, too
_SCALARS = (str, bool, int, float)


class Reuse(str):
    """`always`, `never`, or `key:SOURCE.NAME`."""

    __slots__ = ()
    example: ClassVar[str] = "key:header.x-session"

    @classmethod
    def parse(cls, text: str) -> "Reuse":
        """Raises ValueError."""
        if text in ("always", "never"):
            return cls(text)
        kind, colon, expression = text.partition(":")
        if kind != "key" or not colon:
            hint = f': write "key:{text}"' if text.partition(".")[0] in _SOURCES else ""
            raise ValueError(f'is not "always", "never" or "key:" and a part of the event, "{cls.example}"{hint}')
        source, _, name = expression.partition(".")
        if source not in _SOURCES:
            raise ValueError(f'has no known source: write "key:" and {" or ".join(f"{one}.NAME" for one in _SOURCES)}')
        names = name.split(".") if source == "data" else [name]
        wanted = _HEADER if source == "header" else _NAME
        if not all(map(wanted.fullmatch, names)):
            raise ValueError(f'does not name a part of the event: write "key:{source}.NAME"')
        return cls(text)

    @property
    def source(self) -> str:
        """`header`, `path`, `query`, `cookie`, `data`; empty without a key."""
        return self.removeprefix("key:").partition(".")[0] if self.startswith("key:") else ""

    @property
    def name(self) -> str:
        """Which header, parameter, cookie or field; a field of a field with a dot."""
        return self.partition(".")[2]


ALWAYS = Reuse("always")


@lru_cache(maxsize=1024)
def key_of(reuse: Reuse) -> KeyOf | None:
    """The function that returns the key of an event; None if instances are shared by all events."""
    if reuse == ALWAYS:
        return None
    if not reuse.source:
        return _no_key
    find = _finder(reuse.source, reuse.name)

    def key(event: Event) -> str | None:
        return _text(find(event))

    return key


def _no_key(_event: Event) -> None:
    return None


def _text(value: object) -> str | None:
    if not isinstance(value, _SCALARS):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whoever wrote it may not tell one from the other, as JavaScript does not
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) <= LONGEST_KEY:
        return text or None
    return "\0" + blake2b(text.encode(errors="replace"), digest_size=32).hexdigest()


def _finder(source: str, name: str) -> Callable[[Event], object]:
    match source:
        case "header":
            return _header(name)
        case "path":
            return lambda event: None if event.http is None else event.http.params.get(name)
        case "query":
            return lambda event: None if event.http is None else event.http.query.get(name)
        case "cookie":
            return lambda event: None if event.http is None else event.http.cookies.get(name)
        case _:
            return _field(name.split("."))


def _header(name: str) -> Callable[[Event], object]:
    """Names are in lower case in a request, and as they were sent in a message."""
    lower = name.lower()

    def find(event: Event) -> object:
        if event.http is not None:
            return event.http.headers.get(lower)
        return None if event.queue is None else event.queue.headers.get(name)

    return find


def _field(names: list[str]) -> Callable[[Event], object]:
    decode = _decoder(names)

    def find(event: Event) -> object:
        if event.coding is not None or not 0 < len(event.body) <= MOST_DATA_BYTES or not _is_json(event):
            return None
        try:
            found: Any = decode(event.body.removeprefix(b"\xef\xbb\xbf"))
            for _ in names:
                found = found.f
            return None if found is msgspec.UNSET else msgspec.json.decode(found)
        except (msgspec.MsgspecError, ValueError, AttributeError, RecursionError):
            return None  # the guest says what is wrong with a body; without a key it shares nothing

    return find


def _decoder(names: list[str]) -> Callable[[bytes], object]:
    """Decodes only the objects on the way to the field, and skips all others."""
    inner: Any = msgspec.Raw
    for name in reversed(names):
        inner = msgspec.defstruct("Found", [("f", inner | msgspec.UnsetType, msgspec.UNSET)], rename={"f": name})
    return msgspec.json.Decoder(inner).decode


def _is_json(event: Event) -> bool:
    if event.decode is not None:
        return event.decode == "json"
    media_type = (event.datacontenttype or "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")
