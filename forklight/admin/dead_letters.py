"""Dead letters: how one is shown, which one a name means, and how one is replayed. Pure.

A dead letter is a message in a trigger's `dead_letter` queue. Its headers say where it came from and why it is there. A
message that another program put into that queue may lack them; it can be shown and removed, but not replayed.
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
from triggers.queue.headers import visible as visible_headers

PREVIEW_BYTES = 4096
_LAST_S = 253_402_300_799.0
"""The end of the year 9999: a larger number is in milliseconds, or not a time."""
_MOST_ATTEMPTS = 2.0**53
_MOST_LISTED = 5
"""Letters listed for an ambiguous name."""

_DEATH = {
    *(names.REASON, names.FIRST_ERROR, names.LAST_ERROR, names.QUEUE, names.FUNCTION, names.DIED_AT),
    names.REMAINS,
}
_OF_ITS_LIFE = _DEATH | {names.ATTEMPT, names.STORED_AT, names.HOPS}
"""Headers that a replayed message loses. It keeps our others, such as its caller and the properties of a broker."""


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A dead letter in a list."""

    id: str
    """the message's id, or its key if it has no id"""
    key: str
    dead_letter: str
    """the queue it lies in, with the name of its broker unless that is the bus's own: `orders.dead@shop`"""
    queue: str = ""
    """the queue it came from, in the same form; empty if its headers do not say"""
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
    """A dead letter in full: its original headers, and its body as far as it is readable."""

    letter: DeadLetter
    headers: dict[str, Any]
    """in the form that a handler sees, which JSON can hold"""
    correlation_id: str | None = None
    reply_to: str | None = None
    body: str = ""
    """text, with JSON indented, or hexadecimal; at most `PREVIEW_BYTES` of the message's body"""
    is_whole: bool = True
    """whether `body` is complete"""


class LetterError(ForklightError):
    """A name means no dead letter or several, or the letter cannot be replayed; the message is one line."""


def dead_letter(place: Place, stored: Stored) -> DeadLetter:
    """Read a dead letter's headers."""
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
    """Return a dead letter with its original headers and its body."""
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
        return visible_headers(headers)
    except UnreadableError as error:
        return {"": str(error)}


def preview(body: bytes, content_type: str | None) -> tuple[str, bool]:
    """Return a body as text, with JSON indented, or in hexadecimal; and whether it is complete."""
    if "json" in (content_type or ""):
        try:
            text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
            text = text.encode(errors="backslashreplace").decode()  # a lone surrogate cannot be encoded
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
    """Finds letters by their names in one pass over all of them.

    A name is an id, or else a key or the beginning of an id that no other letter has.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = dict.fromkeys(names)
        self._lengths = sorted({len(name) for name in names if name})
        self._exact: dict[str, _Found] = defaultdict(_Found)
        self._others: dict[str, _Found] = defaultdict(_Found)

    def look_at(self, place: Place, stored: Stored) -> None:
        letter = dead_letter(place, stored)
        if letter.id in self._names:
            self._exact[letter.id].add(place, stored, letter)
        starts = {letter.id[:length] for length in self._lengths if length < len(letter.id)}
        for name in (starts | {letter.key}) & self._names.keys():
            self._others[name].add(place, stored, letter)

    def found(self) -> list[tuple[Place, Stored]]:
        """Return the letter of each name, in order, each letter once. Raises LetterError."""
        found = [self._one(name) for name in self._names]
        return list({(place, stored.key): (place, stored) for place, stored in found}.values())

    def _one(self, name: str) -> tuple[Place, Stored]:
        found = self._exact.get(name) or self._others.get(name)
        if found is None or not name:
            raise LetterError(f"there is no dead letter {name!r}")
        if found.count > 1:
            listed = ", ".join(f"{one.id} in {one.dead_letter} (key {one.key})" for one in found.first)
            more = f" and {found.count - len(found.first)} more" if found.count > len(found.first) else ""
            raise LetterError(f"{name!r} matches {found.count} dead letters: {listed}{more}")
        return found.letters[0]


class _Found:
    """The letters that match one name: their number, and the first `_MOST_LISTED`."""

    def __init__(self) -> None:
        self.count = 0
        self.letters: list[tuple[Place, Stored]] = []
        self.first: list[DeadLetter] = []

    def add(self, place: Place, stored: Stored, letter: DeadLetter) -> None:
        self.count += 1
        if self.count <= _MOST_LISTED:
            self.letters.append((place, stored))
            self.first.append(letter)


def belongs(letter: DeadLetter, queue: str) -> bool:
    """Whether the letter lies in `queue` or came from it."""
    return queue in (letter.dead_letter, letter.queue)


def replayed(place: Place, stored: Stored) -> Outgoing | None:
    """Return the message for the queue it came from, with attempts and hops counted anew.

    None if its headers do not name that queue.
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
    """Read a number from 0 to `most`; None for anything else. Brokers and other tools may have turned it into text."""
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and 0 <= number <= most else None


def _whole(value: object) -> int | None:
    number = _number(value, _MOST_ATTEMPTS)
    return None if number is None else int(number)
