"""When an instance is looked at, and when it is told to tidy up: with the memory of this process."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from sandbox.checkup import IDLE_WATCH_NS, TIDY_NS, WATCH_NS, Checkup, Found, Measured
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
    return Checkup(Grown(grown_kb), Held(Crowd()), limits, 0, run=at_once, react=FOUND.append)


FOUND: list[Found | str] = []
"""What was found in a thread."""


def at_once(work: Callable[[], Measured], done: Callable[[Measured], None]) -> None:
    done(work())


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
    FOUND.clear()
    look = checkup.look(WATCH_NS, 1, is_idle=False)
    look = FOUND[0] if FOUND else look  # this process may have children: then it is measured in a thread
    assert look == found or (isinstance(found, str) and str(look).startswith(found))
    assert checkup.next_ns(1, is_idle=False) == 2 * WATCH_NS
    assert checkup.next_ns(0, is_idle=True) == WATCH_NS + IDLE_WATCH_NS


def test_one_that_has_started_processes_is_measured_in_a_thread_one_at_a_time() -> None:
    hoards = f"held = b'x' * {40 * MIB}; print('held', flush=True); input()"
    todo: list[tuple[Callable[[], Measured], Callable[[Measured], None]]] = []
    found: list[Found | str] = []
    limits = Limits(memory_bytes=24 * MIB)
    checkup = Checkup(
        Grown(8), Held(Crowd()), limits, 0, run=lambda work, done: todo.append((work, done)), react=found.append
    )
    command = [sys.executable, "-S", "-c", hoards]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        for step in range(1, 4):
            assert checkup.look(step * WATCH_NS, 1, is_idle=False) is None
        [(work, done)] = todo  # not again before it has ended
        done(work())
        assert len(found) == 1
        assert str(found[0]).startswith("the instance used more than its 24 MiB of memory: ")
        assert str(found[0]).endswith(" MiB of it in processes that it started")
        assert checkup.used_kb() >= 40 * 1024
        assert checkup.look(4 * WATCH_NS, 1, is_idle=False) is None
        assert len(todo) == 2
        child.communicate("")


def test_one_that_runs_short_calls_is_measured_as_often_as_a_busy_one() -> None:
    checkup = checkup_of(50 * 1024, Limits(memory_bytes=6 * MIB))
    assert checkup.next_ns(0, is_idle=True) == IDLE_WATCH_NS
    assert checkup.look(WATCH_NS, 0, is_idle=True) is None, "it has run nothing"
    assert checkup.next_ns(1, is_idle=True) == WATCH_NS
    assert checkup.look(WATCH_NS, 1, is_idle=True) is not None
    assert checkup.next_ns(1, is_idle=True) > 2 * WATCH_NS, "it is idle now"


def test_one_that_was_measured_during_a_call_is_measured_soon_after_it() -> None:
    checkup = checkup_of(0)
    assert checkup.look(WATCH_NS, 1, is_idle=False) is None
    assert checkup.next_ns(1, is_idle=True) == 2 * WATCH_NS
