"""What a slow call waited for, from the counts of the kernel before and after."""

import pytest

from bus.outcome import Waits
from sandbox.strain import Strain, Strains, waits_between


@pytest.mark.parametrize(
    ("before", "after", "waits"),
    [
        (Strain(), Strain(), None),
        (Strain(5, 5, 5, 5), Strain(5, 5, 5, 5), None),
        (Strain(None, 5), Strain(900, 5), None),  # a count that has just begun says nothing
        (Strain(1000, 0, 0, 2000), Strain(4500, 0, 0, 9000), Waits(throttled_ms=3.5, processor_ms=3.5)),
        (Strain(0, 0, 0, 0), Strain(0, 10, 20, 30), Waits(memory_ms=0.01, disk_ms=0.02, processor_ms=0.03)),
        (Strain(0), Strain(9_000_000), Waits(throttled_ms=50.0)),  # several processors at once, or from before
        (Strain(7), Strain(0), None),  # another group with the same name
    ],
)
def test_it_is_what_was_added_and_no_more_than_the_call_took(
    before: Strain, after: Strain, waits: Waits | None
) -> None:
    assert waits_between(before, after, 50.0) == waits


def test_the_kernel_is_asked_no_more_often_than_needed() -> None:
    asked: list[int] = []

    def ask() -> Strain:
        asked.append(1)
        return Strain(1000 * len(asked), 0, 0, 0)

    strains = Strains(ask)
    begun = strains.latest
    assert begun is not None
    assert asked == []
    strains.note(1_000_000_000)
    strains.note(1_050_000_000)
    assert len(asked) == 1
    before = strains.latest
    assert before is not None
    assert before.waits(1_050_000_000, 1_200_000_000) == Waits(throttled_ms=1.0)
    assert before.waits(1_050_000_000, 1_201_000_000) == Waits(throttled_ms=1.0)
    assert len(asked) == 2
    assert begun.waits(0, 1_201_000_000) == Waits(throttled_ms=2.0)


def test_where_nothing_is_counted_there_is_nothing_to_ask() -> None:
    strains = Strains(None)
    strains.note(1)
    assert strains.latest is None
