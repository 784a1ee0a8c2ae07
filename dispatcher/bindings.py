"""Which instance serves which key, in a pool that ties each key to one instance. Pure."""

from collections.abc import Iterable
from typing import Generic

from dispatcher.actions import Member
from dispatcher.key_line import KeyLine
from dispatcher.line import Ticket


class Bindings(Generic[Ticket, Member]):
    """A key has at most one instance and an instance at most one key; nothing is kept of a key without an instance."""

    def __init__(self) -> None:
        self.line: KeyLine[Ticket] = KeyLine()
        """the events that wait"""
        self._members: dict[str, Member] = {}
        self._keys: dict[Member, str] = {}

    def bind(self, member: Member, key: str) -> None:
        """From now on the instance serves the events of the key, and no others."""
        self._members[key] = member
        self._keys[member] = key
        self.line.hold(key)

    def unbind(self, member: Member) -> None:
        """The instance serves no more events, whether it had a key or not."""
        key = self._keys.pop(member, None)
        if key is not None:
            del self._members[key]
            self.line.release(key)

    def inherit(self, before: "Bindings[Ticket, Member]", members: Iterable[Member]) -> None:
        """These instances still run an event each, and the next one of their key has to wait for its end."""
        for member in members:
            if member in before._keys:
                self.bind(member, before._keys[member])

    def member(self, key: str) -> Member | None:
        """The instance of the key."""
        return self._members.get(key)

    def key(self, member: Member) -> str:
        """The key of the instance, which must have one."""
        return self._keys[member]
