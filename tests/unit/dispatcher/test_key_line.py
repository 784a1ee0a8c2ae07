"""The line of events with keys, compared with a plain list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.key_line import KeyLine

keys = st.sampled_from([None, "a", "b", "c"])
actions = ["append", "insert", "pop", "pop_seeker", "pop_of", "discard", "hold", "clear_seekers"]
steps = st.lists(st.tuples(st.sampled_from(actions), keys, st.integers(0, 20)), max_size=50)


class Model:
    """The events in order, each as when it was accepted, its ticket and its key."""

    def __init__(self) -> None:
        self.events: list[tuple[int, int, str | None]] = []
        self.held: set[str] = set()

    def seekers(self) -> list[int]:
        """The first event of each key without an instance, and every event without a key."""
        found: list[int] = []
        seen: set[str | None] = set(self.held)
        for _, ticket, key in self.events:
            if key not in seen:
                found.append(ticket)
            if key is not None:
                seen.add(key)
        return found

    def last_ns(self) -> int:
        return max((accepted_ns for accepted_ns, _, _ in self.events), default=0)

    def add(self, accepted_ns: int, ticket: int, key: str | None) -> None:
        self.events = sorted([*self.events, (accepted_ns, ticket, key)], key=lambda one: one[0])

    def clear_seekers(self) -> list[int]:
        gone = [ticket for _, ticket, key in self.events if key not in self.held]
        self.events = [one for one in self.events if one[2] in self.held]
        return gone

    def of(self, key: str | None) -> list[int]:
        return [ticket for _, ticket, its in self.events if its == key]

    def remove(self, ticket: int) -> None:
        self.events = [one for one in self.events if one[1] != ticket]


@pytest.mark.invariant("I7")
@given(steps)
def test_it_knows_who_seeks_an_instance(steps: list[tuple[str, str | None, int]]) -> None:
    line: KeyLine[int] = KeyLine()
    model = Model()
    for ticket, (step, key, number) in enumerate(steps):
        match step:
            case "append" | "insert":
                accepted_ns = number if step == "insert" else model.last_ns() + 1
                getattr(line, step)(ticket, accepted_ns, 1, key)
                model.add(accepted_ns, ticket, key)
            case "pop" if model.events:
                assert line.pop() == model.events[0][1]
                model.remove(model.events[0][1])
            case "pop_seeker" if model.seekers():
                first = model.seekers()[0]
                assert line.oldest_seeker_ns() == next(one[0] for one in model.events if one[1] == first)
                assert line.pop_seeker()[0] == first
                model.remove(first)
            case "pop_of" if key and model.of(key):
                first = model.of(key)[0]
                assert line.pop_of(key) == first
                model.remove(first)
            case "discard":
                line.discard(number)
                model.remove(number)
            case "hold" if key in model.held and key:
                line.release(key)
                model.held.discard(key)
            case "hold" if key:
                line.hold(key)
                model.held.add(key)
            case "clear_seekers":
                assert line.clear_seekers() == model.clear_seekers()
        assert list(line) == [one for _, one, _ in model.events]
        assert (line.seeking, line.size_bytes) == (len(model.seekers()), len(model.events))
        assert [line.has(one) for one in "abc"] == [one in model.held or model.of(one) != [] for one in "abc"]
