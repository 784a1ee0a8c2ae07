"""The events of one function that wait for an instance, in the order of acceptance. Pure."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

Ticket = TypeVar("Ticket")


class Line(Generic[Ticket]):
    """A FIFO that adds up the bytes of its events. Times are CLOCK_MONOTONIC nanoseconds."""

    __slots__ = ("_tickets", "size_bytes")

    def __init__(self) -> None:
        self._tickets: OrderedDict[Ticket, tuple[int, int]] = OrderedDict()
        """when each event was accepted, and its bytes"""
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets)

    def append(self, ticket: Ticket, accepted_ns: int, size_bytes: int, key: str | None = None) -> None:
        """Put an event at the end. `key` is for a `KeyLine`."""
        self._tickets[ticket] = (accepted_ns, size_bytes)
        self.size_bytes += size_bytes

    def insert(self, ticket: Ticket, accepted_ns: int, size_bytes: int, key: str | None = None) -> None:
        """Put an event where the time of its acceptance belongs, which may be before others."""
        self.append(ticket, accepted_ns, size_bytes, key)
        self._tickets = OrderedDict(sorted(self._tickets.items(), key=lambda item: item[1][0]))

    def entries(self) -> list[tuple[Ticket, int, int]]:
        """Every event in order, when it was accepted, and its bytes."""
        return [(ticket, accepted_ns, size_bytes) for ticket, (accepted_ns, size_bytes) in self._tickets.items()]

    def pop(self) -> Ticket:
        """Remove and return the first in line."""
        ticket, (_, size_bytes) = self._tickets.popitem(last=False)
        self.size_bytes -= size_bytes
        return ticket

    def discard(self, ticket: Ticket) -> None:
        """Remove the event, if it is in line."""
        _, size_bytes = self._tickets.pop(ticket, (0, 0))
        self.size_bytes -= size_bytes

    def clear(self) -> list[Ticket]:
        """Empty the line and return what was in it, in order."""
        tickets = list(self._tickets)
        self._tickets.clear()
        self.size_bytes = 0
        return tickets

    def oldest_ns(self) -> int:
        """When the first in line was accepted. The line must not be empty."""
        return next(iter(self._tickets.values()))[0]
