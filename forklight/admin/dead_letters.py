"""Dead letters as people see them: what one says of itself, which one is meant, and what it is when replayed. Pure.

A dead letter is a message in a trigger's `dead_letter` queue. Its headers tell where it came from and why it is there;
one that somebody else put into that queue may lack them, and can be looked at and removed, but not replayed.
"""

import json
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from bus import message as names
from bus.message import Message, Outgoing
from bus.store import Stored
from forklight.errors import ForklightError
from forklight.observe.queue_status import Place, written
from triggers.queue.errors import UnreadableError
from triggers.queue.headers import shown as shown_headers

PREVIEW_BYTES = 4096
_LAST_S = 253_402_300_799.0
"""The end of the year 9999: what lies behind it is milliseconds, or no time."""
_MOST_ATTEMPTS = 2.0**53
_TOLD = 5
"""How many letters are told that a name could mean."""

_DEATH = {
    *(names.REASON, names.FIRST_ERROR, names.LAST_ERROR, names.QUEUE, names.FUNCTION, names.DIED_AT),
    names.REMAINS,
}
_OF_ITS_LIFE = _DEATH | {names.ATTEMPT, names.STORED_AT, names.HOPS}
"""What a message that begins anew has not. Our other headers are its own: who called, properties of a broker."""


class DeadLetter(Struct, frozen=True, kw_only=True):
    """What a list shows of one."""

    id: str
    """the message's, or the key of one that has none"""
    key: str
    dead_letter: str
    """the queue it lies in, with its broker's name if that is not the bus's own: `orders.dead@shop`"""
    queue: str = ""
    """the queue it came from, written likewise; empty if it does not say"""
    function: str = ""
    reason: str = ""
    attempts: int | None = None
    first_error: str = ""
    last_error: str = ""
    died_at_s: float | None = None
    """seconds since the epoch"""
    content_type: str | None = None
    size_bytes: int = 0


class Shown(Struct, frozen=True, kw_only=True):
    """One, looked at closely: its original headers, and its body so far as it can be read."""

    letter: DeadLetter
    headers: dict[str, Any]
    """as a handler sees them, so that JSON can hold them"""
    correlation_id: str | None = None
    reply_to: str | None = None
    body: str = ""
    """text, JSON indented; else hexadecimal; at most `PREVIEW_BYTES` of the message's"""
    is_whole: bool = True
    """whether `body` shows all of it"""


class LetterError(ForklightError):
    """What was asked of dead letters names none, or more than one, or cannot be done with it; one line says why."""


def dead_letter(place: Place, stored: Stored) -> DeadLetter:
    """What the message at this place says of itself."""
    message, headers = stored.message, stored.message.headers
    origin = _text(headers.get(names.QUEUE))
    return DeadLetter(
        id=message.id or stored.key,
        key=stored.key,
        dead_letter=written(place),
        queue=written((place[0], origin)) if origin else "",
        function=_text(headers.get(names.FUNCTION)),
        reason=_text(headers.get(names.REASON)),
        attempts=_whole(headers.get(names.ATTEMPT)),
        first_error=_text(headers.get(names.FIRST_ERROR)),
        last_error=_text(headers.get(names.LAST_ERROR)),
        died_at_s=_number(headers.get(names.DIED_AT), _LAST_S),
        content_type=message.content_type,
        size_bytes=stored.size_bytes,
    )


def shown(place: Place, stored: Stored) -> Shown:
    """The same with its original headers and its body."""
    message = stored.message
    body, is_whole = preview(message.body, message.content_type)
    return Shown(
        letter=dead_letter(place, stored),
        headers=_headers(message.headers),
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        body=body,
        is_whole=is_whole,
    )


def _headers(headers: dict[str, Any]) -> dict[str, Any]:
    try:
        return shown_headers(headers)
    except UnreadableError as error:
        return {"": str(error)}


def preview(body: bytes, content_type: str | None) -> tuple[str, bool]:
    """A body as text (JSON indented) or, if it is none, in hexadecimal; and whether that is all of it."""
    if "json" in (content_type or ""):
        try:
            text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
            text = text.encode(errors="backslashreplace").decode()  # a lone surrogate is no text that can be sent
        except ValueError:
            pass
        else:
            return text[:PREVIEW_BYTES], len(text) <= PREVIEW_BYTES
    is_whole = len(body) <= PREVIEW_BYTES
    start = body[:PREVIEW_BYTES]
    try:
        return start.decode(), is_whole
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data" and not is_whole  # in the middle of a character
        return (start[: error.start].decode() if cut else start.hex(" ")), is_whole


class Search:
    """Finds letters by their names while all are looked at once, one after the other.

    A name is an id; else the key, or the beginning of an id, that no other letter has.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = dict.fromkeys(names)
        self._lengths = sorted({len(name) for name in names if name})
        self._exact: dict[str, _Found] = defaultdict(_Found)
        self._others: dict[str, _Found] = defaultdict(_Found)

    def look_at(self, place: Place, stored: Stored) -> None:
        """The next letter."""
        letter = dead_letter(place, stored)
        if letter.id in self._names:
            self._exact[letter.id].add(place, stored, letter)
        starts = {letter.id[:length] for length in self._lengths if length < len(letter.id)}
        for name in (starts | {letter.key}) & self._names.keys():
            self._others[name].add(place, stored, letter)

    def found(self) -> list[tuple[Place, Stored]]:
        """One for each name, in their order, each letter once. Raises LetterError."""
        found = [self._one(name) for name in self._names]
        return list({(place, stored.key): (place, stored) for place, stored in found}.values())

    def _one(self, name: str) -> tuple[Place, Stored]:
        found = self._exact.get(name) or self._others.get(name)
        if found is None or not name:
            raise LetterError(f"there is no dead letter {name!r}")
        if found.count > 1:
            listed = ", ".join(f"{one.id} in {one.dead_letter} (key {one.key})" for one in found.first)
            more = f" and {found.count - len(found.first)} more" if found.count > len(found.first) else ""
            raise LetterError(f"{name!r} means {found.count} dead letters: {listed}{more}")
        return found.letters[0]


class _Found:
    """The letters that one name means: how many, and what is needed of the first."""

    def __init__(self) -> None:
        self.count = 0
        self.letters: list[tuple[Place, Stored]] = []
        self.first: list[DeadLetter] = []

    def add(self, place: Place, stored: Stored, letter: DeadLetter) -> None:
        self.count += 1
        if self.count <= _TOLD:
            self.letters.append((place, stored))
            self.first.append(letter)


def belongs(letter: DeadLetter, queue: str) -> bool:
    """Whether it lies in this queue or came from it."""
    return queue in (letter.dead_letter, letter.queue)


def replayed(place: Place, stored: Stored) -> Outgoing | None:
    """The message as it goes back to the queue it came from, its attempts and hops counted anew.

    None if it does not say where it came from.
    """
    origin = _text(stored.message.headers.get(names.QUEUE))
    if not origin:
        return None
    kept = {name: value for name, value in stored.message.headers.items() if name not in _OF_ITS_LIFE}
    message: Message = replace(stored.message, headers=kept)
    return Outgoing(queue=origin, message=message, broker=place[0])


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object, most: float) -> float | None:
    """From 0 to `most`. Brokers and other people's tools may have made text of a number, or something else of it."""
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and 0 <= number <= most else None


def _whole(value: object) -> int | None:
    number = _number(value, _MOST_ATTEMPTS)
    return None if number is None else int(number)
