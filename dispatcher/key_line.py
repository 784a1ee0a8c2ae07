"""The events that wait in a pool whose instances are not shared: each seeks a new instance, or that of its key. Pure.

An event without a key seeks an instance of its own. Of the events of one key only the first in line may seek one, and
only while the key has none; the others wait for it, however many instances are free. So `seeking` is the number of
instances that the line could use now.
"""

from bisect import bisect_left, insort

from dispatcher.line import Line, Ticket

_Place = tuple[int, int, Ticket]
"""When it was accepted, a number that tells apart those of the same moment, and the event."""


class KeyLine(Line[Ticket]):
    """A line that knows the key of each event, and which keys have an instance."""

    __slots__ = ("_count", "_held", "_of_key", "_places", "_seekers")

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._places: dict[Ticket, tuple[_Place[Ticket], str | None]] = {}
        """by event: its place and its key"""
        self._of_key: dict[str, list[_Place[Ticket]]] = {}
        """the waiting events of each key, in order"""
        self._held: set[str] = set()
        """the keys that have an instance"""
        self._seekers: list[_Place[Ticket]] = []
        """the events that seek an instance, in order"""

    @property
    def seeking(self) -> int:
        """How many events seek an instance."""
        return len(self._seekers)

    def append(self, ticket: Ticket, accepted_ns: int, size_bytes: int, key: str | None = None) -> None:
        super().append(ticket, accepted_ns, size_bytes)
        place = (accepted_ns, self._count, ticket)
        self._count += 1
        self._places[ticket] = (place, key)
        if key is None:
            insort(self._seekers, place)
            return
        same = self._of_key.setdefault(key, [])
        self._stop_seeking(key)
        insort(same, place)
        self._seek(key)

    def pop(self) -> Ticket:
        ticket = next(iter(self))
        self.discard(ticket)
        return ticket

    def pop_seeker(self) -> tuple[Ticket, str | None]:
        """Remove and return the first event that seeks an instance, and its key."""
        ticket = self._seekers[0][2]
        key = self._places[ticket][1]
        self.discard(ticket)
        return ticket, key

    def oldest_of_ns(self, key: str) -> int | None:
        """When the first event of the key was accepted; None if none waits."""
        same = self._of_key.get(key)
        return None if same is None else same[0][0]

    def pop_of(self, key: str) -> Ticket:
        """Remove and return the first event of the key. One must wait."""
        ticket = self._of_key[key][0][2]
        self.discard(ticket)
        return ticket

    def discard(self, ticket: Ticket) -> None:
        super().discard(ticket)
        if ticket not in self._places:
            return
        place, key = self._places.pop(ticket)
        if key is None:
            _remove(self._seekers, place)
            return
        self._stop_seeking(key)
        same = self._of_key[key]
        _remove(same, place)
        if same:
            self._seek(key)
        else:
            del self._of_key[key]

    def clear(self) -> list[Ticket]:
        self._places.clear()
        self._of_key.clear()
        self._seekers.clear()
        return super().clear()

    def clear_seekers(self) -> list[Ticket]:
        """Remove and return, in order, the events that seek an instance and those that wait for them."""
        found = [ticket for ticket in self if self._places[ticket][1] not in self._held]
        for ticket in found:
            self.discard(ticket)
        return found

    def has(self, key: str | None) -> bool:
        """Whether an event of the key waits, or the key has an instance."""
        return key in self._held or key in self._of_key

    def oldest_seeker_ns(self) -> int:
        """When the first event that seeks an instance was accepted. There must be one."""
        return self._seekers[0][0]

    def hold(self, key: str) -> None:
        """The key has an instance now, which serves its events."""
        self._stop_seeking(key)
        self._held.add(key)

    def release(self, key: str) -> None:
        """The instance of the key serves no more events of it; the first one that waits, if any, seeks another."""
        self._held.discard(key)
        self._seek(key)

    def _seek(self, key: str) -> None:
        if key not in self._held and (same := self._of_key.get(key)):
            insort(self._seekers, same[0])

    def _stop_seeking(self, key: str) -> None:
        if key not in self._held and (same := self._of_key.get(key)):
            _remove(self._seekers, same[0])


def _remove(places: "list[_Place[Ticket]]", place: "_Place[Ticket]") -> None:
    del places[bisect_left(places, place)]
