"""The line of waiting events, compared with a plain list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.line import Line

steps = st.lists(st.tuples(st.sampled_from(["append", "insert", "pop", "discard"]), st.integers(0, 20)), max_size=40)


@pytest.mark.invariant("I7")
@given(steps)
def test_it_is_in_the_order_of_acceptance_and_knows_its_size(steps: list[tuple[str, int]]) -> None:
    line: Line[int] = Line()
    model: list[tuple[int, int]] = []
    now_ns = 0
    for ticket, (step, number) in enumerate(steps):
        now_ns += 1
        match step:
            case "append":
                line.append(ticket, now_ns, number)
                model.append((now_ns, ticket))
            case "insert":
                line.insert(ticket, number, ticket % 7)
                model.append((number, ticket))
                model.sort(key=lambda one: one[0])
                now_ns = max(now_ns, number)
            case "pop" if model:
                assert line.oldest_ns() == model[0][0]
                assert line.pop() == model.pop(0)[1]
            case "discard":
                line.discard(number)
                model = [one for one in model if one[1] != number]
        assert list(line) == [ticket for _, ticket in model]
        held = {ticket: number if step == "append" else ticket % 7 for ticket, (step, number) in enumerate(steps)}
        assert line.size_bytes == sum(held[ticket] for ticket in line)
    assert line.clear() == [ticket for _, ticket in model]
    assert (len(line), line.size_bytes) == (0, 0)
