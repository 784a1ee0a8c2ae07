"""When an instance is looked at, and when it is told to tidy up: with the memory of this process."""

import os
from typing import NamedTuple

import pytest

from sandbox.checkup import IDLE_WATCH_NS, TIDY_NS, WATCH_NS, Checkup, Found
from sandbox.processes import anonymous_kb, memory_kb
from sandbox.spec import MIB, Limits
from sandbox.usage import Crowd, Held

PLENTY = Limits(memory_bytes=1024 * 1024 * MIB)
STEP_NS = WATCH_NS


class Grown(NamedTuple):
    """This process, as if it had grown since its fork."""

    kb: int
    pid: int = os.getpid()

    @property
    def baseline_kb(self) -> int:
        return (memory_kb(self.pid) or 0) - self.kb

    @property
    def anonymous_kb(self) -> int:
        return (anonymous_kb(self.pid) or 0) - self.kb


def checkup_of(grown_kb: int, limits: Limits = PLENTY) -> Checkup:
    return Checkup(Grown(grown_kb), Held(Crowd()), limits, 0)


def told_to_tidy(checkup: Checkup, uses: list[tuple[int, bool]]) -> list[int]:
    """The steps at which it was, with the calls begun so far, and whether it is idle, at each."""
    found = []
    for step, (invocations, is_idle) in enumerate(uses, start=1):
        look = checkup.look(step * STEP_NS, invocations, is_idle=is_idle)
        if look is Found.IDLE:
            found.append(step)
        assert checkup.next_ns(invocations, is_idle=is_idle) > step * STEP_NS
    return found


@pytest.mark.parametrize(
    ("uses", "steps"),
    [
        ([(0, True)] * 20, []),
        ([(1, True)] * 20, [1 + TIDY_NS // STEP_NS]),
        ([(1, False)] * 20, []),
        ([(n, True) for n in range(1, 21)], []),
        ([*[(1, True)] * 8, *[(2, True)] * 8], [5, 13]),
        ([*[(1, True)] * 4, *[(2, False)] * 9, *[(2, True)] * 8], [18]),
    ],
    ids=["unused", "once", "busy", "a burst", "twice", "after a long call"],
)
def test_it_tidies_up_once_after_its_calls(uses: list[tuple[int, bool]], steps: list[int]) -> None:
    assert told_to_tidy(checkup_of(100 * 1024), uses) == steps


def test_one_that_has_not_grown_has_nothing_to_tidy_up() -> None:
    assert told_to_tidy(checkup_of(-100), [(1, True)] * 20) == []


@pytest.mark.parametrize(
    ("memory_mib", "retire_mib", "found"),
    [(1024 * 1024, None, None), (1024 * 1024, 4, Found.WORN), (6, 4, "the instance used more than its 6 MiB")],
)
def test_memory_over_either_limit(memory_mib: int, retire_mib: int | None, found: object) -> None:
    retire = None if retire_mib is None else retire_mib * MIB
    limits = Limits(memory_bytes=memory_mib * MIB, retire_memory_bytes=retire)
    checkup = checkup_of(50 * 1024, limits)
    assert checkup.look(WATCH_NS - 1, 1, is_idle=False) is None
    look = checkup.look(WATCH_NS, 1, is_idle=False)
    assert look == found or (isinstance(found, str) and str(look).startswith(found))
    assert checkup.next_ns(1, is_idle=False) == 2 * WATCH_NS
    assert checkup.next_ns(0, is_idle=True) == WATCH_NS + IDLE_WATCH_NS
