"""Memory over time: what many processes hold together, summed up without a list of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.usage import LEAST_KB, Crowd, Held, Level, Meter

BEGINS, ENDS = -1, -2
_LIVES = st.lists(
    st.tuples(
        st.integers(0, 10**6),  # born
        st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), max_size=5),  # readings: after, KiB
        st.integers(1, 10**6),  # lives so long after the last
        st.sampled_from([0, 5000]),  # memory from before
    ),
    max_size=8,
)


@pytest.mark.invariant("I41")
@given(_LIVES, st.integers(0, 10**6))
def test_the_sum_is_that_of_each_reading_until_the_next(
    lives: list[tuple[int, list[tuple[int, int]], int, int]], later_ns: int
) -> None:
    crowd, steps, expected, lived_ns = Crowd(), [], 0, 0
    for number, (born_ns, readings, left_ns, beside_kb) in enumerate(lives):
        at_ns, kb = born_ns, readings[0][1] if readings else 0  # the first one counts back to the start
        steps.append((at_ns, number, BEGINS))
        for after_ns, next_kb in [*readings, (left_ns, ENDS)]:
            expected += after_ns * (max(LEAST_KB, kb) + beside_kb)
            lived_ns += after_ns
            at_ns, kb = at_ns + after_ns, next_kb
            steps.append((at_ns, number, kb))
    held = [Held(crowd, beside_kb) for _, _, _, beside_kb in lives]
    for at_ns, number, kb in sorted(steps, key=lambda step: step[0]):
        if kb == BEGINS:
            held[number].begin(at_ns)
        elif kb == ENDS:
            held[number].end(at_ns)
        else:
            held[number].read(kb, at_ns)

    now_ns = max((step[0] for step in steps), default=0) + later_ns
    assert (crowd.held_kb.integral(now_ns), crowd.count.integral(now_ns)) == (expected, lived_ns)
    assert (crowd.held_kb.now, crowd.count.now) == (0, 0)


def test_a_level_counts_up_to_now() -> None:
    level = Level()
    level.change(3, 10)
    level.change(-1, 20)

    assert [level.integral(now_ns) for now_ns in (20, 21, 30)] == [30, 32, 50]


def test_a_process_ends_once() -> None:
    crowd = Crowd()
    held = Held(crowd)
    held.begin(0)
    held.end(5)
    held.end(7)

    assert (crowd.count.now, crowd.held_kb.now, crowd.count.integral(9)) == (0, 0, 5)


def test_processor_time_never_falls() -> None:
    meter = Meter()
    assert meter.cpu_ns(30) == 30
    assert meter.cpu_ns(10) == 30, "a process has ended between two readings, and is in neither"
    meter.ended_cpu_ns = 25
    assert meter.cpu_ns(10) == 35
