"""Which instance serves which key, in a pool that ties each key to one instance. Pure."""

from collections.abc import Iterable
from typing import Generic

from dispatcher.actions import Member
from dispatcher.key_line import KeyLine
from dispatcher.line import Ticket

PATIENCE_NS = 1_000_000_000
"""An instance goes on with the events of its key until one of a key without an instance has waited so long: then they
take turns. Less would give up what handlers keep in memory too often, more would let busy keys starve the others."""
TURN_NS = 250_000_000
"""How long a key keeps its instance at least while it has events. Without it, each event would have a start of its own
as soon as all events wait for longer than `PATIENCE_NS`, just when there is no time for starts."""


class Bindings(Generic[Ticket, Member]):
    """A key has at most one instance and an instance at most one key; nothing is kept of a key without an instance."""

    def __init__(self) -> None:
        self.line: KeyLine[Ticket] = KeyLine()
        """the events that wait"""
        self._members: dict[str, Member] = {}
        self._keys: dict[Member, str] = {}
        self._since_ns: dict[Member, int] = {}

    def bind(self, member: Member, key: str, now_ns: int) -> None:
        """From now on the instance serves the events of the key, and no others."""
        self._members[key] = member
        self._keys[member] = key
        self._since_ns[member] = now_ns
        self.line.hold(key)

    def unbind(self, member: Member) -> None:
        """The instance serves no more events, whether it had a key or not."""
        key = self._keys.pop(member, None)
        if key is not None:
            del self._members[key], self._since_ns[member]
            self.line.release(key)

    def inherit(self, before: "Bindings[Ticket, Member]", members: Iterable[Member]) -> None:
        """These instances still run an event each, and the next one of their key has to wait for its end."""
        for member in members:
            if member in before._keys:
                self.bind(member, before._keys[member], before._since_ns[member])

    def member(self, key: str) -> Member | None:
        """The instance of the key."""
        return self._members.get(key)

    def key(self, member: Member) -> str:
        """The key of the instance, which must have one."""
        return self._keys[member]

    def gives_way(self, member: Member, now_ns: int) -> bool:
        """Whether an instance with further events of its key should end, because one of another key waits for room."""
        if now_ns < self._since_ns[member] + TURN_NS:
            return False
        accepted_ns, oldest_ns = self.line.oldest_of_ns(self._keys[member]), self.line.oldest_seeker_ns()
        return accepted_ns is None or oldest_ns <= min(accepted_ns, now_ns - PATIENCE_NS)
